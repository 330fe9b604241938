"""What happened, in figures: put together from what each process said of itself.

Law: pure; every figure is measured. Decisions and demand are the operator's own words (the
policy's status), answers are the callers', tokens are counted on both sides, pods are the node's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate_operator.decide.words import Reason, ScalingRules
from tidegate_operator.demo.pods_view import seconds
from tidegate_operator.hub.cards import share_of
from tidegate_operator.hub.trail import Point, joined, number, point_of_status

Status = Mapping[str, Any]
Decision = Mapping[str, Any]

POINT_EVERY_S = 60.0
AHEAD_S = 1800.0
"""A pod that was started more than half an hour too early was not started ahead, but in vain."""
REACTIVE_SHARE = ScalingRules().reactive_utilization
"""Of a pod's capacity: past it, demand alone calls for another pod."""


@dataclass(slots=True)
class Story:
    """Collects while the demo runs."""

    points: list[Point] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    """Oldest first."""
    budgets: list[Mapping[str, Any]] = field(default_factory=list)
    """As they stood when they were fullest."""
    _fullest: float = 0.0
    _seen: set[tuple[Any, ...]] = field(default_factory=set)

    def take(self, status: Status, now: float) -> list[Decision]:
        """Add what a status says; returns the decisions that are new, oldest first."""
        if not self.points or now - self.points[-1].t >= POINT_EVERY_S * 0.9:
            self.points = joined(self.points, [point_of_status(status, now)])
        budgets = status.get("budgets") or []
        share = max((share_of(budget) for budget in budgets), default=0.0)
        if share > self._fullest:
            self._fullest, self.budgets = share, budgets
        fresh = []
        for decision in reversed(status.get("decisions") or []):
            key = tuple(decision.get(k) for k in ("time", "action", "from", "to", "subject"))
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(decision)
        self.decisions += fresh
        return fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Hpa:
    """A plain HPA on the same trace, replayed."""

    pod_minutes: float
    slo_attained: float
    """Share in [0, 1]."""
    pods: Sequence[tuple[float, int]] = ()
    """(unix seconds, pods), for the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The result, as ``--json`` writes it."""

    requests: int
    failed_requests: int
    slo_attained: float
    """Share of streamed answers whose first token came within the target; failures did not."""
    pod_minutes: float
    hpa_pod_minutes: float | None
    hpa_slo_attained: float | None
    scale_ups: int
    scale_ups_ahead_of_load: int
    """While demand alone called for no more pods, and within half an hour it did."""
    scale_downs: int
    switches: int
    """Of the whole policy to another model, since a trigger tripped."""
    recoveries: int
    budget_warnings: int
    budget_switches: int
    budget_blocks: int
    blocked_requests: int
    tokens_in: int
    tokens_out: int
    tokens_reported_by_model_server: int
    retried_requests: int
    errors: Mapping[str, int]
    answered_by: Mapping[str, int]
    mean_ttft_s: float | None
    forecast_used: bool
    history_days: float
    minutes: int
    speed: float

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def tokens_of(totals: Sequence[Mapping[str, int]]) -> int:
    """Of all model servers' own totals."""
    return sum(t.get("prompt_tokens", 0) + t.get("generation_tokens", 0) for t in totals)


def slo_attained(traffic: Mapping[str, Any]) -> float:
    asked = traffic["timed"] + traffic["failed"]
    return round(traffic["in_time"] / asked, 4) if asked else 1.0


def scaled_ahead(decision: Decision, points: Sequence[Point], capacity_rps: float) -> bool:
    """Whether a scale-up came before its load: the forecast called for it and demand alone did
    not, and then demand did as well, within ``AHEAD_S``.
    """
    if decision.get("action") != "ScaleUp" or decision.get("reason") != Reason.FORECAST_HIGH:
        return False
    inputs = decision.get("inputs") or {}
    reactive, current = number(inputs.get("reactive")), number(inputs.get("current"))
    if reactive is None or current is None or reactive > current:
        return False
    at = seconds(str(decision["time"]))
    later = (p.rps for p in points if at < p.t <= at + AHEAD_S and p.rps is not None)
    return max(later, default=0.0) > current * capacity_rps * REACTIVE_SHARE


def count(decisions: Sequence[Decision], action: str, *reasons: Reason) -> int:
    """Decisions that were carried out."""
    return sum(
        d.get("action") == action and d.get("reason") in reasons and d.get("applied", True)
        for d in decisions
    )


def budget_rungs(decisions: Sequence[Decision]) -> dict[str, int]:
    return {
        "budget_warnings": count(decisions, "Warn", Reason.BUDGET_WARN),
        "budget_switches": count(decisions, "Switch", Reason.BUDGET_SWITCH),
        "budget_blocks": count(decisions, "Block", Reason.BUDGET_BLOCK),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything that goes into the figures besides the story."""

    traffic: Mapping[str, Any]
    """Last line of the traffic process."""
    pod_minutes: float
    tokens_in: int
    tokens_out: int
    model_servers: Sequence[Mapping[str, int]]
    hpa: Hpa | None
    history_days: float
    minutes: int
    speed: float
    capacity_rps: float
    """What the policy says that a pod carries."""


def figures(story: Story, measured: Measured) -> Figures:
    """Sum it all up."""
    done, traffic = story.decisions, measured.traffic
    timed, hpa = traffic["timed"], measured.hpa
    return Figures(
        requests=traffic["sent"],
        failed_requests=traffic["failed"],
        slo_attained=slo_attained(traffic),
        pod_minutes=round(measured.pod_minutes, 1),
        hpa_pod_minutes=None if hpa is None else round(hpa.pod_minutes, 1),
        hpa_slo_attained=None if hpa is None else round(hpa.slo_attained, 4),
        scale_ups=sum(d.get("action") == "ScaleUp" for d in done),
        scale_ups_ahead_of_load=sum(
            scaled_ahead(d, story.points, measured.capacity_rps) for d in done
        ),
        scale_downs=sum(d.get("action") == "ScaleDown" for d in done),
        switches=count(done, "Switch", Reason.ERROR_RATE_HIGH),
        recoveries=count(done, "Recover", Reason.RECOVERED),
        **budget_rungs(done),
        blocked_requests=traffic["blocked"],
        tokens_in=measured.tokens_in,
        tokens_out=measured.tokens_out,
        tokens_reported_by_model_server=tokens_of(measured.model_servers),
        retried_requests=traffic["retried"],
        errors=traffic["errors"],
        answered_by=traffic["models"],
        mean_ttft_s=round(traffic["ttft_s"] / timed, 2) if timed else None,
        forecast_used=any(p.q95 is not None for p in story.points),
        history_days=round(measured.history_days, 2),
        minutes=measured.minutes,
        speed=measured.speed,
    )
