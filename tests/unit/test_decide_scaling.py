"""decide_scaling, one row per rule, then what holds whatever comes."""

import math
from dataclasses import replace

import pytest

from policy_story import Story, forecast, present
from tidegate_operator.decide.scaling import decide_scaling
from tidegate_operator.decide.words import (
    Clamp,
    DataState,
    Demand,
    Forecast,
    Inputs,
    Memory,
    Mode,
    Reason,
    Rules,
    ScalingDecision,
    ScalingRules,
)

RULES = ScalingRules(
    min_replicas=1, max_replicas=20, capacity_rps=2.5, reactive_alone_utilization=0.8
)
"""2.0 rps a pod by demand (80 %), 2.375 by forecast (95 %): no service time is known in these
rows."""
NOW = 1_000_000.0
ABSENT = Demand(state=DataState.ABSENT)
ERROR = Demand(state=DataState.ERROR, age_s=5.0)
STALE = Demand(state=DataState.STALE, rps=4.0, age_s=90.0)


def low_for_the_window(count: int, *, current: int) -> Memory:
    """A memory in which ``count`` was all that was wanted for five minutes and more."""
    return Memory(recommendations=((NOW - 15.0, count),), last_current=current)


def scale(
    demand: Demand | float,
    *,
    current: int,
    rules: ScalingRules = RULES,
    ahead: Forecast | None = None,
    starting: int = 0,
    memory: Memory | None = None,
    mode: Mode = Mode.ENFORCE,
) -> ScalingDecision:
    inputs = Inputs(
        now=NOW,
        current=current,
        ready=current - starting,
        starting=starting,
        demand=demand if isinstance(demand, Demand) else present(demand),
        forecast=ahead,
    )
    return decide_scaling(rules, mode, inputs, Memory() if memory is None else memory)[0]


