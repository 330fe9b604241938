"""Trust: what beats the last value and the last hour may be acted on, nothing else."""

import json

import pytest

from request_series import DAY, daily, random_walk, rushes, white_noise
from tidegate_operator.forecast import engine, select
from tidegate_operator.forecast.calibrate import Raw, Sample, Track
from tidegate_operator.forecast.quantiles import QUANTILES, TooFewRowsError
from tidegate_operator.forecast.select import Score, Verdict
from tidegate_operator.forecast.series import clean

HORIZON = 5
RAW = Raw((100.0,) * len(QUANTILES), (100.0, 100.0, 100.0))


def samples(model: float, rivals: tuple[float, ...], count: int = 100) -> list[Sample]:
    """All came out at 100."""
    issued = (*(model for _ in QUANTILES), *rivals)
    return [Sample(5 * k, RAW, issued, 100.0) for k in range(count)]


def test_skill_is_measured_against_the_better_rival() -> None:
    made = select.score(samples(110.0, (150.0, 120.0, 180.0)), 500)
    assert made.rival == "last hour"
    assert made.skill == pytest.approx(0.5)
    assert made.yesterday == pytest.approx(7 / 8)
    assert made.coverage == 1.0


def test_yesterday_may_say_as_much() -> None:
    """Nobody scales by it: what repeats itself exactly is what can be foreseen best."""
    made = select.score(samples(110.0, (150.0, 120.0, 100.0)), 500)
    assert (made.rival, made.yesterday) == ("last hour", None)
    better = select.score(samples(110.0, (150.0, 120.0, 105.0)), 500)
    verdict, message = select.judge(better, False)
    assert verdict is Verdict.GOOD
    assert message == "forecast is 50% better than last hour, 100% worse than yesterday"


def test_what_has_not_matured_or_was_not_calibrated_is_not_scored() -> None:
    raw = samples(110.0, (150.0, 120.0, 180.0))
    raw[0].peak = None
    raw[1].issued = None
    assert select.score(raw, 500).scored == 98


def test_too_few_scores_are_no_skill_figure() -> None:
    made = select.score(samples(110.0, (150.0, 120.0, 180.0), count=50), 500)
    assert (made.scored, made.skill, made.coverage) == (50, None, None)


@pytest.mark.parametrize(
    ("skill", "trusted", "verdict"),
    [
        pytest.param(0.06, False, Verdict.GOOD, id="clearly better: trusted"),
        pytest.param(0.04, False, Verdict.NO_SKILL, id="hardly better: not yet"),
        pytest.param(0.04, True, Verdict.GOOD, id="hardly better, once trusted: still"),
        pytest.param(-0.09, True, Verdict.GOOD, id="a bad weekend does not cost trust"),
        pytest.param(-0.11, True, Verdict.NO_SKILL, id="clearly worse: trust is lost"),
        pytest.param(None, True, Verdict.SHORT, id="not scored: not trusted"),
    ],
)
def test_the_verdict(skill: float | None, trusted: bool, verdict: Verdict) -> None:
    made, message = select.judge(Score(800, skill, 0.95, "last value"), trusted)
    assert made is verdict
    assert message


def test_fewer_scores_ask_for_more_skill() -> None:
    few, many = Score(200, 0.07, 0.95, "last value"), Score(800, 0.07, 0.95, "last value")
    assert select.judge(few, False)[0] is Verdict.NO_SKILL
    assert select.judge(many, False)[0] is Verdict.GOOD


def test_the_message_says_how_much_and_than_what() -> None:
    _, message = select.judge(Score(800, -0.2, 0.95, "last hour", 0.1), True)
    assert message == (
        "forecast is 20% worse than last hour, 10% better than yesterday;"
        " trusted from 5% better on"
    )


def test_days_that_are_all_alike_are_trusted_though_yesterday_says_more() -> None:
    counts = rushes(10)
    track = engine.seeded(clean(0, counts), 15)
    made = select.score(track.samples, len(counts) - 1)
    assert made.skill is not None and made.skill > 0.5
    assert made.yesterday is not None and made.yesterday < 0
    assert track.trusted


@pytest.mark.parametrize(
    ("counts", "good"),
    [
        pytest.param(daily(3), True, id="a clear day is trusted at the first training"),
        pytest.param(white_noise(3), False, id="nothing beats the mean on white noise"),
        pytest.param(random_walk(3), False, id="nothing beats the last value on a random walk"),
    ],
)
def test_a_fresh_start_knows_at_once_whether_to_trust(counts: list[int], good: bool) -> None:
    made = engine.Engine()
    learned = engine.learn(0, counts, HORIZON, state=None)
    made.install("k", learned)
    prediction = made.predict("k", 0, counts)
    assert (prediction.verdict is Verdict.GOOD) is good, prediction
    assert prediction.skill is not None
    if not good:
        assert prediction.verdict is Verdict.NO_SKILL


def test_a_restart_goes_on_with_the_record_it_had() -> None:
    counts = daily(3)
    track = Track(
        HORIZON, samples(110.0, (150.0, 120.0, 180.0)), (0.0,) * 8, refreshed_minute=3 * DAY - 10
    )
    for sample in track.samples:
        sample.minute += 2 * DAY
    state = json.loads(json.dumps(track.to_state()))
    again = engine.learn(0, counts, HORIZON, state=state).track
    assert again is not None
    assert [s.minute for s in again.samples] == [s.minute for s in track.samples]


def test_what_was_never_trained_or_is_too_short_is_said() -> None:
    made = engine.Engine()
    with pytest.raises(engine.UnknownKeyError):
        made.predict("k", 0, daily(1))
    with pytest.raises(TooFewRowsError):
        engine.learn(0, daily(0.1), HORIZON, state=None)
