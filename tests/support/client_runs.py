"""Runs a client twice, to a provider directly and through a real sidecar, and keeps what each saw.

Law: the two runs differ in one thing only, the address that the client is given.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from provider import Provider
from sidecar_process import SidecarProcess
from tidegate_wire.stats import SidecarStats

DRIVER_WITHIN_S = 240.0
FLAGS = ("--outbound", "127.0.0.1:0")


@dataclass(frozen=True)
class Run:
    """What one run saw on both ends."""

    document: dict[str, Any]
    """As the driver printed it, with the server's address replaced."""
    provider: Provider

    def saw(self, scenario: str) -> dict[str, Any]:
        seen: dict[str, Any] = self.document["scenarios"][scenario]
        return seen


@dataclass(frozen=True)
class BothRuns:
    """The pair, and what the sidecar counted."""

    direct: Run
    through: Run
    stats: SidecarStats
    page: str
    """Its ``/metrics``."""


async def run_both(command: Sequence[str], *, outbound: bool) -> BothRuns:
    """Raises AssertionError, with what the driver said, if it fails.

    ``outbound``: by the way out, as an application beside the sidecar goes; else by the way in.
    """
    async with (
        Provider() as direct,
        Provider() as behind,
        SidecarProcess(*FLAGS, "--upstream", behind.url, env=_way_out_to(behind)) as sidecar,
    ):
        url = sidecar.outbound if outbound else sidecar.url
        documents = await asyncio.gather(_drive(command, direct.url), _drive(command, url))
        await direct.quiet()
        await behind.quiet()
        stats, page = await _counted(sidecar)
    return BothRuns(Run(documents[0], direct), Run(documents[1], behind), stats, page)


def _way_out_to(provider: Provider) -> dict[str, str]:
    names = ("TIDEGATE_OPENAI_UPSTREAM", "TIDEGATE_ANTHROPIC_UPSTREAM")
    return dict.fromkeys(names, provider.url)


async def _drive(command: Sequence[str], url: str) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, url, stdout=pipe, stderr=pipe)
    try:
        out, said = await asyncio.wait_for(process.communicate(), DRIVER_WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, f"{command} failed: {said.decode()[-2000:]}"
    host = url.removeprefix("http://")
    document: dict[str, Any] = json.loads(out.decode().replace(host, "server"))
    return document


async def _counted(sidecar: SidecarProcess) -> tuple[SidecarStats, str]:
    """Both doors, once nothing is in flight."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(10):
        while True:
            async with http.get(sidecar.admin + "/stats") as answer:
                stats = SidecarStats.from_json(await answer.read())
            if not stats.in_flight:
                break
            await asyncio.sleep(0.01)
        async with http.get(sidecar.admin + "/metrics") as answer:
            return stats, await answer.text()
