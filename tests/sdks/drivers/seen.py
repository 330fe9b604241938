"""Runs a client's scenarios and prints what the client saw, as one JSON document.

Law: nothing is left out because it might differ; only what no two answers share (the date) is.
Runs in a client's own environment: standard library only.
"""

import json
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AT_A_TIME = 6
PER_HOP = ("date", "connection", "keep-alive", "transfer-encoding", "content-length")
"""``content-length``: a measured stream may be framed anew; the corpus test compares bytes."""


class Trail:
    """What one scenario's client got, below its own objects."""

    def __init__(self, base_url: str, scenario: str) -> None:
        self.base_url = base_url
        self.scenario = scenario
        self.headers = {"x-scenario": scenario}
        self.answers: list[dict[str, Any]] = []

    def note(self, response: Any) -> None:
        """An httpx event hook."""
        headers = [
            [name.lower(), value]
            for name, value in response.headers.multi_items()
            if name.lower() not in PER_HOP
        ]
        self.answers.append({"status": response.status_code, "headers": headers})


Scenario = Callable[[Trail], Any]


def plain(value: Any) -> Any:
    """A client's object as JSON: of what is a model, the fields that were set."""
    if hasattr(value, "to_dict"):
        return value.to_dict(mode="json", warnings=False)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_unset=True, warnings=False)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value


def fault(error: BaseException) -> dict[str, Any]:
    """An exception as a caller can tell it apart."""
    told = {
        name: plain(getattr(error, name))
        for name in ("status_code", "message", "code", "type", "param", "body", "request_id")
        if hasattr(error, name)
    }
    cause = error.__cause__ or error.__context__
    return {
        "class": [kind.__name__ for kind in type(error).__mro__],
        "text": str(error),
        **told,
        "cause": None if cause is None else [type(cause).__name__, str(cause)],
    }


def collected(events: Any, keep: Callable[[Any], Any] = plain) -> dict[str, Any]:
    """All that a stream gave, and how it ended: an end, or an error."""
    got: list[Any] = []
    try:
        for event in events:
            got.append(keep(event))
    except Exception as error:  # noqa: BLE001 - what a client raises is what is compared
        return {"events": got, "error": fault(error)}
    return {"events": got}


def run(client: str, scenarios: Mapping[str, Scenario]) -> None:
    """``DRIVER BASE_URL``: run all, print the document."""
    base_url = sys.argv[1]

    def one(name: str) -> dict[str, Any]:
        trail = Trail(base_url, name)
        try:
            result = {"result": plain(scenarios[name](trail))}
        except Exception as error:  # noqa: BLE001 - what a client raises is what is compared
            result = {"error": fault(error)}
        return {**result, "answers": trail.answers}

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        seen = dict(zip(scenarios, pool.map(one, scenarios), strict=True))
    json.dump({"client": client, "scenarios": seen}, sys.stdout)
