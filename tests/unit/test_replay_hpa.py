"""The HPA that others are measured against is Kubernetes' own: its calculator's tests hold here,
by their names in pkg/controller/podautoscaler/replica_calculator_test.go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seen_plants import seen
from tidegate_operator.replay.autoscaler import HpaRules, by_average_value, by_utilization
from tidegate_operator.replay.hpa import Hpa


@pytest.mark.parametrize(
    ("total", "target", "current", "wanted"),
    [
        pytest.param(8.0, 2.0, 2, 4, id="twice the target a pod doubles the pods"),
        pytest.param(2.0, 2.0, 2, 1, id="half the target a pod halves them"),
        pytest.param(4.4, 2.0, 2, 2, id="10 % above is within tolerance"),
        pytest.param(4.41, 2.0, 2, 3, id="beyond it: rounded up"),
        pytest.param(3.6, 2.0, 2, 2, id="10 % below is within tolerance"),
        pytest.param(0.0, 2.0, 2, 0, id="nothing asks for nothing; minReplicas holds later"),
        pytest.param(5.0, 2.0, 0, 3, id="from zero there is no tolerance"),
        pytest.param(60.0, 15.0, 3, 4, id="ScaleUpCM"),
        pytest.param(60.0, 20.0, 5, 3, id="ScaleDownCM"),
        pytest.param(62.0, 20.0, 3, 3, id="ToleranceCM"),
    ],
)
def test_replicas_by_average_value(total: float, target: float, current: int, wanted: int) -> None:
    """ceil(current x metric / target), as the documentation writes it."""
    assert by_average_value(total, target, current, 0.1) == wanted


@pytest.mark.parametrize(
    ("share", "target", "measured", "unready", "missing", "wanted"),
    [
        pytest.param(1.0, 0.5, 2, 0, 0, 4, id="200m where 100m is wanted: doubled"),
        pytest.param(0.25, 0.5, 4, 0, 0, 2, id="50m where 100m is wanted: halved"),
        pytest.param(0.54, 0.5, 10, 0, 0, 10, id="a ratio of 1.08 is within tolerance"),
        pytest.param(0.559, 0.5, 10, 0, 0, 10, id="55.9 % are 55 %, as the metrics client has it"),
        pytest.param(0.28, 0.5, 5, 0, 0, 3, id="ScaleDown"),
        pytest.param(0.30, 0.5, 3, 2, 0, 2, id="ScaleDownIgnoresUnreadyPods"),
        pytest.param(0.60, 0.3, 2, 1, 0, 4, id="ScaleUpUnreadyLessScale"),
        pytest.param(0.40, 0.3, 1, 2, 0, 3, id="ScaleUpUnreadyNoScale"),
        pytest.param(1.02, 1.0, 3, 0, 0, 3, id="Tolerance"),
        pytest.param(0.2475, 1.0, 2, 0, 2, 3, id="MissingMetrics"),
        pytest.param(1.0, 1.0, 1, 0, 1, 2, id="MissingMetricsNoChangeEq"),
        pytest.param(1.9, 1.0, 1, 0, 1, 2, id="MissingMetricsNoChangeGt"),
        pytest.param(0.6, 1.0, 1, 0, 1, 2, id="MissingMetricsNoChangeLt"),
        pytest.param(0.45, 0.5, 1, 1, 1, 3, id="MissingMetricsUnreadyNoChange"),
        pytest.param(2.0, 0.5, 1, 1, 1, 4, id="MissingMetricsUnreadyScaleUp"),
        pytest.param(0.1, 0.5, 2, 1, 1, 3, id="MissingMetricsUnreadyScaleDown"),
        pytest.param(0.6, 0.5, 0, 3, 0, 3, id="EmptyMetrics: left alone"),
    ],
)
def test_replicas_by_utilization(
    share: float, target: float, measured: int, unready: int, missing: int, wanted: int
) -> None:
    assert by_utilization(share, target, measured, unready=unready, missing=missing) == wanted


@given(
    share=st.floats(0, 1),
    target=st.floats(0.1, 1),
    measured=st.integers(1, 40),
    unready=st.integers(0, 20),
)
def test_pods_that_start_never_turn_the_direction(
    share: float, target: float, measured: int, unready: int
) -> None:
    current = measured + unready
    count = by_utilization(share, target, measured, unready=unready)
    if share > target * 1.12:
        assert count >= current
    if share < target:
        assert count <= current


def test_it_scales_up_by_at_most_four_pods_or_double_in_15_seconds() -> None:
    hpa = Hpa(HpaRules(target_rps=1.0))
    assert hpa.wanted(seen(0, 1, 100)) == 5
    assert hpa.wanted(seen(15, 5, 100)) == 10
    assert hpa.wanted(seen(30, 10, 100)) == 20


def test_it_holds_the_highest_recommendation_of_five_minutes() -> None:
    hpa = Hpa(HpaRules(target_rps=1.0))
    assert hpa.wanted(seen(0, 10, 10)) == 10
    wanted = [hpa.wanted(seen(15.0 * tick, 10, 4)) for tick in range(1, 22)]
    assert wanted == [10] * 19 + [4, 4]


def test_what_it_finds_counts_as_recommended() -> None:
    """TestScaleDownStabilizeInitialSize: a controller that starts scales nothing down for five
    minutes."""
    hpa = Hpa(HpaRules(target_rps=1.0))
    wanted = [hpa.wanted(seen(15.0 * tick, 10, 4)) for tick in range(21)]
    assert wanted == [10] * 20 + [4]


def test_it_stays_between_its_bounds() -> None:
    rules = HpaRules(target_rps=1.0, min_replicas=2, max_replicas=6)
    assert Hpa(rules).wanted(seen(0, 4, 100)) == 6
    assert Hpa(rules).wanted(seen(0, 9, 4)) == 6, "above the maximum: at once"
    assert Hpa(rules).wanted(seen(0, 1, 4)) == 2, "below the minimum: at once"


def test_zero_replicas_switch_it_off() -> None:
    assert Hpa(HpaRules(target_rps=1.0)).wanted(seen(0, 0, 50)) == 0


def test_its_metrics_are_half_a_minute_old() -> None:
    assert Hpa(HpaRules(target_rps=1.0)).wanted(seen(0, 5, 5, burst=200)) == 5


def test_on_utilization_pods_count_once_their_metrics_cover_a_window() -> None:
    hpa = Hpa(HpaRules(target_utilization=0.5))
    look = seen(0, 8, 16, ready=8)
    for _ in range(4):
        look.note(80, 1.0, 64.0, 8)
    assert hpa.wanted(look) == 16, "8 pods wholly busy where half is wanted"
    fresh = seen(0, 8, 8, ready=4)
    for _ in range(4):
        fresh.note(40, 1.0, 32.0, 8)
    fresh.ready = 8
    assert Hpa(HpaRules(target_utilization=0.5)).wanted(fresh) == 8, "4 new ones count as idle"


@pytest.mark.parametrize("targets", [(None, None), (1.0, 0.5)])
def test_it_has_one_target(targets: tuple[float | None, float | None]) -> None:
    with pytest.raises(ValueError, match="target_rps or target_utilization"):
        HpaRules(target_rps=targets[0], target_utilization=targets[1])
