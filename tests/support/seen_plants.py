"""What a controller is shown, made by hand."""

from tidegate_operator.replay.control import Seen
from tidegate_operator.replay.plant import STEP_S

SLOTS = 8
POD_RPS = 2.0


def seen(
    now: float,
    current: int,
    rps: float,
    *,
    ready: int | None = None,
    burst: float = 0.0,
    in_flight: float | None = None,
) -> Seen:
    """Five minutes at ``rps``, and half a minute at ``burst`` more."""
    made = Seen(now, current, current if ready is None else ready)
    for step in range(66):
        rate = rps + burst * (step >= 60)
        busy = min(1.0, rate / (made.ready * POD_RPS)) if made.ready else 0.0
        flying = busy * made.ready * SLOTS if in_flight is None else in_flight
        made.note(rate * STEP_S, busy, flying, made.ready)
    return made
