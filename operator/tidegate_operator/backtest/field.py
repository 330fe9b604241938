"""Who takes part in a backtest, and what one replay of each comes to.

Law: the same arrivals, pods and limits for all; a rival is as strong as its publisher made it, and
one that knows the future says so in its label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypedDict

from tidegate_operator.backtest.assume import Assumptions
from tidegate_operator.decide.words import LEAD_MARGIN_S
from tidegate_operator.replay.ahead import ForecastSource, no_forecast
from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.control import Controller, Static
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.keda import Keda, KedaRules
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.oracle import Oracle
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.result import Result
from tidegate_operator.replay.trace import MINUTE_S, Trace

HPA_SHARES = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Targets among which the best is chosen in hindsight: shares of a pod's capacity. Around the best
of these it is looked for more finely."""

ORACLE_SHARES = (0.85, 0.9, 0.95, 1.0, 1.02, 1.05, 1.1)
"""How full the oracle lets pods become, above 1 by letting the queue carry a peak; that with the
fewest pods within the allowed is told."""


class Kind(StrEnum):
    """Stable names of the controllers: ``results[].controller`` of ``-o json``."""

    TIDEGATE = "tidegate"
    REACTIVE = "tidegate-reactive"
    HPA_BEST = "hpa-best"
    HPA = "hpa"
    KEDA = "keda"
    STATIC = "static"
    ORACLE = "oracle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One controller that is to be replayed."""

    kind: Kind
    label: str
    controller: Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A replay to be done."""

    entry: Entry
    trace: Trace
    before: Trace | None = None
    """Replayed first, so that the controller knows what it would have learned in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one replay came to."""

    kind: Kind
    label: str
    result: Result
    before: Result | None = None
    """Of what was replayed first."""

    @property
    def pod_hours(self) -> float:
        return self.result.pod_hours

    @property
    def violations(self) -> float:
        """Share of the requests that waited too long or were dropped."""
        return self.result.violations


def ours(assumed: Assumptions, forecasts: ForecastSource) -> Entry:
    """Tidegate as the policy would have it."""
    return _tidegate(Kind.TIDEGATE, "Tidegate", assumed, forecasts)


def reactive(assumed: Assumptions) -> Entry:
    """Tidegate without any forecast."""
    return _tidegate(Kind.REACTIVE, "Tidegate, reactive only", assumed, no_forecast)


def _tidegate(kind: Kind, name: str, assumed: Assumptions, forecasts: ForecastSource) -> Entry:
    lead_s = assumed.plant.cold_start_p90_s + LEAD_MARGIN_S
    controller = Tidegate(assumed.rules, forecasts, name, lead_s)
    return Entry(kind=kind, label=name, controller=controller)


def rivals(trace: Trace, assumed: Assumptions) -> list[Entry]:
    """Others, but for the user's HPA and those that are chosen among several."""
    peak = static_pods(trace, assumed)
    return [
        keda(assumed),
        Entry(
            kind=Kind.STATIC,
            label=f"static: {peak} pods, the peak's",
            controller=Static(peak),
        ),
    ]


def hpa(assumed: Assumptions) -> Entry:
    """The HPA that the user has."""
    target = assumed.hpa
    rules = HpaRules(
        target_utilization=target.utilization, target_rps=target.rps, **_limits(assumed)
    )
    return Entry(kind=Kind.HPA, label=f"HPA at {target}", controller=Hpa(rules))


def keda(assumed: Assumptions) -> Entry:
    """KEDA's Prometheus scaler as most set it up: the request rate, at the HPA's target."""
    target = assumed.hpa
    threshold_rps = target.rps or (target.utilization or 1.0) * assumed.plant.pod_rps
    rules = KedaRules(threshold_rps=threshold_rps, **_limits(assumed))
    share = threshold_rps / assumed.plant.pod_rps
    return Entry(kind=Kind.KEDA, label=f"KEDA at {share:.0%}", controller=Keda(rules))


def hpa_sweep(assumed: Assumptions, shares: Sequence[float] = HPA_SHARES) -> list[Entry]:
    """HPAs on the request rate (which serves them best), one for each target."""
    return [
        Entry(
            kind=Kind.HPA_BEST,
            label=f"HPA at {share:.0%}: best in hindsight",
            controller=Hpa(HpaRules(target_rps=share * assumed.plant.pod_rps, **_limits(assumed))),
        )
        for share in shares
    ]


def finer_shares(sweep: Sequence[Outcome], allowed: float) -> list[float]:
    """Targets in steps of 1 % between the best of ``HPA_SHARES`` and the next, which is late too
    often: in steps of 5 % the best one would pay for pods that a patient person saves."""
    chosen = best(sweep, allowed)
    at = next(i for i, outcome in enumerate(sweep) if outcome.result is chosen.result)
    if chosen.violations > allowed or at + 1 == len(sweep):
        return []
    first, last = (round(100 * share) for share in HPA_SHARES[at : at + 2])
    return [percent / 100 for percent in range(first + 1, last)]


def oracle_sweep(trace: Trace, assumed: Assumptions) -> list[Entry]:
    """What is left to gain, whatever the forecast; the policy's limits don't bind it."""
    minutes = trace.minutes()
    return [
        Entry(
            kind=Kind.ORACLE,
            label="oracle: knows the future",
            controller=Oracle(trace=minutes, plant=assumed.plant, utilization=share),
        )
        for share in ORACLE_SHARES
    ]


class _Limits(TypedDict):
    min_replicas: int
    max_replicas: int


def _limits(assumed: Assumptions) -> _Limits:
    scaling = assumed.rules.scaling
    return _Limits(min_replicas=scaling.min_replicas, max_replicas=scaling.max_replicas)


def static_pods(trace: Trace, assumed: Assumptions) -> int:
    """Fewest that carry the busiest minute."""
    counts = trace.minutes().requests
    rps = max((count for count in counts if count is not None), default=0.0) / MINUTE_S
    scaling = assumed.rules.scaling
    pods = math.ceil(rps / assumed.plant.pod_rps - 1e-9)
    return min(max(pods, scaling.min_replicas, 1), scaling.max_replicas)


def play(job: Job, plant: PlantRules, seed: int) -> Outcome:
    """One replay, or two in a row; independent of all others."""
    entry, controller, before = job.entry, job.entry.controller, None
    if job.before is not None:
        before = replay(job.before, plant, controller, seed=seed)
        controller = _going_on(controller)
    result = replay(job.trace, plant, controller, seed=seed)
    return Outcome(kind=entry.kind, label=entry.label, result=result, before=before)


def _going_on(controller: Controller) -> Controller:
    """The same, for the counters of a new replay, which begin at nothing."""
    if isinstance(controller, Tidegate):
        return controller.going_on()
    return controller


def best(sweep: Sequence[Outcome], allowed: float) -> Outcome:
    """Fewest pod-hours within the allowed violations; where none keeps them, the one that comes
    nearest, whose label says so."""
    good = [outcome for outcome in sweep if outcome.violations <= allowed]
    if good:
        return min(good, key=lambda outcome: outcome.pod_hours)
    nearest = min(sweep, key=lambda outcome: (outcome.violations, outcome.pod_hours))
    short = nearest.label.partition(":")[0]
    return replace(nearest, label=f"{short}: none keeps {allowed:.2%}")
