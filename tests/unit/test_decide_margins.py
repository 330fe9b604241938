"""The room above demand is chosen by what each choice would have cost and whom it would have made
wait, on the load that came."""

import math
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from full_policy import manifest
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.decide.counterfactual import late_of, margin_in_use
from tidegate_operator.decide.counterfactual import step as step_with
from tidegate_operator.decide.load import find_load
from tidegate_operator.decide.margins import (
    ALONE,
    LEANER_MINUTES,
    LEAST_MINUTES,
    MARGINS,
    WITH_FORECAST,
    cheapest,
    under,
)
from tidegate_operator.decide.scaling import decide_scaling
from tidegate_operator.decide.trial import Book, Margin, Trial
from tidegate_operator.decide.words import (
    LEAD_MARGIN_S,
    DataState,
    Demand,
    Forecast,
    Inputs,
    Memory,
    Mode,
    Reason,
    ScalingRules,
)

T0 = 1_767_225_600.0
ENOUGH = LEANER_MINUTES + 61
RULES = ScalingRules(
    max_replicas=100, capacity_rps=2.0, wait_target_s=4.0, allowed_late=0.005, quantile=0.95
)


def book(late: list[float], pod_s: list[float], minutes: float = LEANER_MINUTES) -> Book:
    return Book(minutes=minutes, arrived=1000.0, late=tuple(late), pod_s=tuple(pod_s))


@pytest.mark.parametrize(
    ("late", "pod_s", "standing", "expected"),
    [
        pytest.param([9, 4, 0], [10, 20, 30], None, 1, id="the cheapest that keeps to the share"),
        pytest.param([9, 8, 7], [10, 20, 30], None, 2, id="where none does, the nearest"),
        pytest.param([9, 9, 9], [30, 20, 40], None, 1, id="of equally near ones the cheapest"),
        pytest.param([4, 1, 0], [100, 101, 200], None, 1, id="of as cheap ones the safest"),
        pytest.param([4, 1, 0], [100, 101, 200], 0, 0, id="the standing one where as cheap"),
        pytest.param([4, 1, 0], [100, 101, 200], 2, 1, id="but not where it costs more"),
        pytest.param([9, 1, 0], [100, 101, 200], 0, 1, id="nor where it made too many wait"),
        pytest.param([5, 0, 0], [10, 20, 30], None, 0, id="exactly the share is allowed"),
        pytest.param([0, 0, 0], [0, 0, 0], None, 0, id="nothing came and nothing was paid"),
    ],
)
def test_cheapest(
    late: list[float], pod_s: list[float], standing: int | None, expected: int
) -> None:
    assert cheapest(book(late, pod_s), 0.005, 0, standing) == expected


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        pytest.param([0, 0, 0, 0], 1, id="less room than the policy's own is not believed yet"),
        pytest.param([0, 9, 4, 0], 2, id="more room is taken at once"),
        pytest.param([9, 9, 9, 8], 3, id="and the most that helps, where none is enough"),
    ],
)
def test_in_the_first_days_room_is_only_added(late: list[float], expected: int) -> None:
    early = book(late, [10, 20, 30, 40], minutes=LEANER_MINUTES - 1)
    assert cheapest(early, 0.005, 1, None) == expected


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(1, 1e6)), min_size=1, max_size=len(MARGINS)),
    st.floats(0.001, 0.05),
    st.none() | st.integers(0, len(MARGINS) - 1),
)
def test_what_is_chosen_keeps_to_the_share_if_any_does(
    lines: list[tuple[float, float]], allowed: float, standing: int | None
) -> None:
    late, pod_s = [line[0] for line in lines], [line[1] for line in lines]
    if standing is not None and standing >= len(lines):
        standing = None
    chosen = cheapest(book(late, pod_s), allowed, 0, standing)
    fit = [k for k, count in enumerate(late) if count <= allowed * 1000.0]
    if fit:
        assert chosen in fit
        assert pod_s[chosen] <= 1.02 * min(pod_s[k] for k in fit) + 1e-6
    else:
        assert late[chosen] == min(late)


def test_the_choices_go_from_lean_to_strict() -> None:
    assert [m.reactive_utilization for m in ALONE] == sorted(
        (m.reactive_utilization for m in ALONE), reverse=True
    )
    assert all(margin.quantile is None for margin in ALONE)
    asked = [(m.quantile or 0.0, -m.forecast_utilization) for m in WITH_FORECAST]
    assert asked == sorted(asked)


# --- a fluid that waits --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waiting", "rps", "rate", "expected"),
    [
        pytest.param(0, 2, 2, 0, id="nobody waits where as many are served as come"),
        pytest.param(0, 4, 2, 4 * (60 - 4), id="an overload is felt once the queue is 4 s long"),
        pytest.param(
            60, 0.5, 2, 0.5 * (60 - 8) / 1.5, id="a queue that drains, until it is short"
        ),
        pytest.param(600, 2, 2, 120, id="behind a long queue everybody is late"),
        pytest.param(0, 3, 0, 180, id="without a pod everybody is late"),
        pytest.param(0, 0, 2, 0, id="nobody came"),
    ],
)
def test_late_of(waiting: float, rps: float, rate: float, expected: float) -> None:
    assert late_of(waiting, rps, rate, 60.0, 4.0) == pytest.approx(expected)


