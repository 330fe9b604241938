"""What a run says of itself: whether the network learned, and what its points came to.

Law: values in, lines out.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.goals.field import ALLOWED, Row
from benchmarks.goals.score import best
from benchmarks.lstm.lessons import AHEAD_MINUTES, ROUND_STEPS, Foretold, Skill
from benchmarks.lstm.played import CONTROLLER


def training_lines(name: str, foretold: Foretold, skill: Skill, took_s: float) -> Iterator[str]:
    first, last_day = foretold.losses[0], np.concatenate(foretold.losses[-24:])
    yield (
        f"{name}: learned in {took_s:.0f} s of CPU; loss {first[:ROUND_STEPS].mean():.3f} at"
        f" first, {first[-ROUND_STEPS:].mean():.3f} before the first forecast,"
        f" {last_day.mean():.3f} on the last day"
    )
    yield (
        f"  mean absolute error {AHEAD_MINUTES} minutes ahead:"
        f" {_beside(skill.over_last_value)} that of the last value,"
        f" {_beside(skill.over_last_quarter)} that of the last quarter hour's mean"
    )


def _beside(skill: float) -> str:
    return f"{abs(skill):.1%} {'below' if skill >= 0 else 'above'}"


def played_lines(rows: Sequence[Row], cold_start_s: float) -> Iterator[str]:
    """The emptiest pods first."""
    yield f"  pods start in {cold_start_s / 60:g} min"
    yield f"  {'share':>7}{'pod-hours':>12}{'violations':>12}{'P99 wait, s':>13}"
    for row in sorted(rows, key=lambda row: row.pod_hours, reverse=True):
        yield (
            f"  {row.setting:>7}{row.pod_hours:>12,.1f}{row.violations:>12.2%}"
            f"{row.wait_p99_s:>13.1f}"
        )
    for allowed in ALLOWED:
        found = best(rows, CONTROLLER, allowed)
        said = "none" if found is None else f"{found.pod_hours:,.1f} pod-hours at {found.setting}"
        yield f"  best at <= {allowed:.1%} late: {said}"
