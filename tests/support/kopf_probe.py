"""A kopf operator that says what it sees of widgets: one JSON line an event."""

from typing import Any

import kopf


@kopf.on.startup()
def settle(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.networking.error_backoffs = [0.05] * 200
    settings.watching.reconnect_backoff = 0.05


@kopf.on.event("contract.tidegate.io", "v1", "widgets")
def see(event: kopf.RawEvent, **_: Any) -> None:
    metadata = event["object"]["metadata"]
    size = event["object"].get("spec", {}).get("size")
    print("SEEN", event["type"], metadata["name"], size, flush=True)