def ahead(rps: float, **more: object) -> Forecast:
    return forecast(rps, **({"made_at": NOW - 60.0} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("demand", "current", "more", "replicas", "reason"),
    [
        pytest.param(6.0, 3, {}, 3, Reason.STEADY, id="exactly full stays"),
        pytest.param(7.0, 3, {}, 4, Reason.DEMAND_HIGH, id="a sixth over goes up at once"),
        pytest.param(6.5, 3, {}, 3, Reason.TOLERANCE, id="a twelfth over is tolerated"),
        pytest.param(
            6.0, 3, {"ahead": ahead(11.0)}, 5, Reason.FORECAST_HIGH, id="a forecast raises"
        ),
        pytest.param(
            6.0,
            3,
            {"ahead": ahead(7.2)},
            4,
            Reason.FORECAST_HIGH,
            id="a forecast just over is not tolerated away",
        ),
        pytest.param(
            10.0,
            3,
            {"ahead": ahead(5.0)},
            5,
            Reason.DEMAND_HIGH,
            id="a low forecast lowers nothing",
        ),
        pytest.param(
            10.0,
            3,
            {"ahead": ahead(14.0)},
            6,
            Reason.FORECAST_HIGH,
            id="where both raise, the higher one is named",
        ),
        pytest.param(
            40.0, 2, {}, 6, Reason.DEMAND_HIGH, id="a surge is held to four pods a period"
        ),
        pytest.param(
            40.0, 8, {}, 16, Reason.DEMAND_HIGH, id="or to twice the count where that is more"
        ),
        pytest.param(99.0, 19, {}, 20, Reason.DEMAND_HIGH, id="nothing goes above the maximum"),
        pytest.param(
            99.0, 20, {}, 20, Reason.MAX_REPLICAS, id="at the maximum it stays and says so"
        ),
        pytest.param(
            0.0,
            1,
            {"rules": replace(RULES, min_replicas=3)},
            3,
            Reason.BELOW_MINIMUM,
            id="below the minimum is raised to it",
        ),
        pytest.param(
            0.0,
            1,
            {"rules": replace(RULES, min_replicas=9)},
            9,
            Reason.BELOW_MINIMUM,
            id="the minimum is stronger than the limit on steps",
        ),
        pytest.param(
            30.0, 25, {}, 20, Reason.ABOVE_MAXIMUM, id="above the maximum is lowered to it at once"
        ),
        pytest.param(
            ABSENT, 25, {}, 20, Reason.ABOVE_MAXIMUM, id="above the maximum even without data"
        ),
        pytest.param(
            ERROR,
            1,
            {"rules": replace(RULES, min_replicas=3)},
            3,
            Reason.BELOW_MINIMUM,
            id="below the minimum even without data",
        ),
        pytest.param(ABSENT, 5, {}, 5, Reason.DATA_ABSENT, id="absent data holds"),
        pytest.param(STALE, 5, {}, 5, Reason.DATA_STALE, id="stale data holds, low as it is"),
        pytest.param(ERROR, 5, {}, 5, Reason.DATA_ERROR, id="unreadable data holds"),
        pytest.param(
            ERROR,
            5,
            {"ahead": ahead(40.0)},
            5,
            Reason.DATA_ERROR,
            id="unreadable data holds against a forecast, too",
        ),
        pytest.param(
            9.0, 0, {}, 0, Reason.TARGET_STOPPED, id="zero replicas by someone else means stop"
        ),
        pytest.param(
            ABSENT, 0, {}, 0, Reason.TARGET_STOPPED, id="stopped comes before having no data"
        ),
        pytest.param(
            40.0, 2, {"mode": Mode.PAUSED}, 2, Reason.PAUSED, id="a paused policy moves nothing"
        ),
        pytest.param(
            40.0, 2, {"mode": Mode.SHADOW}, 6, Reason.DEMAND_HIGH, id="Shadow decides like Enforce"
        ),
    ],
)
def test_one_tick(
    demand: Demand | float, current: int, more: dict[str, object], replicas: int, reason: Reason
) -> None:
    decision = scale(demand, current=current, **more)  # type: ignore[arg-type]
    assert (decision.replicas, decision.reason) == (replicas, reason)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        pytest.param({"reliable": False, "reason": Reason.NO_SKILL}, None, id="without skill"),
        pytest.param({"made_at": NOW - 181.0}, None, id="older than three minutes"),
        pytest.param({"made_at": NOW - 180.0}, 6, id="three minutes old still counts"),
        pytest.param({"quantiles": {0.95: math.nan}}, None, id="not a number"),
        pytest.param({"quantiles": {}}, None, id="without quantiles"),
        pytest.param(
            {"quantiles": {0.5: 1.0, 0.99: 14.0}}, 6, id="the next quantile above stands in"
        ),
        pytest.param({"quantiles": {0.5: 14.0}}, None, id="a lower quantile does not"),
    ],
)
def test_a_forecast_counts_only_while_it_can_be_trusted(
    change: dict[str, object], wanted: int | None
) -> None:
    decision = scale(4.0, current=2, ahead=ahead(14.0, **change))
    assert decision.forecast == wanted
    assert decision.replicas == (2 if wanted is None else wanted)
    assert decision.reactive == 2


def test_strictness_chooses_the_quantile() -> None:
    seen = ahead(0.0, quantiles={0.9: 4.0, 0.95: 9.0, 0.99: 14.0})
    wanted = [
        scale(1.0, current=5, rules=replace(RULES, quantile=q), ahead=seen).forecast
        for q in (0.90, 0.95, 0.99)
    ]
    assert wanted == [2, 4, 6]


def test_a_disabled_forecast_is_not_looked_at() -> None:
    decision = scale(
        4.0, current=2, rules=replace(RULES, forecast_enabled=False), ahead=ahead(40.0)
    )
    assert (decision.replicas, decision.forecast) == (2, None)


@pytest.mark.parametrize(
    ("coverage", "reliable", "reactive"),
    [
        pytest.param(0.95, True, 5, id="a forecast that holds leaves 80 % to demand"),
        pytest.param(0.84, True, 7, id="one that does not hold leaves it 60 %"),
        pytest.param(None, True, 5, id="unknown coverage is not low"),
        pytest.param(0.10, False, 5, id="that of an unreliable forecast is of no interest"),
    ],
)
def test_low_coverage_makes_demand_count_for_more(
    coverage: float | None, reliable: bool, reactive: int
) -> None:
    seen = ahead(5.0, coverage=coverage, reliable=reliable, reason=Reason.NO_SKILL)
    assert scale(10.0, current=5, ahead=seen).reactive == reactive


