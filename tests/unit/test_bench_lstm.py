"""The LSTM beside ours is taught from the past alone, meets the plant that all meet, and is scored
by its mean absolute error; its network, which needs JAX, is not run here."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from benchmarks.goals.field import HPA_SHARES, Row
from benchmarks.lstm.lessons import (
    AHEAD_MINUTES,
    HISTORY_MINUTES,
    HOURLY_ROUNDS,
    PATIENCE,
    ROUND_STEPS,
    WINDOW_MINUTES,
    Foretold,
    Skill,
    foretell,
    lessons_of,
    skill_of,
    taught,
)
from benchmarks.lstm.played import PointAhead, Points, points_of, swept, unfit
from benchmarks.lstm.told import played_lines, training_lines

from tidegate_operator.forecast.arrays import DAY, Floats, Indices
from tidegate_operator.forecast.series import Series
from tidegate_operator.replay.control import Seen
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import Trace

START = 28_000_020
"""A unix minute."""
BEGIN = 2 * DAY


def series(minutes: int, seed: int = 0) -> Series:
    random = np.random.default_rng(seed)
    wave = 300 + 200 * np.sin(2 * np.pi * np.arange(minutes) / DAY)
    return Series(START, random.poisson(wave).astype(float), np.ones(minutes, bool))


@dataclass
class LastValue:
    """A network that foretells what is there now, and writes down what it was shown. Its state is
    how many rounds it learned in; what is held out is lost by the n-th of ``held_out_losses``."""

    held_out_losses: tuple[float, ...] = (1.0,)
    learned: list[tuple[Indices, Floats]] = field(default_factory=list)
    """Rows of the batches, and their answers."""
    judged: list[Indices] = field(default_factory=list)

    def fresh(self) -> int:
        return 0

    def learn(self, state: int, inputs: Floats, batches: Indices) -> tuple[int, Floats]:
        self.learned.append((batches, inputs[batches + AHEAD_MINUTES, 0]))
        return state + 1, np.ones(len(batches))

    def loss(self, state: int, inputs: Floats, rows: Indices) -> float:
        self.judged.append(rows)
        return self.held_out_losses[min(state, len(self.held_out_losses) - 1)]

    def foretell(self, state: int, inputs: Floats, rows: Indices) -> Floats:
        return np.asarray(inputs[rows, 0])


def test_each_hour_is_learned_from_what_came_before_it_and_from_two_weeks_at_most() -> None:
    lessons = lessons_of(series(HISTORY_MINUTES + BEGIN), BEGIN)
    for origin in (BEGIN, BEGIN + 60, HISTORY_MINUTES + BEGIN):
        rows, held_out = lessons.split(origin)
        assert held_out.max() + AHEAD_MINUTES < origin
        assert rows.max() + AHEAD_MINUTES <= held_out.min()
        assert rows.min() == max(WINDOW_MINUTES - 1, origin - HISTORY_MINUTES)
        assert held_out.min() - rows.min() == pytest.approx(0.8 * min(origin, 14 * DAY), rel=0.03)


def test_nothing_learned_or_foretold_changes_with_the_future() -> None:
    one, other = series(3 * DAY), series(3 * DAY)
    cut = BEGIN + 7 * 60 + 30
    other.values[cut:] = 9.0
    network, network_other = LastValue(), LastValue()
    said = foretell(one, BEGIN, network).points
    said_other = foretell(other, BEGIN, network_other).points
    assert np.array_equal(said[: cut - BEGIN], said_other[: cut - BEGIN])
    assert not np.array_equal(said[cut - BEGIN :], said_other[cut - BEGIN :])
    until_then = PATIENCE + HOURLY_ROUNDS * 7
    for k in range(until_then):
        for shown, shown_other in zip(network.learned[k], network_other.learned[k], strict=True):
            assert np.array_equal(shown, shown_other)
    assert not np.array_equal(network.learned[-1][1], network_other.learned[-1][1])


def test_what_was_filled_in_is_no_answer() -> None:
    holed = series(3 * DAY)
    holed.known[DAY : DAY + 200] = False
    holed.known[BEGIN - 300 : BEGIN - 200] = False
    rows, held_out = lessons_of(holed, BEGIN).split(BEGIN)
    assert holed.known[rows + AHEAD_MINUTES].all()
    assert holed.known[held_out + AHEAD_MINUTES].all()
    assert {DAY - 1, DAY + 200} <= set((rows + AHEAD_MINUTES).tolist())


@pytest.mark.parametrize(
    ("held_out_losses", "rounds", "kept", "tried"),
    [
        pytest.param((1.0, 0.9, 0.8, 0.7), 3, 3, 3, id="each round that gains is kept"),
        pytest.param((1.0, 0.9, 1.2, 1.1, 0.8), 9, 4, 9, id="a later gain makes up for losses"),
        pytest.param((1.0, 2.0), 9, 0, PATIENCE, id="without a gain all is as it was, soon"),
        pytest.param((1.0, 1.0), 2, 0, 2, id="no better is no gain"),
        pytest.param((float("nan"),), 9, 0, PATIENCE, id="what can't be judged is not kept"),
    ],
)
def test_a_round_is_kept_where_it_does_better_on_what_is_held_out(
    held_out_losses: tuple[float, ...], rounds: int, kept: int, tried: int
) -> None:
    network, random = LastValue(held_out_losses), np.random.default_rng(0)
    lessons = lessons_of(series(BEGIN + 60), BEGIN)
    state, losses = taught(network, 0, lessons, BEGIN, rounds, random)
    assert (state, len(network.learned), len(losses)) == (kept, tried, tried * ROUND_STEPS)
    assert all(np.array_equal(rows, network.judged[0]) for rows in network.judged)


def test_a_last_hour_that_is_not_whole_is_foretold_too() -> None:
    short = series(BEGIN + 90)
    made = foretell(short, BEGIN, LastValue())
    assert made.points == pytest.approx(short.values[BEGIN:])


def test_a_network_that_says_less_than_nothing_means_nothing() -> None:
    class Below(LastValue):
        def foretell(self, state: int, inputs: Floats, rows: Indices) -> Floats:
            return -np.ones(len(rows))

    assert not foretell(series(BEGIN + 60), BEGIN, Below()).points.any()


@pytest.mark.parametrize(
    ("counted", "over_last_value", "over_last_quarter"),
    [
        pytest.param(
            True, 1 - 500 / 1500, 1 - 500 / 2200, id="a third of the error is two thirds"
        ),
        pytest.param(False, 1.0, 1.0, id="an answer that was filled in is not scored"),
    ],
)
def test_skill_is_the_share_by_which_errors_are_lower(
    counted: bool, over_last_value: float, over_last_quarter: float
) -> None:
    """Load steps from 100 to 200 in minute 60; for the first ten of those, 150 was foretold."""
    values = np.where(np.arange(120) < 60, 100.0, 200.0)
    stepped = Series(START, values, np.ones(120, bool))
    stepped.known[60:70] = counted
    said = np.concatenate((values[20 + AHEAD_MINUTES :], np.full(AHEAD_MINUTES, 200.0)))
    said[60 - AHEAD_MINUTES - 20 : 70 - AHEAD_MINUTES - 20] = 150.0
    skill = skill_of(stepped, Foretold(20, said))
    assert skill.over_last_value == pytest.approx(over_last_value)
    assert skill.over_last_quarter == pytest.approx(over_last_quarter)


def test_a_point_is_there_from_the_minute_after_the_one_it_was_made_from() -> None:
    points = points_of(series(BEGIN + 2), Foretold(BEGIN, np.array([60.0, 120.0])))
    made_s = 60.0 * (START + BEGIN + 1)
    said = [points(made_s + after) for after in (-1.0, 0.0, 59.0, 60.0, 600.0)]
    assert said == [None, 1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("rps", "count"),
    [
        pytest.param(0.0, 1, id="one pod at least"),
        pytest.param(2.0, 2, id="exactly full"),
        pytest.param(2.1, 3, id="what is begun is a pod"),
        pytest.param(1e9, 400, id="no more than anybody may have"),
    ],
)
def test_replicas_are_the_load_foretold_over_the_target(rps: float, count: int) -> None:
    player = PointAhead(points=Points(0, np.array([rps])), target_rps=1.0)
    assert player.wanted(Seen(now=30.0, current=1, ready=1)) == count


def test_replicas_follow_a_falling_point_five_minutes_later() -> None:
    player = PointAhead(points=Points(0, np.array([5.0, 2.0])), target_rps=1.0)
    seen = Seen(now=0.0, current=1, ready=1)
    wanted = []
    for seen.now in (45.0, 60.0, 344.0, 345.0):
        wanted.append(player.wanted(seen))
    assert wanted == [5, 5, 5, 2]


def trace(hours: int, rps: float) -> Trace:
    return Trace(name="t", start=0.0, step_s=60, requests=(60.0 * rps,) * (60 * hours))


def test_every_share_is_played_and_by_1_percent_where_late_requests_begin() -> None:
    """A little less is foretold than comes: where pods are meant to be full they are too few."""
    plant, steady = PlantRules(by_tokens=False), trace(3, 20.0)
    rows = list(swept("t", steady, plant, Points(0, np.full(180, 18.5))))
    percents = [int(row.setting.removesuffix("%")) for row in rows]
    coarse = len(HPA_SHARES)
    assert percents[:coarse] == [round(100 * share) for share in HPA_SHARES]
    assert {row.controller for row in rows} == {"lstm"}
    assert len(percents) > coarse
    assert not set(percents[:coarse]) & set(percents[coarse:])
    assert rows[0].pod_hours > rows[coarse - 1].pod_hours
    assert rows[0].violations < 0.005 < rows[coarse - 1].violations


def test_a_trace_is_played_in_minutes_and_with_a_history() -> None:
    long, judged = trace(96, 1.0), trace(96, 1.0).between(48 * 3600, 96 * 3600)
    assert unfit(60, long, judged) is None
    assert unfit(1, long, judged) is None
    assert "too short" in str(unfit(60, judged, judged))
    assert "30 min" in str(unfit(1800, long, judged))


def test_a_training_says_what_was_lost_and_whether_it_beats_what_is_naive() -> None:
    losses = (np.repeat((0.4, 0.2), ROUND_STEPS), *[np.full(2, 0.1)] * 24)
    made = Foretold(BEGIN, np.ones(60), losses)
    first, second = training_lines("t", made, Skill(0.223, -0.016), 12.3)
    assert first == (
        "t: learned in 12 s of CPU; loss 0.400 at first, 0.200 before the first forecast,"
        " 0.100 on the last day"
    )
    assert "15 minutes ahead: 22.3% below that of the last value" in second
    assert "1.6% above that of the last quarter hour's mean" in second


def test_what_was_played_is_told_with_the_best_that_keeps_each_share() -> None:
    rows = [
        Row(
            trace="t",
            controller="lstm",
            setting=setting,
            pod_hours=pod_hours,
            violations=late,
            wait_p99_s=3.0,
            days=(),
        )
        for setting, pod_hours, late in (("70%", 900.0, 0.05), ("50%", 1200.0, 0.008))
    ]
    lines = list(played_lines(rows, 900.0))
    assert lines[0].strip() == "pods start in 15 min"
    assert [line.split()[0] for line in lines[2:4]] == ["50%", "70%"]
    assert [line.strip() for line in lines[4:]] == [
        "best at <= 0.5% late: none",
        "best at <= 1.0% late: 1,200.0 pod-hours at 50%",
        "best at <= 2.0% late: 1,200.0 pod-hours at 50%",
    ]
