"""Who decides the count: tables of single looks, and years of quarrel in simulated time."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.decide.hands import (
    CONTESTED_S,
    Sight,
    asks,
    find_hands,
    found_anew,
    is_foreign,
    meet,
    refused,
    who_holds,
    wrote,
)
from tidegate_operator.decide.holding import Autoscaler, HandHold, HandsMemory
from tidegate_operator.decide.words import Memory, Reason

HOLD_S = 900.0
NOW = 1_000_000.0
UID = "uid-llama"

FOUND = HandsMemory(uid=UID, standing=2)
OURS = HandsMemory(uid=UID, standing=4, ours=True)
ASKING = HandsMemory(uid=UID, standing=2, asking=4)
HELD = find_hands(
    OURS, Sight(now=NOW - 60.0, uid=UID, replicas=7, generation=1), manual_hold_s=900
)


def look(memory: HandsMemory, replicas: int, **more: object) -> HandsMemory:
    values = {"now": NOW, "uid": UID, "generation": 1} | more
    sight = Sight(replicas=replicas, **values)  # type: ignore[arg-type]
    return find_hands(memory, sight, manual_hold_s=HOLD_S)


@pytest.mark.parametrize(
    ("memory", "replicas", "more"),
    [
        pytest.param(HandsMemory(), 7, {}, id="the first sight of a target is taken as it is"),
        pytest.param(FOUND, 2, {}, id="what was found still stands"),
        pytest.param(OURS, 4, {}, id="what we wrote stands"),
        pytest.param(ASKING, 4, {}, id="our write landed though its answer was lost"),
        pytest.param(ASKING, 2, {}, id="our write did not land"),
        pytest.param(OURS, 7, {"uid": "uid-new"}, id="a new workload has the old one's name"),
        pytest.param(OURS, 6, {"manager": "tidegate"}, id="another leader of ours wrote it"),
        pytest.param(OURS, 0, {}, id="zero is a stop, not a number to hold"),
        pytest.param(HandsMemory(uid=UID, standing=0), 3, {}, id="a start from zero means go"),
        pytest.param(HELD, 7, {"now": NOW + HOLD_S}, id="the time of a hand's count is up"),
        pytest.param(HELD, 7, {"generation": 2}, id="a policy that was changed wants to act"),
        pytest.param(HELD, 4, {}, id="setting what stood before hands back"),
    ],
)
def test_nobodys_hand(memory: HandsMemory, replicas: int, more: dict[str, object]) -> None:
    after = look(memory, replicas, **more)
    assert after.hold is None
    assert after.standing == replicas


@pytest.mark.parametrize(
    ("memory", "replicas", "before", "asked"),
    [
        pytest.param(OURS, 7, 4, True, id="more than we wrote"),
        pytest.param(OURS, 1, 4, True, id="less than we wrote"),
        pytest.param(FOUND, 5, 2, False, id="more than was found"),
        pytest.param(ASKING, 7, 2, False, id="neither what stood nor what we asked for"),
        pytest.param(HELD, 8, 4, True, id="they set it once more"),
    ],
)
def test_somebodys_hand(memory: HandsMemory, replicas: int, before: int, asked: bool) -> None:
    after = look(memory, replicas, manager="kubectl")
    assert after.hold == HandHold(
        count=replicas,
        before=before,
        asked=asked,
        by="kubectl",
        since=NOW,
        until=NOW + HOLD_S,
        generation=1,
    )
    assert after.asking is None


def test_is_foreign_only_where_it_is_worth_asking_who() -> None:
    sight = Sight(now=NOW, uid=UID, replicas=7)
    assert is_foreign(OURS, sight)
    assert not is_foreign(OURS, replace(sight, replicas=4))
    assert not is_foreign(ASKING, replace(sight, replicas=4))
    assert not is_foreign(OURS, replace(sight, uid="uid-new"))
    assert not is_foreign(HandsMemory(), sight)
    assert not is_foreign(OURS, replace(sight, replicas=0))


def test_a_write_that_was_refused_is_not_ours_when_it_appears() -> None:
    after = look(refused(asks(FOUND, 4)), 4)
    assert after.hold is not None


def test_a_new_workload_is_not_measured_by_what_the_old_one_wanted() -> None:
    old = Memory(recommendations=((NOW, 9),), last_current=9, told_replicas=9, hands=OURS)
    assert meet(old, UID) is old
    fresh = meet(old, "uid-new")
    assert (fresh.recommendations, fresh.last_current, fresh.told_replicas) == ((), None, None)


HPA = Autoscaler(name="llama")


@pytest.mark.parametrize(
    ("autoscaler", "memory", "writes", "reason"),
    [
        pytest.param(None, OURS, True, None, id="nobody else"),
        pytest.param(HPA, OURS, True, Reason.HPA_ON_TARGET, id="an autoscaler"),
        pytest.param(HPA, HELD, True, Reason.HPA_ON_TARGET, id="an autoscaler before a person"),
        pytest.param(None, HELD, True, Reason.SCALED_BY_HAND, id="a person"),
        pytest.param(HPA, HELD, False, None, id="a policy that writes nothing is in nobody's way"),
    ],
)
def test_who_holds(
    autoscaler: Autoscaler | None, memory: HandsMemory, writes: bool, reason: Reason | None
) -> None:
    hold = who_holds(autoscaler, memory, writes=writes)
    assert (None if hold is None else hold.reason) == reason


@dataclass
class Quarrel:
    """A policy that wants ``wanted`` and a target, tick by tick."""

    current: int = 2
    wanted: int = 6
    now: float = NOW
    memory: HandsMemory = field(default_factory=HandsMemory)
    writes: list[float] = field(default_factory=list)

    def tick(self, seconds: float = 15.0) -> HandsMemory:
        self.now += seconds
        sight = Sight(now=self.now, uid=UID, replicas=self.current, generation=1)
        self.memory = find_hands(self.memory, sight, manual_hold_s=HOLD_S)
        held = who_holds(None, self.memory) is not None
        if not held and self.current not in (0, self.wanted):
            self.writes.append(self.now)
            self.current = self.wanted
            self.memory = wrote(asks(self.memory, self.wanted), self.wanted)
        return self.memory


def run(quarrel: Quarrel, hours: float, revert_every_s: float, to: int = 2) -> None:
    """Somebody sets ``to`` every so often, whatever stands."""
    due = quarrel.now
    end = quarrel.now + hours * 3600
    while quarrel.now < end:
        quarrel.tick()
        if quarrel.now >= due:
            quarrel.current, due = to, quarrel.now + revert_every_s


def test_one_who_never_gives_in_sees_three_writes_and_then_one_in_ever_longer_times() -> None:
    quarrel = Quarrel()
    run(quarrel, 1.0, 15.0)
    assert len(quarrel.writes) == 3
    assert quarrel.memory.hold is not None
    assert quarrel.memory.hold.contested
    hold = who_holds(None, quarrel.memory)
    assert hold is not None
    assert hold.reason is Reason.FIELD_CONTESTED
    run(quarrel, 23.0, 15.0)
    assert len(quarrel.writes) <= 8


def test_a_person_who_changes_the_count_now_and_then_is_not_called_a_fight() -> None:
    quarrel = Quarrel()
    for _ in range(6):
        for _ in range(8 * 60 * 4):
            quarrel.tick()
        quarrel.current = 9
        quarrel.tick()
        assert quarrel.memory.hold is not None
        assert not quarrel.memory.hold.contested


@settings(max_examples=60)
@given(
    revert_every_s=st.sampled_from([15.0, 60.0, 180.0, 600.0, 1500.0]),
    to=st.integers(1, 9),
    wanted=st.integers(1, 9),
)
def test_never_more_than_three_writes_in_a_fights_first_hour(
    revert_every_s: float, to: int, wanted: int
) -> None:
    quarrel = Quarrel(wanted=wanted)
    run(quarrel, 12.0, revert_every_s, to)
    for at in quarrel.writes:
        assert sum(at <= other < at + CONTESTED_S for other in quarrel.writes) <= 4
    assert len(quarrel.writes) <= 12 * 3600 / HOLD_S


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(1.0, 4000.0)), max_size=30))
def test_left_alone_it_decides_again(hands: list[tuple[int, float]]) -> None:
    quarrel = Quarrel()
    for count, seconds in hands:
        quarrel.current = count
        before = list(quarrel.writes)
        quarrel.tick(seconds)
        if count == 0:
            assert quarrel.writes == before, "nobody is started against a stop"
    if quarrel.current == 0:
        quarrel.current = 1
        quarrel.tick()
    for _ in range(26 * 4):
        quarrel.tick(900.0)
    assert quarrel.current == quarrel.wanted
    assert quarrel.memory.hold is None


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(["done", "lost", "never sent", "refused"]), st.integers(1, 9)),
        max_size=20,
    )
)
def test_ones_own_writes_are_never_taken_for_somebodys(writes: list[tuple[str, int]]) -> None:
    """Each may crash the process: all that is left is what was saved before it."""
    current, memory = 2, found_anew(Sight(now=NOW, uid=UID, replicas=2))
    for fate, count in writes:
        memory = asks(memory, count)
        if fate in ("done", "lost"):
            current = count
        if fate == "done":
            memory = wrote(memory, count)
        elif fate == "refused":
            memory = refused(memory)
        memory = look(memory, current)
        assert memory.hold is None