# --- down -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demand", "more", "replicas", "reason"),
    [
        pytest.param(
            present(4.0), {}, 4, Reason.DEMAND_LOW, id="half at a step, not to 2 at once"
        ),
        pytest.param(
            present(0.0),
            {"rules": replace(RULES, down_max_share=1.0)},
            1,
            Reason.DEMAND_LOW,
            id="no demand is data and goes down to the minimum (dynamo#3131, #6985)",
        ),
        pytest.param(
            present(math.nan), {}, 8, Reason.DATA_ERROR, id="not a number is no zero (dynamo#3131)"
        ),
        pytest.param(
            Demand(state=DataState.PRESENT),
            {},
            8,
            Reason.DATA_ERROR,
            id="present without a figure",
        ),
        pytest.param(
            ERROR, {}, 8, Reason.DATA_ERROR, id="an outage of the metrics is no zero (keda#8036)"
        ),
        pytest.param(
            present(4.0), {"starting": 1}, 8, Reason.PODS_STARTING, id="none while one starts"
        ),
        pytest.param(
            present(4.0), {"ahead": ahead(18.0)}, 8, Reason.FORECAST_HOLDS, id="the forecast holds"
        ),
        pytest.param(
            present(4.0),
            {"ahead": ahead(4.0, reliable=False, reason=Reason.TRAINING)},
            8,
            Reason.TRAINING,
            id="none while a first forecast is on its way, such as after a restart",
        ),
        pytest.param(
            present(4.0),
            {
                "rules": replace(RULES, forecast_enabled=False),
                "ahead": ahead(4.0, reliable=False, reason=Reason.TRAINING),
            },
            4,
            Reason.DEMAND_LOW,
            id="which nobody waits for who wants none",
        ),
        pytest.param(
            present(4.0),
            {"ahead": ahead(13.0)},
            6,
            Reason.DEMAND_LOW,
            id="a forecast in between holds part",
        ),
        pytest.param(
            present(4.0, peak_rps=19.0),
            {},
            8,
            Reason.WOULD_MISS_SLO,
            id="the recent peak needs all",
        ),
        pytest.param(
            present(4.0, peak_rps=15.0), {}, 6, Reason.DEMAND_LOW, id="or all but two of them"
        ),
        pytest.param(
            present(4.0, in_flight=75, service_s=4.0),
            {},
            8,
            Reason.WOULD_MISS_SLO,
            id="streams in flight fill the slots of eight pods (dynamo#13559)",
        ),
        pytest.param(
            present(4.0),
            {"rules": replace(RULES, min_replicas=7)},
            7,
            Reason.DEMAND_LOW,
            id="not below the minimum",
        ),
        pytest.param(
            present(14.0),
            {"rules": replace(RULES, tolerance=0.2)},
            8,
            Reason.TOLERANCE,
            id="a little too many are tolerated",
        ),
        pytest.param(
            present(4.0),
            {"rules": replace(RULES, tolerance=0.2), "ahead": ahead(16.0)},
            8,
            Reason.TOLERANCE,
            id="by the forecast as well",
        ),
    ],
)
def test_down(demand: Demand, more: dict[str, object], replicas: int, reason: Reason) -> None:
    memory = low_for_the_window(1, current=8)
    decision = scale(demand, current=8, memory=memory, **more)  # type: ignore[arg-type]
    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_the_window_must_have_been_low_throughout() -> None:
    memory = Memory(recommendations=((NOW - 299.0, 7), (NOW - 15.0, 2)), last_current=8)
    assert scale(4.0, current=8, memory=memory).replicas == 7
    memory = Memory(recommendations=((NOW - 301.0, 7), (NOW - 15.0, 2)), last_current=8)
    assert scale(4.0, current=8, memory=memory).replicas == 4


def story(current: int, **rules: object) -> Story:
    scaling = replace(RULES, **rules)  # type: ignore[arg-type]
    return Story(Rules(mode=Mode.ENFORCE, scaling=scaling), current=current)


def test_a_new_policy_waits_a_whole_window_before_it_removes_anything() -> None:
    tale = story(8)
    counts = [tale.tick(4.0).scaling.replicas for _ in range(24)]
    assert counts[:20] == [8] * 20, "300 s of ticks"
    assert counts[20:] == [4, 2, 2, 2]


def test_data_that_was_lost_begins_the_window_anew() -> None:
    tale = story(8)
    for _ in range(19):
        tale.tick(4.0)
    tale.tick(ERROR)
    assert [tale.tick(4.0).scaling.replicas for _ in range(19)] == [8] * 19
    assert tale.tick(4.0).scaling.replicas == 4


