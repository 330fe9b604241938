"""A simulated model server on loopback, in the test's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tidegate_operator.demo.http1 import listen
from tidegate_operator.demo.model_engine import Engine, Knobs
from tidegate_operator.demo.model_server import ModelServer
from tidegate_wire.clock import Clock


class Serving:
    """Where it listens, and its inside."""

    def __init__(self, url: str, admin: str, engine: Engine) -> None:
        self.url = url
        self.admin = admin
        self.engine = engine


@asynccontextmanager
async def serving(
    speed: float = 100.0, startup_delay: float = 0.0, model: str = "llama-70b", **knobs: Any
) -> AsyncIterator[Serving]:
    """Both doors, open within the block; times are of a clock at ``speed``."""
    clock = Clock(speed)
    engine = Engine(Knobs(**knobs), clock)
    server = ModelServer(model, engine, clock, clock.monotonic() + startup_delay)
    data = await listen(server.serve, "127.0.0.1", 0)
    admin = await listen(server.control, "127.0.0.1", 0)
    try:
        at = "http://127.0.0.1:"
        yield Serving(f"{at}{data.port}", f"{at}{admin.port}", engine)
    finally:
        data.close()
        admin.close()