@given(
    st.floats(0, 500), st.floats(0, 50), st.floats(0.1, 50), st.floats(1, 120), st.floats(0.5, 30)
)
def test_late_is_a_share_of_what_came_and_falls_with_the_rate(
    waiting: float, rps: float, rate: float, past_s: float, target_s: float
) -> None:
    late = late_of(waiting, rps, rate, past_s, target_s)
    assert -1e-9 <= late <= rps * past_s + 1e-9
    assert late_of(waiting, rps, rate * 2, past_s, target_s) <= late + 1e-6 * (1 + late)


# --- a trial -------------------------------------------------------------------------------------


def forecast(now: float, rps: float, **more: Any) -> Forecast:
    quantiles = dict.fromkeys((0.5, 0.9, 0.95, 0.98, 0.99), rps)
    fields: dict[str, Any] = {
        "made_at": now,
        "horizon_s": 300.0,
        "quantiles": quantiles,
        "reliable": True,
        "reason": Reason.FORECAST_GOOD,
    }
    return Forecast(**(fields | more))


def looked(now: float, rps: float, ahead: Forecast | None = None, current: int = 2) -> Inputs:
    demand = Demand(state=DataState.PRESENT, rps=rps, peak_rps=rps, service_s=4.0)
    return Inputs(
        now=now,
        current=current,
        ready=current,
        starting=0,
        demand=demand,
        forecast=ahead,
        lead_s=180.0 + LEAD_MARGIN_S,
    )


def step(rules: ScalingRules, inputs: Inputs, trial: Trial) -> Trial:
    load, _ = find_load(rules, inputs.demand)
    assert load is not None
    return step_with(rules, inputs, load, trial)


def wave(minute: int) -> float:
    """Requests per second that rise from 4 to 20 within a minute, each half hour."""
    return 20.0 if minute % 30 >= 15 else 4.0


def lived(minutes: int, *, foresight: bool, rules: ScalingRules = RULES) -> Trial:
    """A trial over ``minutes`` of the wave, with forecasts that know it or without any."""
    trial = Trial()
    for minute in range(minutes):
        now = T0 + 60.0 * minute
        ahead = None
        if foresight:
            ahead = forecast(now, max(wave(minute + k) for k in range(6)))
        trial = step(rules, looked(now, wave(minute), ahead), trial)
    return trial


def test_until_there_is_evidence_the_policys_own_margin_stands() -> None:
    trial = lived(LEAST_MINUTES - 60, foresight=True)
    assert trial.chosen is None
    assert margin_in_use(RULES, trial, True) == Margin(0.9, 0.95, 0.95)
    assert margin_in_use(RULES, trial, False) == Margin(0.7)


@pytest.mark.parametrize(
    ("strictness", "ahead", "alone"),
    [
        pytest.param("Lean", Margin(0.9, 0.9, 1.0), Margin(0.8), id="Lean"),
        pytest.param("Balanced", Margin(0.9, 0.95, 0.95), Margin(0.7), id="Balanced"),
        pytest.param("Strict", Margin(0.9, 0.99, 0.95), Margin(0.6), id="Strict"),
    ],
)
def test_strictness_says_what_a_policy_begins_with(
    strictness: str, ahead: Margin, alone: Margin
) -> None:
    rules = read_spec(manifest(scaling__strictness=strictness)).rules.scaling
    assert margin_in_use(rules, Trial(), True) == ahead
    assert margin_in_use(rules, Trial(), False) == alone


def test_a_forecast_that_knows_what_comes_is_used() -> None:
    trial = lived(ENOUGH, foresight=True)
    assert trial.chosen is not None
    assert trial.chosen < len(WITH_FORECAST)
    assert trial.ahead.late[trial.chosen] <= 0.005 * trial.ahead.arrived


def test_without_a_forecast_steps_that_nobody_foresees_cost_more_room() -> None:
    """Every half hour the load is fivefold within a minute: only a much lower utilisation carries
    it."""
    steps = lived(ENOUGH, foresight=False)
    calm = Trial()
    for minute in range(ENOUGH):
        calm = step(RULES, looked(T0 + 60.0 * minute, 20.0), calm)
    assert steps.chosen is not None
    assert calm.chosen is not None
    room = {
        name: margin_in_use(RULES, trial, False).reactive_utilization
        for name, trial in {"steps": steps, "calm": calm}.items()
    }
    assert room["steps"] <= 0.5
    assert room["calm"] == 0.95


