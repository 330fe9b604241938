"""KEDA as a rival: an HPA between one and the maximum, an executor to zero and back."""

import pytest

from seen_plants import seen
from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.keda import Keda, KedaRules


def test_above_zero_its_hpa_decides() -> None:
    keda = Keda(KedaRules(threshold_rps=1.4))
    hpa = Hpa(HpaRules(target_rps=1.4))
    for tick, (current, rps) in enumerate([(4, 5.6), (4, 20.0), (8, 20.0), (15, 7.0), (15, 2.0)]):
        look = seen(15.0 * tick, current, rps)
        assert keda.wanted(look) == hpa.wanted(look)


@pytest.mark.parametrize(
    ("activation_rps", "min_replicas", "wanted"),
    [
        pytest.param(0.0, 0, 1, id="any request starts one pod"),
        pytest.param(3.0, 0, 0, id="not below activationThreshold"),
        pytest.param(0.0, 2, 2, id="or as many as minReplicaCount"),
    ],
)
def test_from_zero(activation_rps: float, min_replicas: int, wanted: int) -> None:
    rules = KedaRules(threshold_rps=1.0, activation_rps=activation_rps, min_replicas=min_replicas)
    assert Keda(rules).wanted(seen(0, 0, 2.0)) == wanted


def test_to_zero_after_the_cooldown_without_a_request() -> None:
    keda = Keda(KedaRules(threshold_rps=1.0))
    assert keda.wanted(seen(0, 1, 1.0)) == 1
    wanted = [keda.wanted(seen(15.0 * tick, 1, 0.0)) for tick in range(1, 24)]
    assert wanted == [1] * 21 + [0] + [1], "looked at each 30 s: not at 315 s, at 330 s"


def test_what_it_meets_has_the_whole_cooldown_too() -> None:
    keda = Keda(KedaRules(threshold_rps=1.0))
    wanted = [keda.wanted(seen(15.0 * tick, 1, 0.0)) for tick in range(23)]
    assert wanted == [1] * 22 + [0], "at 330 s"


def test_never_to_zero_where_a_minimum_stands() -> None:
    keda = Keda(KedaRules(threshold_rps=1.0, min_replicas=1))
    assert {keda.wanted(seen(15.0 * tick, 1, 0.0)) for tick in range(40)} == {1}


def test_it_looks_each_polling_interval_only() -> None:
    keda = Keda(KedaRules(threshold_rps=1.0))
    assert keda.wanted(seen(0, 0, 0.0)) == 0
    assert keda.wanted(seen(15, 0, 5.0)) == 0
    assert keda.wanted(seen(30, 0, 5.0)) == 1
