"""The CPU ratios that a change must not worsen: ``recorded.json``, and what is said of others.

Law: only ratios that were taken inside rounds; a wall clock lies on a shared machine.
"""

import json
from collections.abc import Mapping
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


def worse(found: Mapping[str, float | None], before: Mapping[str, float]) -> list[str]:
    """A line for each recorded ratio that was not found, or found more than the slack above."""
    lines = []
    for key, ratio in before.items():
        now, most = found.get(key), SLACK * ratio
        if now is None:
            lines.append(f"{key} must be measured to be compared; it was not")
        elif now > most:
            lines.append(f"{key} must be at most {most:.2f} (30 % above {ratio}), was: {now:.2f}")
    return lines
