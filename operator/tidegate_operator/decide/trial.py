"""What the trial of the margins remembers, as JSON-able values.

Law: values only; ``margins`` says what there is to choose from, ``counterfactual`` how a trial
goes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Margin:
    """What demand and forecast may fill of the capacity."""

    reactive_utilization: float
    quantile: float | None = None
    """Which forecast quantile counts; ``None``: observed demand alone."""
    forecast_utilization: float = 1.0

    def __str__(self) -> str:
        alone = f"demand at {self.reactive_utilization:.0%}"
        if self.quantile is None:
            return alone
        return f"{alone}, forecast q{self.quantile:g} at {self.forecast_utilization:.0%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What each margin would have cost and done, as sums that are forgotten with
    ``margins.HALF_LIFE_S``."""

    minutes: float = 0.0
    """Not forgotten: how much was ever seen."""
    arrived: float = 0.0
    late: tuple[float, ...] = ()
    """Requests by margin: waited past the SLO's wait, or were dropped."""
    pod_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """The pods that one margin would have now, and who would be waiting for them."""

    pods: int
    """Ready and starting."""
    starting: tuple[tuple[float, int], ...] = ()
    """(ready at, pods), soonest first."""
    waiting: float = 0.0
    """Requests."""
    by_chance: float = 0.0
    """Share of those that come at this moment who are late though the mean load can be carried."""
    wanted: tuple[tuple[float, int], ...] = ()
    """(time, pods) within the stabilisation window, without those that a later one outdid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Every margin on trial, and the one that is in use."""

    stepped_at: float | None = None
    plants: tuple[Plant, ...] = ()
    """One for each of ``MARGINS``."""
    alone: Book = Book()
    """Every minute, for the margins without a forecast."""
    ahead: Book = Book()
    """The minutes with a trusted forecast, for all margins."""
    chosen: int | None = None
    """Index into ``MARGINS``; ``None``: the policy's own."""
    chosen_at: float = 0.0
    trusted: bool = False
    """Whether there was a trusted forecast when it was chosen."""
