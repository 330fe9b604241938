"""What people know of a workload that its counts can't tell: events, holidays, series beside it.

Law: standard library only and JSON both ways, since the operator says it and the worker reads it.
Minutes are unix minutes; spans are half-open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Event:
    """A span in which demand is so many times what it else would be: one occurrence of a
    ``scaling.schedules[]`` with an ``expectFactor``."""

    start_minute: int
    end_minute: int
    factor: float
    """Above 0."""


@dataclass(frozen=True, slots=True)
class Holidays:
    """Days that are like a Sunday."""

    country: str
    """ISO 3166: ``DE``, or with a subdivision ``DE-BY``."""
    timezone: str = "UTC"
    """IANA name; where such a day begins and ends."""


@dataclass(frozen=True, slots=True)
class Regressor:
    """Another series by the minute, such as sign-ups or orders."""

    name: str
    start_minute: int
    values: tuple[float | None, ...]
    """At least 0; ``None``: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All of it for one workload, for the history and the horizon."""

    events: tuple[Event, ...] = ()
    holidays: Holidays | None = None
    regressors: tuple[Regressor, ...] = ()

    def since(self, minute: int) -> Self:
        """Without the part of the regressors that lies before ``minute``."""
        cut = tuple(_since(regressor, minute) for regressor in self.regressors)
        return type(self)(events=self.events, holidays=self.holidays, regressors=cut)

    def to_json(self) -> dict[str, Any]:
        holidays = self.holidays
        return {
            "events": [[e.start_minute, e.end_minute, e.factor] for e in self.events],
            "holidays": None if holidays is None else [holidays.country, holidays.timezone],
            "regressors": [[r.name, r.start_minute, list(r.values)] for r in self.regressors],
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any] | None) -> Self:
        """``None``: nothing is known."""
        if not said:
            return cls()
        holidays = said["holidays"]
        return cls(
            events=tuple(Event(*event) for event in said["events"]),
            holidays=None if holidays is None else Holidays(*holidays),
            regressors=tuple(
                Regressor(name, start, tuple(values)) for name, start, values in said["regressors"]
            ),
        )


NOTHING = Known()


def _since(regressor: Regressor, minute: int) -> Regressor:
    gone = max(0, minute - regressor.start_minute)
    return Regressor(regressor.name, regressor.start_minute + gone, regressor.values[gone:])
