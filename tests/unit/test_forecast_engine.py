"""A forecaster that starts anew with a history goes on as one that has run for days."""

from tidegate_operator.demo.options import LLM_TRACE
from tidegate_operator.forecast import engine, select
from tidegate_operator.forecast.series import DAY, clean
from tidegate_operator.replay.trace import read_trace


def test_a_first_record_keeps_the_trust_that_it_gained_on_its_way() -> None:
    """Eleven days of a shipped trace: at their end the skill is too small to gain trust, and not
    so small as to lose it."""
    counts = read_trace(LLM_TRACE).minutes().requests[: 11 * DAY + 360]
    track = engine.seeded(clean(0, counts), 12)
    score = select.score(track.samples, len(counts) - 1)
    assert select.judge(score, False)[0] is select.Verdict.NO_SKILL
    assert track.trusted