def test_an_operator_that_was_away_begins_the_window_anew() -> None:
    tale = story(8)
    for _ in range(19):
        tale.tick(4.0)
    tale.tick(4.0, seconds=150.0)
    assert tale.tick(4.0).scaling.replicas == 8


# --- up ---------------------------------------------------------------------------------------


def test_steps_up_are_counted_within_the_period() -> None:
    tale = story(2)
    counts = [tale.tick(40.0).scaling.replicas for _ in range(10)]
    assert counts == [6, 6, 6, 6, 12, 12, 12, 12, 20, 20]


def test_pods_that_start_are_not_ordered_again() -> None:
    """A cold start of minutes must not multiply what one surge asked for."""
    tale = story(2)
    tale.tick(12.0)
    assert [tale.tick(12.0, starting=4).scaling.replicas for _ in range(20)] == [6] * 20


def test_a_decision_nobody_acted_on_adds_nothing_to_the_limit() -> None:
    """In Shadow, or where the write fails, each tick must come to the same count."""
    tale = Story(Rules(mode=Mode.SHADOW, scaling=RULES), current=2)
    assert [tale.tick(40.0).scaling.replicas for _ in range(10)] == [6] * 10


def test_a_person_who_scales_is_seen_and_followed() -> None:
    """Manual edits desynchronised another autoscaler for good (dynamo#4420)."""
    tale = story(4)
    tale.tick(8.0)
    tale.current = 9
    assert tale.tick(8.0).scaling.replicas == 9, "nothing is undone within the window"
    tale.current = 2
    assert tale.tick(8.0).scaling.replicas == 4, "demand counts, not what was decided before"


def test_a_target_that_was_started_again_is_taken_over_gently() -> None:
    tale = story(8)
    for _ in range(30):
        tale.tick(16.0)
    tale.current = 0
    assert tale.tick(0.0).scaling.reason is Reason.TARGET_STOPPED
    tale.current = 5
    assert tale.tick(2.0).scaling.replicas == 5
    assert tale.tick(2.0).scaling.reason is Reason.STABILIZATION


def test_a_metrics_error_never_scales_to_the_maximum() -> None:
    """A scaler's error was read as endless demand (keda#7657)."""
    tale = story(3)
    tale.tick(6.0)
    for demand in (ERROR, present(math.inf), present(-1.0), ABSENT, STALE):
        assert tale.tick(demand).scaling.replicas == 3


def test_demand_is_the_total_not_a_mean_over_pods() -> None:
    """A mean that is divided by capacity as if it were a total keeps the count low (aibrix
    KPA)."""
    assert scale(20.0, current=10).replicas == scale(20.0, current=10, starting=6).replicas == 10
    assert scale(20.0, current=2).reactive == scale(20.0, current=10).reactive == 10


def test_the_forecast_never_moves_the_capacity() -> None:
    """A prediction belongs to the demand, not to the target it is divided by (kthena#1364)."""
    wanted = [scale(1.0, current=2, ahead=ahead(rps)).forecast or 0 for rps in (0, 5, 10, 20, 40)]
    assert wanted == sorted(wanted)
    assert wanted[-1] == 17


# --- what is said -----------------------------------------------------------------------------


def test_the_message_has_the_figures_in_it() -> None:
    decision = scale(8.0, current=4, ahead=ahead(13.2))
    assert decision.message == (
        "demand 8.0 rps needs 4 pods; forecast 13.2 rps (q0.95, next 6 min) needs 6: 4 -> 6"
    )
    assert decision.clamps == ()


def test_every_clamp_that_bound_is_there_with_before_and_after() -> None:
    decision = scale(99.0, current=3)
    assert decision.clamps == (
        Clamp(reason=Reason.MAX_REPLICAS, before=50, after=20),
        Clamp(reason=Reason.SCALE_UP_LIMIT, before=20, after=7),
    )
    assert decision.message == (
        "demand 99.0 rps needs 50 pods: 3 -> 7 "
        "(50 wanted, maxReplicas is 20; 20 wanted, scaleUp allows 7 for now)"
    )


def test_an_unused_forecast_is_named() -> None:
    unsure = ahead(9.0, reliable=False, reason=Reason.HISTORY_SHORT)
    message = scale(4.0, current=2, ahead=unsure).message
    assert message == "demand 4.0 rps needs 2 pods; forecast not used (HistoryTooShort): 2 stay"


def test_a_hold_says_what_is_missing() -> None:
    assert scale(ABSENT, current=3).message == "no sidecar reports yet: 3 stay"
