"""Our own controller in a replay: the very ``decide()`` of the live loop.

Law: nothing is decided or measured here. Demand comes from the live loop's own ledger, which is
shown the plant's counters as the counters of one sidecar; and as there, a tick has the forecast
that the tick before asked for.
"""

from dataclasses import dataclass, field, replace
from typing import Self

from tidegate_operator.decide.plan import decide
from tidegate_operator.decide.words import (
    LEAD_MARGIN_S,
    Decision,
    Forecast,
    Inputs,
    Memory,
    Rules,
)
from tidegate_operator.ledger.demand import DemandHistory
from tidegate_operator.replay.ahead import ForecastSource, no_forecast
from tidegate_operator.replay.control import TICK_S, Seen
from tidegate_operator.replay.shares import PodShares
from tidegate_wire.names import Outcome
from tidegate_wire.stats import Series, SidecarStats

KEPT_MINUTES = 60
"""Of the ledger's minutes, which nobody reads here: forecasts have the trace's."""


@dataclass(slots=True)
class Tidegate:
    """Decides as the operator would."""

    rules: Rules
    forecast: ForecastSource = no_forecast
    name: str = "Tidegate"
    lead_s: float = 180.0 + LEAD_MARGIN_S
    """As the live loop would have it: p90 of the plant's cold starts, and a margin."""
    period_s: float = TICK_S
    memory: Memory = field(default_factory=Memory)
    last: Decision | None = None
    """The newest decision, for those who want its reasons."""
    demand: DemandHistory = field(
        default_factory=lambda: DemandHistory(history_minutes=KEPT_MINUTES)
    )
    shares: PodShares = field(default_factory=PodShares)
    awaited: Forecast | None = None
    """What the last tick asked for."""

    def wanted(self, seen: Seen) -> int:
        self.last, self.memory = decide(self.rules, self.inputs(seen), self.memory)
        return self.last.scaling.replicas

    def going_on(self) -> Self:
        """The same with all it has learned, for a replay whose counters begin at nothing."""
        return replace(
            self, demand=DemandHistory(history_minutes=KEPT_MINUTES), shares=PodShares()
        )

    def inputs(self, seen: Seen) -> Inputs:
        """What the live loop would have looked at."""
        self.demand.record(seen.now, {"pods": _stats(seen)} if seen.ready else {})
        forecast, self.awaited = self.awaited, self.forecast(seen.now)
        return Inputs(
            now=seen.now,
            current=seen.current,
            ready=seen.ready,
            starting=seen.starting,
            demand=self.demand.demand(seen.now, self.rules.scaling.max_age_s),
            forecast=forecast,
            carried=self.shares.look(seen),
            lead_s=self.lead_s,
        )


def _stats(seen: Seen) -> SidecarStats:
    ended = Series(
        model="",
        tenant="",
        outcomes={Outcome.OK: seen.ended},
        tokens_out=round(seen.tokens),
        duration_s=seen.duration_s,
    )
    return SidecarStats(
        pod_uid="pods",
        boot="",
        arrived=seen.arrived,
        in_flight=seen.in_flight,
        series=(ended,),
    )
