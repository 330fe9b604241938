"""Errors on the ladder: stories in simulated time."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder_samples import BIG, FREE, SMALL, budget, use
from policy_story import Story
from tidegate_operator.decide.rungs import (
    Budget,
    BudgetAction,
    ModelCounts,
    Probing,
    Recovery,
    Rung,
    Scope,
    Trigger,
)
from tidegate_operator.decide.words import (
    DataState,
    Demand,
    LadderDecision,
    Mode,
    Phase,
    Reason,
    Rules,
)

ERRORS = Trigger(name="errors", enter=0.05, exit=0.02, for_s=60.0, min_requests=20)
RULES = Rules(
    mode=Mode.ENFORCE, models=(BIG, SMALL), triggers=(ERRORS,), min_dwell_s=120.0, scales=False
)
OUTAGE = {"big": 0.5}


def errors_story(**changed: object) -> Story:
    return Story(replace(RULES, **changed), current=4)  # type: ignore[arg-type]


def until(
    tale: Story, action: str, errors: dict[str, float], *, at_most_s: float = 7200.0
) -> float:
    """Serve until ``action`` is told; how long that took."""
    begin, told = tale.now, len(tale.told)
    while action not in tale.actions()[told:]:
        tale.serve(errors)
        assert tale.now - begin <= at_most_s, f"{action} was not told in {at_most_s:.0f} s"
    return tale.now - begin


def ladder_of(tale: Story) -> LadderDecision:
    assert tale.decision is not None
    return tale.decision.ladder


# --- errors -----------------------------------------------------------------------------------


def test_errors_switch_and_probes_bring_everybody_back() -> None:
    tale = errors_story()
    for _ in range(10):
        tale.serve()
    assert tale.told == []

    assert 60.0 <= until(tale, "Switch", OUTAGE) <= 90.0
    ladder = ladder_of(tale)
    assert (ladder.active_model, ladder.rung, ladder.phase) == (
        "small",
        Rung.SWITCH,
        Phase.DEGRADED,
    )
    assert ladder.reason is Reason.ERROR_RATE_HIGH
    assert ladder.probe_share == 0.0
    assert ladder.until is None, "evidence ends it, no time does"

    assert until(tale, "Probe", {}) >= 120.0, "dwell is longer than the first back-off"
    assert ladder_of(tale).probe_share == 0.05
    assert ladder_of(tale).active_model == "small"

    assert until(tale, "Recover", {}) <= 60.0
    assert (ladder_of(tale).active_model, ladder_of(tale).phase) == ("big", Phase.NORMAL)
    assert tale.actions() == ["Switch", "Probe", "Recover"]
    assert tale.reasons() == [Reason.ERROR_RATE_HIGH, Reason.PROBE_STARTED, Reason.RECOVERED]
    switch, _, back = tale.told
    assert (switch.before, switch.after, switch.subject) == ("big", "small", "errors")
    assert (back.before, back.after) == ("small", "big")
    assert switch.message == (
        "50.0% of 600 requests to big failed; above 5% for 60 s (trigger errors): small answers"
    )
    assert back.message == "16 of 16 probes were good: big answers again"


def test_probes_that_fail_wait_longer_each_time_up_to_the_longest() -> None:
    recovery = Recovery(backoff_initial_s=60.0, backoff_factor=2.0, backoff_max_s=300.0)
    tale = errors_story(recovery=recovery, min_dwell_s=0.0)
    until(tale, "Switch", OUTAGE)
    waits = []
    for _ in range(5):
        waits.append(until(tale, "Probe", OUTAGE))
        assert tale.reasons()[-1] is Reason.PROBE_STARTED
        until(tale, "Probe", OUTAGE)
        assert tale.reasons()[-1] is Reason.PROBE_FAILED
    assert waits == [60.0, 120.0, 240.0, 300.0, 300.0]
    until(tale, "Recover", {})


def test_a_fallback_is_never_for_good() -> None:
    """However long it was away, a healthy first model gets everybody back (openclaw#64083)."""
    tale = errors_story()
    until(tale, "Switch", OUTAGE)
    while tale.now < 1_000_000.0 + 20_000.0:
        tale.serve(OUTAGE)
    assert ladder_of(tale).active_model == "small"
    assert until(tale, "Recover", {}) <= 3600.0 + 120.0


def test_one_failed_probe_of_few_is_enough_to_turn_back() -> None:
    tale = errors_story()
    until(tale, "Switch", OUTAGE)
    until(tale, "Probe", {})
    tale.count("big", ended=5, errors=1)
    tale.tick(10.0)
    assert tale.reasons()[-1] is Reason.PROBE_FAILED
    assert tale.told[-1].message == "1 of 5 probes failed; next ones after 120 s"
    assert ladder_of(tale).probe_share == 0.0


def test_one_failed_probe_of_many_is_what_the_exit_threshold_allows() -> None:
    tale = errors_story(recovery=Recovery(successes=200))
    until(tale, "Switch", OUTAGE)
    until(tale, "Probe", {})
    tale.count("big", ended=100)
    tale.tick(10.0)
    tale.count("big", ended=101, errors=1)
    tale.tick(10.0)
    assert tale.reasons()[-1] is Reason.RECOVERED


def test_without_probes_there_is_no_evidence() -> None:
    tale = errors_story()
    until(tale, "Switch", OUTAGE)
    until(tale, "Probe", {})
    for _ in range(100):
        tale.tick(0.0)
    assert tale.memory.probing is Probing.HALF_OPEN
    assert tale.actions() == ["Switch", "Probe"]


def test_a_recovery_that_does_not_hold_is_tried_later_the_next_time() -> None:
    tale = errors_story()
    until(tale, "Switch", OUTAGE)
    until(tale, "Recover", {})
    until(tale, "Switch", OUTAGE)
    assert tale.memory.backoff_s == 120.0
    until(tale, "Recover", {})
    for _ in range(200):
        tale.serve()
    until(tale, "Switch", OUTAGE)
    assert tale.memory.backoff_s == 60.0, "one that held for long begins anew"


@pytest.mark.parametrize(
    ("share", "rps", "ticks"),
    [
        pytest.param(0.04, 10.0, 40, id="below the threshold"),
        pytest.param(1.0, 0.2, 40, id="too few requests to mean anything"),
        pytest.param(0.5, 10.0, 4, id="for less time than the trigger asks"),
    ],
)
def test_what_does_not_trip(share: float, rps: float, ticks: int) -> None:
    tale = errors_story()
    for _ in range(ticks):
        tale.serve({"big": share}, rps=rps)
    for _ in range(20):
        tale.serve(rps=rps)
    assert tale.told == []


def test_errors_that_fall_below_the_threshold_do_not_trip_for_having_been_above() -> None:
    tale = errors_story()
    tale.serve()
    tale.serve({"big": 0.1})
    for _ in range(40):
        tale.serve({"big": 0.04})
    assert tale.told == []


def test_a_minute_of_errors_after_a_gap_is_not_read_as_long_lasting() -> None:
    """An operator that was away for an hour takes the counters as they are, and starts to
    watch."""
    tale = errors_story()
    tale.serve(OUTAGE)
    tale.serve(OUTAGE)
    tale.count("big", ended=9000, errors=4500)
    tale.tick(10.0, seconds=3600.0)
    assert tale.told == []


def test_counters_that_begin_anew_are_no_evidence() -> None:
    tale = errors_story()
    until(tale, "Switch", OUTAGE)
    until(tale, "Probe", {})
    tale.counts = {"big": ModelCounts(ended=0, errors=0)}
    tale.tick(10.0)
    assert tale.memory.probing is Probing.HALF_OPEN
    tale.count("big", ended=12)
    tale.tick(10.0)
    assert tale.reasons()[-1] is Reason.RECOVERED


def test_nothing_moves_while_no_sidecar_can_be_read() -> None:
    tale = errors_story()
    until(tale, "Switch", OUTAGE)
    for _ in range(8):
        tale.tick(Demand(state=DataState.ERROR))
    assert ladder_of(tale).active_model == "small"


def test_a_single_model_has_nowhere_to_go_and_says_so() -> None:
    tale = errors_story(models=(BIG,))
    until(tale, "Switch", OUTAGE)
    ladder = ladder_of(tale)
    assert (ladder.active_model, ladder.rung, ladder.phase) == ("big", Rung.WARN, Phase.WARNED)
    assert "no other model is left" in ladder.message
    assert until(tale, "Recover", {}) <= 300.0


def test_a_warning_comes_and_goes_without_moving_anybody() -> None:
    tale = errors_story(triggers=(replace(ERRORS, do=Rung.WARN),))
    until(tale, "Warn", OUTAGE)
    assert (ladder_of(tale).active_model, ladder_of(tale).phase) == ("big", Phase.WARNED)
    until(tale, "Recover", {})
    assert tale.actions() == ["Warn", "Recover"]
    assert tale.reasons()[-1] is Reason.ERROR_RATE_OK
    assert ladder_of(tale).phase is Phase.NORMAL


def test_between_enter_and_exit_a_warning_stays() -> None:
    tale = errors_story(triggers=(replace(ERRORS, do=Rung.WARN),))
    until(tale, "Warn", OUTAGE)
    for _ in range(60):
        tale.serve({"big": 0.03})
    assert tale.actions() == ["Warn"]


def test_a_block_lets_everything_through_as_its_probe() -> None:
    tale = errors_story(triggers=(replace(ERRORS, do=Rung.BLOCK),))
    until(tale, "Block", OUTAGE)
    assert (ladder_of(tale).rung, ladder_of(tale).phase) == (Rung.BLOCK, Phase.BLOCKED)
    assert tale.told[-1].after == "blocked"
    until(tale, "Probe", OUTAGE)
    assert ladder_of(tale).rung is Rung.WARN, "half-open"
    until(tale, "Probe", OUTAGE)
    assert (ladder_of(tale).rung, tale.reasons()[-1]) == (Rung.BLOCK, Reason.PROBE_FAILED)
    until(tale, "Recover", {})
    assert ladder_of(tale).rung is Rung.NONE


def test_a_fallback_that_fails_as_well_goes_on_to_block() -> None:
    worse = Trigger(name="worse", enter=0.30, exit=0.02, do=Rung.BLOCK)
    tale = errors_story(triggers=(ERRORS, worse))
    until(tale, "Switch", {"big": 0.1, "small": 0.6})
    until(tale, "Block", {"big": 0.1, "small": 0.6})
    assert tale.told[-1].before == "small"
    assert tale.told[-1].subject == "worse"


def test_a_trigger_that_was_taken_out_of_the_policy_lets_go() -> None:
    tale = errors_story()
    until(tale, "Switch", OUTAGE)
    tale.rules = replace(tale.rules, triggers=())
    tale.serve(OUTAGE)
    assert (ladder_of(tale).active_model, tale.actions()[-1]) == ("big", "Recover")


def test_paused_stands_still_where_it_is() -> None:
    tale = errors_story()
    until(tale, "Switch", OUTAGE)
    tale.rules = replace(tale.rules, mode=Mode.PAUSED)
    for _ in range(60):
        tale.serve()
    assert ladder_of(tale).active_model == "small"
    assert tale.actions() == ["Switch"]


def test_shadow_tells_the_same_story() -> None:
    tale = errors_story(mode=Mode.SHADOW)
    until(tale, "Switch", OUTAGE)
    until(tale, "Probe", {})
    until(tale, "Recover", {})
    assert tale.actions() == ["Switch", "Probe", "Recover"]


@settings(max_examples=12)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(1, 20))
def test_however_errors_come_the_ladder_does_not_flap(shares: list[float], ticks: int) -> None:
    """A switch needs ``for``, a way back needs the dwell: an hour holds so many of both at
    most."""
    tale = errors_story()
    for i in range(240):
        tale.serve({"big": shares[i // ticks % len(shares)]})
    switches = tale.actions().count("Switch")
    assert switches <= 3600 / (60 + 120) + 1
    assert 0 <= switches - tale.actions().count("Recover") <= 1
    at_rest = tale.memory.rung is Rung.NONE
    assert ladder_of(tale).active_model == ("big" if at_rest else "small")


# --- errors and budgets -----------------------------------------------------------------------


def only_warns(scope: Scope) -> Budget:
    return budget(scope, money=True, actions=(BudgetAction(at=0.8, do=Rung.WARN),))


@pytest.mark.parametrize(
    "of_models",
    [
        pytest.param(budget(Scope.MODEL, money=True), id="a budget that would block"),
        pytest.param(only_warns(Scope.MODEL), id="a budget that only warns"),
    ],
)
def test_errors_do_not_drive_anybody_to_a_model_whose_budget_is_spent(of_models: Budget) -> None:
    """litellm#41344, the other way about: the fallback of an outage."""
    tale = errors_story(models=(BIG, SMALL, FREE), budgets=(of_models,))
    tale.budgets = (use(Scope.MODEL, 1.0, "small", money=True),)
    until(tale, "Switch", OUTAGE)
    assert ladder_of(tale).active_model == "local"


def test_a_budget_that_only_warns_moves_nobody() -> None:
    tale = errors_story(budgets=(only_warns(Scope.MODEL),))
    tale.budgets = (use(Scope.MODEL, 1.5, "big", money=True),)
    tale.serve()
    assert (ladder_of(tale).active_model, ladder_of(tale).rung) == ("big", Rung.WARN)


def test_a_first_model_whose_budget_is_spent_is_not_probed() -> None:
    tale = errors_story(budgets=(budget(Scope.MODEL),))
    until(tale, "Switch", OUTAGE)
    tale.budgets = (use(Scope.MODEL, 1.2, "big"),)
    for _ in range(60):
        tale.serve()
    assert ladder_of(tale).probe_share == 0.0
    assert "Probe" not in tale.actions()
    tale.budgets = ()
    until(tale, "Recover", {})


def test_probes_end_where_the_first_models_budget_does() -> None:
    tale = errors_story(budgets=(budget(Scope.MODEL),), recovery=Recovery(successes=500))
    until(tale, "Switch", OUTAGE)
    until(tale, "Probe", {})
    assert ladder_of(tale).probe_share == 0.05
    tale.budgets = (use(Scope.MODEL, 1.2, "big"),)
    tale.serve()
    assert (ladder_of(tale).active_model, ladder_of(tale).probe_share) == ("small", 0.0)
