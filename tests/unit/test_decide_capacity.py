"""A capacity is learned from what replicas carried inside the SLO, and never above it."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_story import Story, present
from tidegate_operator.decide.capacity import Book, Capacity, Carried, capacity_of, learn
from tidegate_operator.decide.queueing import waiting_share
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.signals import CapacitySource, Signal
from tidegate_operator.decide.words import Memory, Mode, Reason, Rules, ScalingRules

LATE = 0.1
"""The SLO: 90 % begin in time."""
SLOTS, SERVICE_S, TARGET_S = 8, 4.0, 3.0


def late_share(rps: float) -> float:
    """Of a replica with 8 slots of 4 s, how many wait past 3 s (Erlang C)."""
    busy = rps * SERVICE_S
    if busy >= SLOTS:
        return 1.0
    return waiting_share(busy, SLOTS) * math.exp(-(SLOTS - busy) * TARGET_S / SERVICE_S)


def minute(rps: float, late: float | None = None, answers: int = 60) -> tuple[float, Carried]:
    share = late_share(rps) if late is None else late
    carried = Carried(
        rps=rps, tokens_per_s=500 * rps, in_flight=4 * rps, answers=answers, late=answers * share
    )
    return rps, carried


def learned(*minutes: tuple[float, Carried]) -> Capacity | None:
    book = Book()
    for one in minutes:
        book = learn(book, [one], LATE)
    return capacity_of(book, LATE)


GOOD = [minute(1.0, 0.02)] * 5
FULL = [minute(1.5, 0.05)] * 5
OVER = [minute(2.0, 0.4)] * 5


@pytest.mark.parametrize(
    ("minutes", "value", "known"),
    [
        pytest.param(GOOD, 1.0, False, id="what was carried is a lower bound"),
        pytest.param(GOOD + FULL, 1.5, False, id="the highest that was carried"),
        pytest.param(GOOD + FULL + OVER, 1.5, True, id="known once one was seen that is too much"),
        pytest.param(OVER + FULL + GOOD, 1.5, True, id="in whatever order"),
        pytest.param(OVER, 1.0, True, id="where none was carried, half of the least that was not"),
        pytest.param(
            [*FULL * 3, *[minute(0.1, 0.5, answers=10)] * 5, *OVER],
            1.5,
            True,
            id="a bad hour at night is judged together with the good ones above it",
        ),
    ],
)
def test_what_is_learned(minutes: list[tuple[float, Carried]], value: float, known: bool) -> None:
    found = learned(*minutes)
    assert found is not None
    assert (pytest.approx(value, rel=0.1), known) == (found.value, found.known)


@pytest.mark.parametrize(
    "minutes",
    [
        pytest.param([], id="nothing"),
        pytest.param([minute(1.0, answers=29)], id="too few answers"),
        pytest.param([minute(1.0, answers=60)] * 2, id="two minutes of a pod"),
        pytest.param([minute(1.0, 0.0, answers=0)] * 50, id="answers that tell no first token"),
        pytest.param([minute(0.0, 0.0)] * 50, id="no load"),
        pytest.param(OVER + [minute(0.3, 0.4)] * 5, id="answers that are late whatever the load"),
    ],
)
def test_too_little_is_no_capacity(minutes: list[tuple[float, Carried]]) -> None:
    assert learned(*minutes) is None


@given(
    minutes=st.lists(
        st.tuples(st.floats(0.05, 5), st.floats(0, 1), st.integers(1, 200)),
        min_size=1,
        max_size=60,
    )
)
def test_it_is_never_above_what_was_observed(minutes: list[tuple[float, float, int]]) -> None:
    found = learned(*(minute(rps, late, answers) for rps, late, answers in minutes))
    assert found is None or 0 < found.value <= max(rps for rps, *_ in minutes) * (1 + 1e-9)


@given(rising=st.lists(st.floats(0.2, 2.5), min_size=30, max_size=80))
def test_a_replica_as_erlang_has_it_is_learned_to_a_bucket(rising: list[float]) -> None:
    minutes = [minute(rps) for rps in [*rising, *[0.4 + 0.1 * n for n in range(20)] * 3]]
    found = learned(*minutes)
    assert found is not None
    assert found.known
    most = max(rps / 100 for rps in range(20, 200) if late_share(rps / 100) <= LATE)
    assert most / 1.35 <= found.value <= most * 1.2


def test_another_engine_is_learned_within_hours() -> None:
    before = GOOD + FULL + OVER
    slower = [minute(1.0, 0.02)] * 200 + [minute(1.5, 0.4)] * 200
    found = learned(*before, *slower)
    assert found is not None
    assert found.value == pytest.approx(1.0)
    faster = [minute(2.0, 0.02)] * 400 + [minute(3.0, 0.4)] * 200
    found = learned(*before, *faster)
    assert found is not None
    assert found.value == pytest.approx(2.0, rel=0.05)


def test_a_lower_capacity_counts_at_once_and_a_higher_one_step_by_step() -> None:
    book = Book()
    for one in GOOD + OVER:
        book = learn(book, [one], LATE)
    assert capacity_of(book, LATE) == Capacity(value=1.0, known=True, answers=600)
    values = []
    for one in FULL:
        book = learn(book, [one], LATE)
        values.append((capacity_of(book, LATE) or Capacity(value=0.0, known=False)).value)
    assert values == sorted(values)
    assert 1.0 <= values[-1] < 1.5
    for one in [minute(1.0, 0.9)] * 20:
        book = learn(book, [one], LATE)
    assert (capacity_of(book, LATE) or Capacity(value=9.0, known=False)).value < 1.0


def test_it_survives_a_restart() -> None:
    book = Book()
    for one in GOOD + FULL + OVER:
        book = learn(book, [one], LATE)
    memory = Memory(books={Signal.REQUESTS: book})
    stored = json.loads(json.dumps(msgspec.to_builtins(memory, str_keys=True)))
    assert msgspec.convert(stored, Memory, strict=False).books == memory.books


# --- what a policy does with it ------------------------------------------------------------------


def auto(*, current: int, signal: Signal = Signal.REQUESTS) -> Story:
    scaling = ScalingRules(
        max_replicas=20,
        capacity_rps=None,
        signal=signal,
        wait_target_s=TARGET_S,
        stabilization_s=60.0,
    )
    models = (ModelRule(name="m"),)
    return Story(Rules(mode=Mode.ENFORCE, models=models, scaling=scaling), current=current)


def live(tale: Story, rps: float, minutes: int, *, service_s: float | None = None) -> None:
    """Let pods carry ``rps`` together, each telling a sample a minute."""
    for _ in range(minutes * 4):
        each = rps / tale.current
        on_the_minute = tale.now % 60 < 15
        tale.carried = (minute(each)[1],) * tale.current if on_the_minute else ()
        tale.tick(
            present(rps, peak_rps=rps, in_flight=0, service_s=service_s, tokens_per_request=500.0)
        )


def test_before_anything_is_known_the_count_stays() -> None:
    tale = auto(current=3)
    decision = tale.tick(30.0).scaling
    assert (decision.replicas, decision.reason) == (3, Reason.CAPACITY_UNKNOWN)
    assert "Auto" in decision.message


def test_a_lower_bound_removes_pods_and_adds_none() -> None:
    tale = auto(current=4)
    live(tale, 4.0, 10)
    assert tale.decision is not None
    assert tale.decision.scaling.capacity is not None
    assert tale.decision.scaling.capacity.source is CapacitySource.LEARNING
    assert tale.current == 4, "1 rps each is all that is known, and 0.7 of it would add pods"
    assert tale.decision.scaling.clamps[-1].reason is Reason.CAPACITY_LEARNING
    live(tale, 1.0, 10)
    assert tale.current == 2, "1 rps each was carried: two are enough for 1 rps at 0.7"


def test_pods_are_added_once_the_load_that_is_too_much_has_been_seen() -> None:
    tale = auto(current=4)
    live(tale, 4.0, 10)
    live(tale, 8.4, 10)
    assert tale.decision is not None
    used = tale.decision.scaling.capacity
    assert used is not None
    assert used.source is CapacitySource.LEARNED
    assert tale.current > 5
    assert late_share(8.4 / tale.current) <= LATE
    assert tale.current < 16


def test_one_pod_that_never_kept_its_slo_gets_company() -> None:
    tale = auto(current=1)
    live(tale, 5.0, 15)
    assert tale.current >= 3
    assert late_share(5.0 / tale.current) <= LATE


def test_auto_measures_in_tokens_where_servers_tell_them() -> None:
    tale = auto(current=2, signal=Signal.AUTO)
    live(tale, 2.0, 6)
    live(tale, 4.2, 6)
    assert tale.decision is not None
    used = tale.decision.scaling.capacity
    assert used is not None
    assert used.signal is Signal.TOKENS
    assert "tokens/s" in tale.decision.scaling.message
