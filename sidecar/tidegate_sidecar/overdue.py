"""What a model server failed to do in time.

Law: pure; how long something took is an argument, in seconds. What counts is the client's
patience: until the first token nothing else that comes, comments or pings, starts the wait anew.
"""

from tidegate_wire.config import Timeouts


def overdue(
    limits: Timeouts,
    *,
    waited_s: float,
    still_s: float,
    connecting: bool,
    waits_for_first: bool,
    answering: bool,
    refuses_body: bool,
) -> str:
    """Completes "The model server"; empty if it is in time.

    ``waited_s`` is since the request came whole, ``still_s`` since anything moved;
    ``refuses_body``: it does not read what the client still sends.
    """
    if waited_s >= limits.total_s:
        return f"did not finish within {limits.total_s:g} s"
    if waits_for_first:
        if waited_s >= limits.first_token_s:
            return f"sent no first token within {limits.first_token_s:g} s"
    elif answering and still_s >= limits.idle_s:
        return f"sent nothing for {limits.idle_s:g} s"
    elif refuses_body and still_s >= limits.idle_s:
        return f"took nothing of the request for {limits.idle_s:g} s"
    if connecting and still_s >= limits.connect_s:
        return f"did not accept a connection within {limits.connect_s:g} s"
    return ""
