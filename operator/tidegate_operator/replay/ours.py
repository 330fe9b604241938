"""Our own controller in a replay: the very ``decide()`` of the live loop.

Law: nothing is decided here; what the live loop looks up in a cluster is looked up in the plant.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate_operator.decide.plan import decide
from tidegate_operator.decide.words import (
    DataState,
    Decision,
    Demand,
    Forecast,
    Inputs,
    Memory,
    Rules,
)
from tidegate_operator.replay.control import Seen

ForecastSource = Callable[[float], Forecast | None]
"""The forecast as it stood at a time (unix seconds); ``None``: there was none."""
WINDOW_S = 60.0
PEAK_MINUTES = 5


def no_forecast(now: float) -> Forecast | None:
    """For the reactive half alone."""
    return None


@dataclass(slots=True)
class Tidegate:
    """Decides as the operator would."""

    rules: Rules
    service_s: float
    """Mean time that a request holds a slot, as the sidecars would measure it."""
    forecast: ForecastSource = no_forecast
    name: str = "Tidegate"
    memory: Memory = field(default_factory=Memory)
    last: Decision | None = None
    """The newest decision, for those who want its reasons."""

    def wanted(self, seen: Seen) -> int:
        inputs = Inputs(
            now=seen.now,
            current=seen.current,
            ready=seen.ready,
            starting=seen.starting,
            demand=Demand(
                state=DataState.PRESENT,
                rps=seen.rps(WINDOW_S),
                peak_rps=max(seen.rps(WINDOW_S, 60.0 * m) for m in range(PEAK_MINUTES)),
                in_flight=seen.in_flight,
                service_s=self.service_s,
            ),
            forecast=self.forecast(seen.now),
        )
        self.last, self.memory = decide(self.rules, inputs, self.memory)
        return self.last.scaling.replicas
