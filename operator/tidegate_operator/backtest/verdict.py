"""Whether forecasting would have paid on a history, in plain sentences.

Law: said from measured outcomes alone, against the strongest rival that is no oracle: the HPA
whose target was chosen in hindsight. A saving is never told without the violations that it was had
at, and where the answer is no, the reasons follow.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate_operator.backtest.assume import Assumptions
from tidegate_operator.backtest.field import Kind, Outcome
from tidegate_operator.backtest.load import Load, Trust

WORTH = 0.01
"""A saving below this is none: other arrivals by chance would turn it round."""
CLEARLY_FEWER = 0.8
"""Where nobody keeps what is allowed: violations below this share of an HPA's on as many pods."""
SELDOM_TRUSTED = 0.5
NO_DAILY = 0.3
SHORT_COLD_START_S = 60.0
FLAT = 1.3
"""Busiest minute over mean."""
NOTABLY_ABOVE = 0.001
FEW_HOURS = 100.0
"""Below, a whole hour is a percent and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a verdict is said from."""

    assumed: Assumptions
    days: float
    """Judged."""
    load: Load
    trust: Trust | None
    """``None``: there is no forecast, since the history is too short or the policy wants none."""
    outcomes: Mapping[Kind, Outcome]
    sweep: Sequence[Outcome]
    """HPAs, by target."""
    allowed: float
    """Share of the requests that may wait too long or be dropped."""

    @property
    def ours(self) -> Outcome:
        return self.outcomes[Kind.TIDEGATE]

    @property
    def rival(self) -> Outcome:
        """The best HPA."""
        return self.outcomes[Kind.HPA_BEST]

    def keeps(self, outcome: Outcome) -> bool:
        return outcome.violations <= self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer."""

    pays: bool | None
    """``None``: can't be told from this history."""
    sentence: str
    because: tuple[str, ...]


def judge(found: Findings) -> Verdict:
    """Whether forecasting would have paid, and why not."""
    if not found.assumed.forecast.enabled:
        sentence = (
            "The policy does not forecast (forecast.enabled: false): what is shown is scaling on"
            " observed demand."
        )
        return Verdict(pays=None, sentence=sentence, because=tuple(_reasons(found)))
    if found.trust is None:
        need = found.assumed.forecast.min_history_s / 3600
        return Verdict(
            pays=None,
            sentence=(
                f"Whether forecasting pays can't be told from {found.days:.1f} days of history:"
                f" it learns from {need:g} hours and is judged on a day or more after them. Until"
                " then Tidegate scales on observed demand; that is what is shown."
            ),
            because=tuple(_reasons(found)),
        )
    pays, sentence = _answer(found)
    start = "Forecasting would pay" if pays else "Forecasting would not pay on this history"
    because = _limits(found) if pays else _reasons(found)
    return Verdict(pays=pays, sentence=f"{start}: {sentence}", because=tuple(because))


class Paid(Protocol):
    """Anything whose pods were paid."""

    @property
    def pod_hours(self) -> float: ...


def saving(ours: Paid, other: Paid) -> float:
    """Share of the other's pod-hours that ours does without; negative where ours takes more."""
    return 1 - ours.pod_hours / other.pod_hours if other.pod_hours else 0.0


def beside(outcome: Outcome, hpa: Outcome) -> str:
    """Pod-hours beside those of the user's HPA, such as ``-10%``; a dash for the HPA itself."""
    if outcome is hpa:
        return "-"
    more = f"{-saving(outcome, hpa):+.0%}"
    return "0%" if more in ("-0%", "+0%") else more


def _answer(found: Findings) -> tuple[bool, str]:
    ours, rival = found.ours, found.rival
    if found.trust is not None and found.trust.share == 0:
        return False, f"it was never good enough to be used ({found.trust.doubt})."
    alone = found.outcomes[Kind.REACTIVE]
    if found.keeps(alone) and saving(ours, alone) < WORTH and found.keeps(ours):
        return False, (
            f"scaling on observed demand alone is in time as well ({_late(alone)}), for"
            f" {_hours(alone)} instead of {_hours(ours)}."
        )
    if found.keeps(ours):
        return _against_best(found)
    if found.keeps(rival):
        return False, (
            f"with it {_late(ours)}, and {found.allowed:.2%} are allowed; {_short(rival)} keeps"
            f" that for {_hours(rival)} (Tidegate: {_hours(ours)})."
        )
    return _nobody_keeps(found)


def _against_best(found: Findings) -> tuple[bool, str]:
    ours, rival = found.ours, found.rival
    if not found.keeps(rival):
        return True, (
            f"with it {_late(ours)}, for {_hours(ours)}, and no HPA target keeps the allowed"
            f" {found.allowed:.2%}. {_beside_own(found)}"
        )
    saved = saving(ours, rival)
    if saved >= WORTH:
        return True, (
            f"{_hours(ours)}, {saved:.0%} fewer than {_short(rival)} of capacity, the best target"
            f" that hindsight finds; {_late(ours)}. {_beside_own(found)}"
        )
    return False, (
        f"{_short(rival)} takes {_hours(rival)} and Tidegate {_hours(ours)}, both within the"
        f" allowed {found.allowed:.2%}; but that target is known in hindsight only."
        f" {_beside_own(found)}"
    )


