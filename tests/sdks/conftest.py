"""Each client runs once for all tests that ask about it; all of them side by side."""

import asyncio
from collections.abc import Callable, Iterable

import pytest

from client_runs import BothRuns, run_both
from scenarios import CLIENTS, Client

AT_A_TIME = 3
"""Clients wait for their time-outs and retries as long as they compute."""

Outcomes = dict[str, BothRuns | BaseException]


@pytest.fixture(scope="session")
def runs_of(request: pytest.FixtureRequest) -> Callable[[Client], BothRuns]:
    """The runs of a client; a failed one is not tried again.

    Not xdist's groups: its 3.8 forgets them under pytest 9.2, and each worker ran every client.
    """
    asked = {item.callspec.params["client"].name for item in request.session.items}  # type: ignore[attr-defined]
    done = asyncio.run(_run_all(client for client in CLIENTS if client.name in asked))

    def run(client: Client) -> BothRuns:
        both = done[client.name]
        if isinstance(both, BaseException):
            raise both
        return both

    return run


async def _run_all(clients: Iterable[Client]) -> Outcomes:
    turns = asyncio.Semaphore(AT_A_TIME)

    async def run(client: Client) -> BothRuns:
        assert client.environment.exists(), f"{client.name} is not installed; run: make sdks"
        async with turns:
            return await run_both(client.command, outbound=client.outbound)

    chosen = list(clients)
    done = await asyncio.gather(*map(run, chosen), return_exceptions=True)
    return dict(zip((client.name for client in chosen), done, strict=True))
