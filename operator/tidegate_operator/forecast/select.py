"""Whether a forecast may be acted on: it must beat, as it runs, what scaling without one would go
by.

Law: the rivals are calibrated as the model is, so none wins by caution alone; on a random walk or
on noise nothing beats the last value, and this says so. Yesterday is no rival: nobody scales by
it where the forecast is not trusted, and the better it tells today, the more there is to foresee.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tidegate_operator.forecast.arrays import DAY, Floats
from tidegate_operator.forecast.calibrate import (
    NAIVE,
    RIVALS,
    SAMPLE_EVERY,
    SCORED_QUANTILE,
    YESTERDAY,
    Sample,
)
from tidegate_operator.forecast.quantiles import QUANTILES

SCORE_MINUTES = 3 * DAY
MIN_SCORED = 6 * 60 // SAMPLE_EVERY
"""Six hours of forecasts."""
GAIN_TRUST = 0.05
"""Skill from which a forecast is trusted: noise and random walks stay below."""
FULL_SCORES = SCORE_MINUTES // SAMPLE_EVERY
"""Three days of forecasts. With fewer, luck reaches further (as one over the root of their number)
and so does the skill that is asked for: a random walk reached 7 % in 19 hours."""
LOSE_TRUST = -0.10
"""Skill below which trust is lost; between the two it stays as it was. Dropping a forecast that is
for a weekend no better than its rivals cost twice the violations in closed loop (m-large: 1.07 %
instead of 0.53 %), since without one nothing starts ahead of demand."""
COVERAGE_MINUTES = 360
"""Over which decisions look for a coverage that has slipped (below 0.85 they lean on it less)."""


class Verdict(StrEnum):
    GOOD = "Good"
    SHORT = "TooFewScored"
    NO_SKILL = "NoSkill"


@dataclass(frozen=True, slots=True)
class Score:
    """How the 0.95 quantile has done."""

    scored: int
    skill: float | None
    """1 - pinball loss / that of the better rival; ``None`` before ``MIN_SCORED``."""
    coverage: float | None
    """Share of the last six hours' quantiles that held."""
    rival: str
    """The better of ``RIVALS``; empty before ``MIN_SCORED``."""
    yesterday: float | None = None
    """As ``skill``, beside yesterday's same window; ``None`` as well where that was without
    loss."""


def pinball(came: Floats, said: Floats, quantile: float) -> float:
    """Mean pinball loss."""
    off = came - said
    return float(np.mean(np.maximum(quantile * off, (quantile - 1) * off)))


def score(samples: Sequence[Sample], now_minute: int) -> Score:
    """Score matured samples of the last ``SCORE_MINUTES`` that were calibrated when they were
    issued."""
    counted = [
        (sample.minute, sample.peak, sample.issued)
        for sample in samples
        if sample.peak is not None
        and sample.issued is not None
        and now_minute - sample.minute <= SCORE_MINUTES
    ]
    if len(counted) < MIN_SCORED:
        return Score(len(counted), None, None, "")
    minutes = np.array([minute for minute, _, _ in counted])
    came = np.array([peak for _, peak, _ in counted], dtype=np.float64)
    issued = np.array([values for _, _, values in counted])
    model = issued[:, QUANTILES.index(SCORED_QUANTILE)]
    losses = {
        name: pinball(came, issued[:, len(QUANTILES) + column], SCORED_QUANTILE)
        for column, name in enumerate(NAIVE)
    }
    rival = min(RIVALS, key=losses.__getitem__)
    own = pinball(came, model, SCORED_QUANTILE)
    skill = 1 - own / losses[rival] if losses[rival] > 0 else 0.0
    yesterday = 1 - own / losses[YESTERDAY] if losses[YESTERDAY] > 0 else None
    recent = now_minute - minutes <= COVERAGE_MINUTES
    held = came <= model
    coverage = float(np.mean(held[recent])) if recent.any() else float(np.mean(held))
    return Score(len(counted), skill, coverage, rival, yesterday)


def judge(score: Score, trusted: bool) -> tuple[Verdict, str]:
    """Verdict and a sentence for people; ``trusted`` is whether the forecast was trusted until
    now."""
    if score.skill is None:
        return (
            Verdict.SHORT,
            f"{score.scored} forecasts scored so far, {MIN_SCORED} are needed to trust them",
        )
    gain = GAIN_TRUST * max(1.0, math.sqrt(FULL_SCORES / score.scored))
    needed = LOSE_TRUST if trusted else gain
    said = f"{_compared(score.skill)} than {score.rival}"
    if score.yesterday is not None:
        said += f", {_compared(score.yesterday)} than {YESTERDAY}"
    if score.skill < needed:
        return Verdict.NO_SKILL, f"forecast is {said}; trusted from {gain:.0%} better on"
    return Verdict.GOOD, f"forecast is {said}"


def _compared(skill: float) -> str:
    return f"{abs(skill):.0%} {'better' if skill >= 0 else 'worse'}"