def _nobody_keeps(found: Findings) -> tuple[bool, str]:
    """Neither Tidegate nor any HPA: who is late less often on as many pods?"""
    ours = found.ours
    as_many = [hpa for hpa in found.sweep if hpa.pod_hours <= ours.pod_hours]
    nearest = min(as_many, key=lambda hpa: hpa.violations, default=found.rival)
    fewer = ours.violations <= CLEARLY_FEWER * nearest.violations
    return fewer, (
        f"nobody keeps the allowed {found.allowed:.2%} here; with it {_late(ours)} for"
        f" {_hours(ours)}, with {_short(nearest)} {nearest.violations:.2%} for"
        f" {_hours(nearest)}."
    )


def _beside_own(found: Findings) -> str:
    own, ours = found.outcomes[Kind.HPA], found.ours
    saved = saving(ours, own)
    more = f"{abs(saved):.0%} {'more' if saved > 0 else 'fewer'} than Tidegate"
    return f"Your {own.label} takes {_hours(own)} ({more}), and {_late(own)}."


def _late(outcome: Outcome) -> str:
    return f"{outcome.violations:.2%} of requests wait too long or are lost"


def hours(paid: Paid) -> str:
    """Pod-hours as a figure for people."""
    return f"{paid.pod_hours:,.1f}" if paid.pod_hours < FEW_HOURS else f"{paid.pod_hours:,.0f}"


def _hours(paid: Paid) -> str:
    return f"{hours(paid)} pod-hours"


def _short(outcome: Outcome) -> str:
    return f"an {outcome.label.partition(':')[0]}"


def _limits(found: Findings) -> Iterator[str]:
    """Where the policy's limits decide the matter, whoever scales."""
    load, scaling = found.load, found.assumed.rules.scaling
    if load.above > NOTABLY_ABOVE:
        yield (
            f"maxReplicas ({scaling.max_replicas}) is too few: in {load.above:.1%} of the minutes"
            f" there is more load than they carry (busiest minute:"
            f" {load.busiest_rps:.1f} requests/s, a pod: {found.assumed.plant.pod_rps:.3g})"
        )
    if load.busiest_rps <= scaling.min_replicas * found.assumed.plant.pod_rps:
        yield (
            f"minReplicas ({scaling.min_replicas}) carries the busiest minute"
            f" ({load.busiest_rps:.1f} requests/s): there is nothing to scale"
        )


def _reasons(found: Findings) -> Iterator[str]:
    """What about history, pods or policy speaks against forecasting."""
    load = found.load
    yield from _limits(found)
    if found.trust is not None and found.trust.share < SELDOM_TRUSTED:
        yield (
            f"the forecast was good enough to be used in {found.trust.share:.0%} of the minutes:"
            f" {found.trust.doubt}"
        )
    if load.daily is not None and load.daily < NO_DAILY:
        yield f"no daily pattern: correlation with the day before is {load.daily:.2f}"
    if load.mean_rps and load.busiest_rps < FLAT * load.mean_rps:
        yield f"the load hardly varies: its busiest minute is {_times(load)} times the mean"
    if found.assumed.plant.cold_start_s <= SHORT_COLD_START_S:
        yield (
            f"pods start within {found.assumed.plant.cold_start_s:g} s: reacting is mostly in"
            " time, and there is little to win by being ahead"
        )


def _times(load: Load) -> str:
    return f"{load.busiest_rps / load.mean_rps:.1f}"


def learning_words(found: Findings) -> list[str]:
    """What the days before the judged ones would have been on a fresh install, in a sentence or
    none."""
    hpa = found.outcomes[Kind.HPA]
    ours, own = found.ours.before, hpa.before
    if ours is None or own is None:
        return []
    return [
        "The hours before are in no figure above. On a fresh install, with nothing to learn from,"
        f" Tidegate would have scaled on observed demand alone: {_hours(ours)}"
        f" with {ours.violations:.2%} late or lost ({hpa.label}: {hours(own)} with"
        f" {own.violations:.2%})."
    ]


def unmet(
    ours: Outcome, own: Outcome, *, max_violations: float | None, min_saving: float | None
) -> tuple[str, ...]:
    """What a CI run asked for and did not get, a sentence each; ``None``: not asked."""
    faults = []
    if max_violations is not None and ours.violations > max_violations:
        faults.append(
            f"--max-violations {max_violations:.2%} is not met: {_late(ours)} under this policy"
        )
    saved = saving(ours, own)
    if min_saving is not None and saved < min_saving:
        faults.append(
            f"--min-saving {min_saving:.1%} is not met: {_hours(ours)} are {abs(saved):.1%}"
            f" {'fewer' if saved >= 0 else 'more'} than the {_hours(own)} of {own.label}"
        )
    return tuple(faults)
