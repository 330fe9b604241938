"""Each client runs once for all tests that ask about it."""

import asyncio
from collections.abc import Callable

import pytest

from client_runs import BothRuns, run_both
from scenarios import Client


@pytest.fixture(scope="session")
def runs_of() -> Callable[[Client], BothRuns]:
    """The runs of a client; a failed one is not tried again."""
    done: dict[str, BothRuns | AssertionError] = {}

    def run(client: Client) -> BothRuns:
        assert client.environment.exists(), f"{client.name} is not installed; run: make sdks"
        if client.name not in done:
            try:
                done[client.name] = asyncio.run(run_both(client.command, outbound=client.outbound))
            except AssertionError as error:
                done[client.name] = error
        both = done[client.name]
        if isinstance(both, AssertionError):
            raise both
        return both

    return run
