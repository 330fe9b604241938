"""What a replay tells: by minute, by event and by decision, and which minutes missed the SLO."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from tidegate_operator.decide.words import Mode, Rules, ScalingRules
from tidegate_operator.replay.control import TICK_S, Seen, Static
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.result import Minutes, Result, slo_minutes
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules()


@dataclass
class Scripted:
    """Wants what stands in its script, from the time on that stands beside it."""

    script: list[tuple[float, int]]
    period_s: float = TICK_S
    name: str = "scripted"
    asked: list[float] = field(default_factory=list)

    def wanted(self, seen: Seen) -> int:
        self.asked.append(seen.now)
        due = [count for at, count in self.script if at <= seen.now]
        return due[-1] if due else seen.current


def play(
    requests: list[float],
    script: list[tuple[float, int]],
    *,
    start_pods: int,
    plant: PlantRules = PLANT,
) -> Result:
    trace = Trace(name="t", start=0.0, step_s=60, requests=tuple(requests))
    return replay(trace, plant, Scripted(script), start_pods=start_pods)


def minutes(load: list[float], violations: list[float]) -> Minutes:
    nothing = tuple(0.0 for _ in load)
    return Minutes(
        start=0.0,
        load=tuple(load),
        ready=nothing,
        paid=nothing,
        queue=nothing,
        violations=tuple(violations),
    )


@pytest.mark.parametrize(
    ("load", "violations", "count"),
    [
        pytest.param([100, 100], [5, 5], 0, id="as many as are allowed"),
        pytest.param([100, 100], [5.1, 0], 1, id="one minute with more"),
        pytest.param([0, 10], [0, 10], 1, id="nobody came: nothing to violate"),
        pytest.param([], [], 0, id="no minutes at all"),
    ],
)
def test_minutes_that_miss_the_slo(load: list[float], violations: list[float], count: int) -> None:
    assert slo_minutes(minutes(load, violations), 0.05) == count


def test_each_minute_has_its_load_pods_queue_and_violations() -> None:
    result = play([180.0, 180.0, 600.0, 180.0, 180.0], [(60.0, 3)], start_pods=2)
    told = result.minutes
    assert told.load == (180, 180, 600, 180, 180)
    assert told.ready == (2, 2, 2, pytest.approx(2 + 1 / 12), 3), "Ready at 240 s, a step's end"
    assert told.paid == (2, 3, 3, 3, 3), "paid from creation"
    assert told.queue[1] < 25 < told.queue[2], "ten a second where four can be served"
    assert told.violations[0] == 0 and told.violations[2] > 300
    assert sum(told.violations) == pytest.approx(result.late + result.dropped)
    shares = [v / n for v, n in zip(told.violations, told.load, strict=True)]
    assert result.slo_minutes == sum(share > 0.05 for share in shares) > 0


def test_a_violation_belongs_to_the_minute_in_which_the_request_came() -> None:
    """Late at the end of a minute, served in the next: it is the first one's."""
    burst = [*[0.0] * 11, 100.0, *[0.0] * 24]
    trace = Trace(name="t", start=0.0, step_s=5, requests=tuple(burst))
    result = replay(trace, PLANT, Static(2), start_pods=2)
    assert result.minutes.load == (100, 0, 0)
    assert result.late > 50
    assert result.minutes.violations[1:] == (0, 0)


@pytest.mark.parametrize(
    ("scaled_at", "in_time"),
    [
        pytest.param(300.0, True, id="Ready at 480 s, needed from 600 s on: ahead of the load"),
        pytest.param(540.0, False, id="Ready at 720 s: late"),
    ],
)
def test_scale_ups_ahead_of_the_load(scaled_at: float, in_time: bool) -> None:
    result = play([120.0] * 10 + [600.0] * 10, [(scaled_at, 6)], start_pods=2)
    (event,) = result.events
    assert (event.at, event.before, event.after, event.in_time) == (scaled_at, 2, 6, in_time)
    assert result.scale_ups_ahead_of_load == int(in_time)


def test_a_scale_up_that_was_never_needed_is_neither() -> None:
    result = play([120.0] * 30, [(300.0, 6), (1200.0, 2)], start_pods=2)
    assert [event.in_time for event in result.events] == [None, None]
    assert (result.scale_ups, result.scale_downs, result.scale_ups_ahead_of_load) == (1, 1, 0)


def test_pod_hours_are_pod_minutes_by_sixty() -> None:
    result = play([120.0] * 30, [], start_pods=2)
    assert (result.pod_minutes, result.pod_hours) == (60.0, 1.0)


def test_failed_starts_are_counted() -> None:
    broken = PlantRules(never_ready_share=1.0)
    result = play([120.0] * 20, [(60.0, 5)], start_pods=2, plant=broken)
    assert result.starts_failed == 3
    assert max(result.minutes.ready) == 2 and result.minutes.paid[-1] == 5


def test_a_controller_is_asked_at_its_own_period() -> None:
    trace = Trace(name="t", start=0.0, step_s=60, requests=(60.0, 60.0))
    quick, slow = Scripted([], period_s=5.0), Scripted([], period_s=30.0)
    for controller in (quick, slow):
        replay(trace, PLANT, controller)
    assert quick.asked == [5.0 * n for n in range(1, 24)]
    assert slow.asked == [30.0, 60.0, 90.0]


def test_nobody_scales_below_zero() -> None:
    result = play([60.0] * 5, [(60.0, -3)], start_pods=2)
    assert [event.after for event in result.events] == [0]


def test_decisions_are_kept_where_they_say_something_new() -> None:
    trace = Trace(name="t", start=0.0, step_s=60, requests=(*[120.0] * 20, *[600.0] * 20))
    scaling = ScalingRules(capacity_rps=2.0, max_replicas=20, wait_target_s=4.0)
    ours = Tidegate(Rules(mode=Mode.ENFORCE, scaling=scaling))
    result = replay(trace, PLANT, ours)
    said = [(d.scaling.replicas, d.scaling.reason) for d in result.decisions]
    assert all(one != other for one, other in pairwise(said))
    assert {event.at for event in result.events} <= {d.at for d in result.decisions}
    assert replay(trace, PLANT, Static(3)).decisions == ()
