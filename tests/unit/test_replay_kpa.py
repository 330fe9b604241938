"""Knative's autoscaler as a rival: the tests of its own repository hold here, by their names in
pkg/autoscaler/scaling/autoscaler_test.go."""

import pytest

from seen_plants import seen
from tidegate_operator.replay.kpa import Kpa, KpaRules


def kpa(target: float, *, up: float = 10.0, down: float = 10.0) -> Kpa:
    """As their helper makes it: ten times up and down, panic at twice."""
    return Kpa(
        KpaRules(
            slots_per_pod=target,
            target_utilization=1.0,
            max_scale_up_rate=up,
            max_scale_down_rate=down,
            min_replicas=0,
            max_replicas=10_000,
        )
    )


@pytest.mark.parametrize(
    ("scaler", "ready", "stable", "panic", "wanted"),
    [
        pytest.param(kpa(10), 1, 0, 0, 0, id="NoDataAtZeroNoAutoscale"),
        pytest.param(kpa(181), 1, 21, 26, 1, id="StableModeUnlimitedTBC"),
        pytest.param(kpa(10), 1, 50, 49, 5, id="0TBC"),
        pytest.param(kpa(10), 1, 50, 50, 5, id="StableModeNoChange"),
        pytest.param(kpa(10), 5, 50, 50, 5, id="StableModeNoChangeAlreadyScaled"),
        pytest.param(kpa(1, up=1.1), 2, 3, 3.1, 3, id="StableModeIncreaseWithSmallScaleUpRate"),
        pytest.param(
            kpa(10, down=1.1), 100, 1, 1, 90, id="StableModeDecreaseWithSmallScaleDownRate"
        ),
        pytest.param(kpa(10), 1, 50, 100, 10, id="PanicModeDoublePodCount"),
        pytest.param(kpa(10), 0, 1000, 888, 10, id="UseOnePodAsMinimumIfEndpointsNotFound"),
        pytest.param(kpa(10), 100, 1, 1, 10, id="RateLimitScaleDown"),
    ],
)
def test_the_count(scaler: Kpa, ready: int, stable: float, panic: float, wanted: int) -> None:
    assert scaler.scale(0.0, ready, stable, panic) == wanted


@pytest.mark.parametrize(
    ("stable", "wanted"),
    [
        pytest.param(50, 50, id="PanicStableLargerThanPanic"),
        pytest.param(20, 30, id="PanicStableLessThanPanic"),
    ],
)
def test_in_panic_the_larger_of_both_windows_counts(stable: float, wanted: int) -> None:
    scaler = kpa(1)
    scaler.panic_at, scaler.panic_pods = -5.0, 5
    assert scaler.scale(0.0, 5, stable, 30) == wanted


def test_panic_then_un_panic_scale_down() -> None:
    scaler = kpa(10)
    assert scaler.scale(0.0, 1, 100, 100) == 10
    assert scaler.scale(0.0, 10, 100, 1000) == 100
    assert scaler.scale(30.0, 10, 1, 1) == 100, "still in panic"
    assert scaler.scale(61.0, 10, 1, 1) == 1


def test_un_panic_after_slow_increase() -> None:
    scaler = kpa(1)
    assert scaler.scale(0.0, 10, 11, 25) == 25
    assert scaler.scale(30.0, 40, 30, 41) == 41
    assert scaler.panic_at == 0.0, "not extended: 41 are not twice 40"
    assert scaler.scale(62.0, 55, 50, 56) == 50
    assert scaler.panic_at is None


def test_extend_panic_window() -> None:
    scaler = kpa(1)
    assert scaler.scale(0.0, 10, 11, 25) == 25
    assert scaler.scale(30.0, 40, 30, 80) == 80
    assert scaler.panic_at == 30.0


def test_panic_mode_exponential_track_and_stabilize() -> None:
    scaler = kpa(1)
    for second, load in enumerate((6, 36, 216, 1296)):
        assert scaler.scale(float(second), max(1, load // 6), load, load) == load
    assert scaler.scale(4.0, 1296, 1296, 1296) == 1296


def test_with_several_pods_it_starts_in_panic_and_keeps_them() -> None:
    """TestStartInPanicMode."""
    scaler = Kpa(KpaRules(slots_per_pod=8))
    assert scaler.wanted(seen(0, 6, 1, in_flight=4)) == 6
    assert scaler.wanted(seen(61, 6, 1, in_flight=4)) == 3, "then at most down to half of them"


def test_the_target_is_a_share_of_the_pods_slots() -> None:
    scaler = Kpa(KpaRules(slots_per_pod=8, max_replicas=50))
    assert scaler.wanted(seen(0, 1, 1, in_flight=56)) == 10, "56 in flight at 5.6 a pod"
    assert scaler.wanted(seen(5, 1, 1, in_flight=5600)) == 50, "maxScale"


def test_scale_down_delay() -> None:
    """AutoscalerScaleDownDelay, "gradual": the highest count of the last five minutes stands."""
    scaler = Kpa(
        KpaRules(
            slots_per_pod=10,
            target_utilization=1.0,
            min_replicas=0,
            panic_threshold=100.0,
            scale_down_delay_s=300.0,
        )
    )
    counts = [
        scaler.wanted(seen(60.0 * minute, 1, 1, in_flight=load))
        for minute, load in [(9, 40), (10, 30), (11, 0), (14, 0), (15, 0)]
    ]
    assert counts == [4, 4, 4, 3, 0]
