"""The CPU ratios that a change must not worsen: ``recorded.json``, and what is said of others.

Law: only ratios that were taken inside rounds; a wall clock lies on a shared machine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("recorded.json")
SLACK = 1.3
"""A median of three rounds moves by 10 to 20 % on a busy machine with two cores."""


def read() -> dict[str, float]:
    told: dict[str, float] = json.loads(FILE.read_text())
    return told


def write(found: Mapping[str, float | None]) -> None:
    """Record these from now on: the same ratios, which were all measured."""
    FILE.write_text(json.dumps({key: found[key] for key in read()}, indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class Compared:
    """A ratio beside the one that was recorded."""

    key: str
    before: float
    now: float | None
    """None: it was not measured."""

    @property
    def most(self) -> float:
        return SLACK * self.before

    @property
    def good(self) -> bool:
        return self.now is not None and self.now <= self.most

    def told(self) -> str:
        """Its line among all, or what is wrong with it."""
        if self.now is None:
            return f"{self.key} must be measured to be compared; it was not"
        if self.good:
            return (
                f"{self.key} = {self.now:.2f}, at most {self.most:.2f} (30 % above {self.before})"
            )
        return (
            f"{self.key} must be at most {self.most:.2f} (30 % above {self.before}), "
            f"was: {self.now:.2f}"
        )


def compared(found: Mapping[str, float | None], before: Mapping[str, float]) -> list[Compared]:
    """Each recorded ratio beside the one that was found."""
    return [Compared(key, ratio, found.get(key)) for key, ratio in before.items()]
