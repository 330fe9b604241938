"""The sidecar as a contestant: compiled or pure, with every feature on or one of them off.

Law: what is compared differs in the one thing that its name says.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from benchmarks.contestants import MODEL, Contestant, MissingError, first_line
from benchmarks.loads import CHUNK, REQUEST
from tidegate_wire.config import Do, Model, Order, SidecarConfig

COMPILED_FOLDER = Path(sys.prefix) / "compiled"
"""Where ``scripts/compiled`` puts what it made for the Python that runs this."""
TENANT_HEADER = "x-tenant"
TENANT = f"{TENANT_HEADER}: acme\r\n"
TRACE = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
FOREVER = 4e9
"""Unix seconds."""
OTHERS = {
    f"team-{number}": Order(do=Do.SWITCH, model="small", reason="Budget", expires_at=FOREVER)
    for number in range(100)
}
EVERYTHING = SidecarConfig(
    policy="bench/bench",
    models=(
        Model(name=MODEL, input_price_per_mtok=1.0, output_price_per_mtok=2.0),
        Model(name="small", input_price_per_mtok=0.1, output_price_per_mtok=0.2),
    ),
    tenant_header=TENANT_HEADER,
    tenant_orders=OTHERS,
)
"""Identified, priced, budgets enforced against others at present, measured."""


class Sidecar(Contestant):
    """Ours, as the images and as ``pip install`` have it."""

    def __init__(
        self,
        name: str,
        build: Literal["compiled", "pure"] = "compiled",
        *,
        config: SidecarConfig = EVERYTHING,
        headers: str = TENANT + TRACE,
        path: str = "/v1/chat/completions",
        loads: frozenset[str] | None = None,
    ) -> None:
        self.name = name
        self.loads = loads
        self.headers = headers
        self.path = path
        self._build = build
        self._config = config
        folder = (
            str(COMPILED_FOLDER) if build == "compiled" else ""
        )  # whatever we run on ourselves
        self.env: Mapping[str, str] = MappingProxyType(
            {"TIDEGATE_DRAIN_ACCEPT_S": "0", "PYTHONPATH": folder}
        )

    def command(self, folder: Path, port: int, upstream_port: int) -> list[str]:
        (folder / "config.json").write_bytes(self._config.to_json())
        return [
            *(sys.executable, "-m", "tidegate_sidecar", "--listen", f"127.0.0.1:{port}"),
            *("--upstream", f"http://127.0.0.1:{upstream_port}", "--admin", "127.0.0.1:0"),
            *("--config", str(folder / "config.json")),
        ]

    def version(self) -> str:
        words = (sys.executable, "-m", "tidegate_sidecar", "--version")
        text = first_line(*words, env=os.environ | dict(self.env))
        if f"({self._build})" not in text:
            raise MissingError(
                f"{self._build} is asked for and {text!r} is there: scripts/compiled"
            )
        return f"{text.split()[1]}, Python {sys.version.split()[0]}"


COMPILED = Sidecar("tidegate, compiled")
PURE = Sidecar("tidegate, pure Python", "pure")

_SWITCH = Order(do=Do.SWITCH, model="small", reason="ErrorRate", expires_at=FOREVER)


def _but(name: str, **changes: Any) -> Sidecar:
    return Sidecar(name, config=replace(EVERYTHING, **changes), loads=frozenset((REQUEST.name,)))


FEATURES = (
    Sidecar("everything"),
    _but("no tenants", tenant_header=""),
    _but("no orders", tenant_orders={}),
    _but("no models and prices", models=()),
    Sidecar("no trace", headers=TENANT, loads=frozenset((REQUEST.name,))),
    _but("tenants by hashed key", tenant_header="authorization"),
    _but("another model written in", order=_SWITCH),
    Sidecar(
        "nothing read or measured",
        config=SidecarConfig(),
        headers=TENANT,
        path="/other",
        loads=frozenset((REQUEST.name, CHUNK.name)),
    ),
)
"""The first has what all have; each other one differs from it in what its name says."""
