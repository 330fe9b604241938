"""Requests at a steady rate from a thread of its own, each answer kept.

Law: every request has a connection of its own, so that a Service spreads them over its pods; what
was begun is waited for, and what did not end well says how.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PATIENCE_S = 60.0
"""For one request, and for those that are open at the end."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """What became of one request."""

    sent_at: float
    """Unix seconds, as the rest."""
    tenant: str = ""
    status: int = 0
    """0: no answer."""
    model: str = ""
    """That answered, by the answer's own word."""
    first_s: float = 0.0
    """From sent to the first byte of the answer's body."""
    whole: bool = False
    """Read to its end; of a stream, to its ``[DONE]``."""
    trouble: str = ""

    @property
    def good(self) -> bool:
        return self.status == 200 and self.whole


@dataclass(slots=True, kw_only=True)
class Load:
    """Goes on until its block ends; ``per_s`` may be changed meanwhile."""

    url: str
    per_s: float
    model: str = "llama-70b"
    tenant: str = ""
    stream: bool = False
    max_tokens: int = 16
    answers: list[Answer] = field(default_factory=list)
    """In the order in which they ended."""

    def since(self, at: float) -> list[Answer]:
        """Of requests that were sent from then on."""
        return [answer for answer in list(self.answers) if answer.sent_at >= at]

    def bad(self) -> list[Answer]:
        return [answer for answer in list(self.answers) if not answer.good]


@contextmanager
def live_load(url: str, per_s: float, **more: Any) -> Iterator[Load]:
    """Load on a base URL while the block runs; what is open at its end is waited for."""
    load = Load(url=url, per_s=per_s, **more)
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_drive(load, stop)), daemon=True)
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join(PATIENCE_S + 10)


async def _drive(load: Load, stop: threading.Event) -> None:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    open_requests: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        due = time.monotonic()
        while not stop.is_set():
            if time.monotonic() < due:
                await asyncio.sleep(0.02)
                continue
            task = asyncio.create_task(_ask(session, load))
            open_requests.add(task)
            task.add_done_callback(open_requests.discard)
            due = max(due + 1.0 / load.per_s, time.monotonic() - 1.0)
        await asyncio.gather(*open_requests)


async def _ask(session: aiohttp.ClientSession, load: Load) -> None:
    body = {
        "model": load.model,
        "messages": [{"role": "user", "content": "How high is the tide at noon?"}],
        "max_tokens": load.max_tokens,
        "stream": load.stream,
    }
    headers = {"x-tenant-id": load.tenant} if load.tenant else {}
    answer = Answer(sent_at=time.time(), tenant=load.tenant)
    try:
        url = f"{load.url}/v1/chat/completions"
        async with session.post(url, json=body, headers=headers) as response:
            answer.status = response.status
            lines = []
            async for line in response.content:
                answer.first_s = answer.first_s or time.time() - answer.sent_at
                lines.append(line.decode())
            _read(answer, lines)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        answer.trouble = f"{type(error).__name__}: {error}"
    load.answers.append(answer)


def _read(answer: Answer, lines: list[str]) -> None:
    if answer.status != 200:
        answer.trouble = "".join(lines)[:300]
    elif lines and lines[0].startswith("data: "):
        answer.model = json.loads(lines[0].removeprefix("data: "))["model"]
        answer.whole = any(line.strip() == "data: [DONE]" for line in lines)
    else:
        answer.model = json.loads("".join(lines))["model"]
        answer.whole = True