@pytest.mark.parametrize(
    ("rps", "expected"),
    [
        pytest.param(1.6, 2, id="one pod of two a second is late by chance at 80 %"),
        pytest.param(1.0, 1, id="and not at half of it"),
    ],
)
def test_few_pods_are_late_by_chance_though_the_mean_load_fits(rps: float, expected: int) -> None:
    """A fluid of 80 % waits for nobody; requests that come in clusters do."""
    trial = Trial()
    for minute in range(ENOUGH):
        trial = step(RULES, looked(T0 + 60.0 * minute, rps), trial)
    load, _ = find_load(RULES, looked(T0, rps).demand)
    assert load is not None
    margin = margin_in_use(RULES, trial, False)
    assert load.pods(rps, margin.reactive_utilization) == expected


def test_a_forecast_that_cries_wolf_does_not_pay() -> None:
    """It is trusted and always far too high: room above observed demand is cheaper."""
    trial = Trial()
    for minute in range(ENOUGH):
        now = T0 + 60.0 * minute
        trial = step(RULES, looked(now, 20.0, forecast(now, 60.0)), trial)
    assert margin_in_use(RULES, trial, True).quantile is None
    last = T0 + 60.0 * (ENOUGH)
    memory = Memory(trial=trial)
    decision, _ = decide_scaling(
        RULES, Mode.ENFORCE, looked(last, 20.0, forecast(last, 60.0), 30), memory
    )
    assert decision.forecast is None
    assert "forecast not used (ForecastDoesNotPay)" in decision.message


def test_a_forecast_that_is_lost_leaves_no_margin_that_needs_one() -> None:
    trial = lived(ENOUGH, foresight=True)
    assert margin_in_use(RULES, trial, False).quantile is None


def test_minutes_without_a_forecast_are_not_held_against_it() -> None:
    """Two days without, then one with: only that one counts for the margins that need it."""
    trial = lived(2 * 1440, foresight=False)
    assert trial.ahead.minutes == 0
    assert trial.alone.minutes == pytest.approx(2 * 1440 - 1)


def test_a_silence_begins_anew_and_keeps_the_books() -> None:
    trial = lived(120, foresight=True)
    late = T0 + 60.0 * 120 + 3600.0
    resumed = step(RULES, looked(late, 4.0, current=7), trial)
    assert resumed.alone == trial.alone
    assert {plant.waiting for plant in resumed.plants} == {0.0}
    assert resumed.stepped_at == late


def test_within_a_minute_nothing_happens() -> None:
    trial = lived(10, foresight=True)
    assert step(RULES, looked(T0 + 60.0 * 9 + 15.0, 40.0), trial) is trial


def test_nothing_is_chosen_where_the_policy_fixes_its_margin() -> None:
    rules = replace(RULES, allowed_late=None)
    _, memory = decide_scaling(rules, Mode.ENFORCE, looked(T0, 4.0), Memory())
    assert memory.trial == Trial()


def test_limits_hold_for_pods_on_paper_too() -> None:
    trial = lived(300, foresight=True, rules=replace(RULES, min_replicas=3, max_replicas=9))
    assert all(plant.pods <= 9 for plant in trial.plants)
    assert all(wanted >= 3 for plant in trial.plants for _, wanted in plant.wanted)


def test_stricter_margins_cost_more_and_make_fewer_wait() -> None:
    trial = lived(1000, foresight=False)
    late, pod_s = trial.alone.late, trial.alone.pod_s
    assert late[0] > late[-1]
    assert pod_s[0] < pod_s[-1]


def test_a_trial_survives_a_restart() -> None:
    memory = Memory(trial=lived(90, foresight=True))
    again = msgspec.convert(msgspec.json.decode(msgspec.json.encode(memory)), Memory, strict=False)
    assert again == memory
    assert len(msgspec.json.encode(memory.trial)) < 8_000


@given(st.lists(st.floats(0, 100), min_size=5, max_size=60))
def test_no_load_breaks_a_trial(rates: list[float]) -> None:
    trial = Trial()
    for minute, rps in enumerate(rates):
        now = T0 + 60.0 * minute
        trial = step(RULES, looked(now, rps, forecast(now, rps)), trial)
    assert trial.ahead.arrived <= 60.0 * sum(rates) + 1e-6
    for count, paid in zip(trial.ahead.late, trial.ahead.pod_s, strict=True):
        assert 0 <= count <= trial.ahead.arrived + 1e-6
        assert paid > 0
        assert math.isfinite(paid)


def test_under_a_margin_only_the_room_changes() -> None:
    ruled = under(RULES, Margin(0.6, 0.98, 0.9))
    assert (ruled.reactive_utilization, ruled.quantile, ruled.forecast_utilization) == (
        0.6,
        0.98,
        0.9,
    )
    assert (
        replace(
            ruled,
            reactive_utilization=RULES.reactive_utilization,
            reactive_alone_utilization=RULES.reactive_alone_utilization,
            quantile=RULES.quantile,
            forecast_utilization=RULES.forecast_utilization,
        )
        == RULES
    )
