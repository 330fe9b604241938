"""How long a model server is waited for.

Law: pure; ``now`` is an argument, in seconds on the clock's monotonic scale. What counts is the
client's patience: until the first token nothing else that comes, comments or pings, starts the
wait anew.
"""

from tidegate_wire.config import Timeouts


class Patience:
    """One call's times, and what they may come to."""

    __slots__ = ("_moved_at", "first_at", "limits", "moved", "started", "waits_for_first")

    def __init__(self, limits: Timeouts, now: float) -> None:
        self.limits = limits
        self.started = now
        self.moved = False
        """Something has moved since the last look."""
        self.waits_for_first = False
        """It is a stream, and no output has come."""
        self.first_at: float | None = None
        """When the first output came."""
        self._moved_at = now

    def output_began(self, now: float) -> None:
        self.first_at = now
        self.waits_for_first = False

    @property
    def ttft_s(self) -> float | None:
        """None: no output that came a piece at a time."""
        return None if self.first_at is None else self.first_at - self.started

    def overdue(self, now: float, *, connecting: bool, answering: bool, refuses_body: bool) -> str:
        """What the server failed to do in time, completing "The model server"; empty: nothing yet.

        ``answering``: its head has come; ``refuses_body``: it does not read what the client still
        sends.
        """
        if self.moved:
            self.moved = False
            self._moved_at = now
        limits = self.limits
        waited_s = now - self.started
        still_s = now - self._moved_at
        if waited_s >= limits.total_s:
            return f"did not finish within {limits.total_s:g} s"
        if self.waits_for_first:
            if waited_s >= limits.first_token_s:
                return f"sent no first token within {limits.first_token_s:g} s"
        elif answering and still_s >= limits.idle_s:
            return f"sent nothing for {limits.idle_s:g} s"
        elif refuses_body and still_s >= limits.idle_s:
            return f"took nothing of the request for {limits.idle_s:g} s"
        if connecting and still_s >= limits.connect_s:
            return f"did not accept a connection within {limits.connect_s:g} s"
        return ""
