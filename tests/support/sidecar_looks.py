"""Sidecars whose counters can be turned on and looked at."""

import json
from dataclasses import dataclass, field, replace

from tidegate_operator.ledger.demand import DemandHistory
from tidegate_wire.names import Outcome
from tidegate_wire.stats import Series, SidecarStats

START = 29_000_000 * 60.0
"""The begin of a minute."""
MAX_AGE_S = 60.0


@dataclass
class CountingSidecar:
    """Counters of one life of one pod's sidecar; ``look`` is what ``/stats`` would say now."""

    pod_uid: str = "pod-1"
    boot: str = "boot-1"
    arrived: int = 0
    in_flight: int = 0
    series: dict[tuple[str, str], Series] = field(default_factory=dict)

    def serve(
        self,
        requests: int = 1,
        *,
        model: str = "big",
        tenant: str = "acme",
        tokens_in: int = 10,
        tokens_out: int = 20,
        cost: float = 0.25,
        duration_s: float = 2.0,
        outcome: Outcome = Outcome.OK,
        estimated: bool = False,
    ) -> SidecarStats:
        """Begin and end ``requests``, each of the given size; the figures are per request."""
        was = self.series.get((model, tenant), Series(model=model, tenant=tenant))
        outcomes = dict(was.outcomes)
        outcomes[outcome] = outcomes.get(outcome, 0) + requests
        self.series[model, tenant] = replace(
            was,
            outcomes=outcomes,
            tokens_in=was.tokens_in + tokens_in * requests,
            tokens_out=was.tokens_out + tokens_out * requests,
            tokens_estimated=was.tokens_estimated
            + (tokens_in + tokens_out) * requests * estimated,
            cost=was.cost + cost * requests,
            duration_s=was.duration_s + duration_s * requests,
        )
        if outcome is not Outcome.BLOCKED:
            self.arrived += requests
        return self.look()

    def look(self) -> SidecarStats:
        return SidecarStats(
            pod_uid=self.pod_uid,
            boot=self.boot,
            arrived=self.arrived,
            in_flight=self.in_flight,
            series=tuple(self.series.values()),
        )


def pods(count: int) -> list[CountingSidecar]:
    return [CountingSidecar(pod_uid=f"pod-{i}") for i in range(count)]


def begun(*sidecars: CountingSidecar) -> DemandHistory:
    """A history that has looked at all of them once, so that their counters are known."""
    history = DemandHistory()
    history.record(START, {pod.pod_uid: pod.look() for pod in sidecars})
    return history


def again(history: DemandHistory) -> DemandHistory:
    """Checkpoint, end of the process, restart."""
    return DemandHistory(json.loads(json.dumps(history.to_state())))
