"""What each pod carried within a minute, as the live loop's ledger samples it from sidecars.

Law: all slots of the plant are one pool, so that each Ready pod has the same share; a minute in
which pods came or went is no sample. An answer is late where its request waited too long.
"""

from dataclasses import dataclass

from tidegate_operator.decide.capacity import Carried
from tidegate_operator.ledger.carried import SPAN_S
from tidegate_operator.replay.control import Seen


@dataclass(slots=True)
class PodShares:
    """Since the last samples."""

    at: float = 0.0
    ready: int = 0
    arrived: int = 0
    tokens: float = 0.0
    begun: int = 0
    late: float = 0.0

    def look(self, seen: Seen) -> tuple[Carried, ...]:
        """One sample for each pod, once a minute is over."""
        span_s = seen.now - self.at
        if seen.ready == self.ready and span_s < SPAN_S:
            return ()
        samples: tuple[Carried, ...] = ()
        if seen.ready == self.ready and self.ready:
            one = Carried(
                rps=(seen.arrived - self.arrived) / span_s / self.ready,
                tokens_per_s=(seen.tokens - self.tokens) / span_s / self.ready,
                in_flight=seen.concurrency(span_s) / self.ready,
                answers=(seen.begun - self.begun) // self.ready,
                late=(seen.late - self.late) / self.ready,
            )
            samples = (one,) * self.ready
        self.at, self.ready, self.arrived = seen.now, seen.ready, seen.arrived
        self.tokens, self.begun, self.late = seen.tokens, seen.begun, seen.late
        return samples
