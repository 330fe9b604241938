"""What is asked of each proxy, and one burst of it.

Law: a burst with a failed request is no figure but a failure; CPU is that of the proxy's whole
process tree over what was done, the load generator's own warm-up included in both.
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.children import BenchError, Tools, pin
from benchmarks.cputime import machine_busy_s, tree_cpu_s

WARM_S = 0.3
WARM_UPS = 30
DIRECT = "direct"
"""In the place of a proxy's name: the server without one in front of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of traffic, in the load generator's words."""

    name: str
    says: str
    words: tuple[str, ...]
    counted: Literal["total", "tchunks"] = "total"
    asks_usage: bool = True
    """Whether a stream's client asks for the usage chunk itself."""
    timed: tuple[str, str] | None = None
    """Which figure of the load generator's clock is kept, and its quantile."""
    direct: bool = False
    """Asked of the server itself, too, to tell what a proxy adds."""


def _requests(size: str, prompt: int) -> Load:
    conns = 16 if prompt > 50_000 else 64  # so that the first of them are done early in a burst
    words = (f"conns={conns}", "stream=0", f"prompt={prompt}")
    return Load(name=f"request_{size}", says=f"request, {size.upper()} prompt", words=words)


def _streams(size: str, prompt: int) -> Load:
    # Sixteen chunks as fast as they come: the price of a stream's beginning and end.
    conns = 16 if prompt > 50_000 else 64
    words = (f"conns={conns}", "stream=1", f"prompt={prompt}", "n=16", "iv=0")
    return Load(name=f"stream_{size}", says=f"short stream, {size.upper()} prompt", words=words)


REQUEST = _requests("1kb", 1_000)
CHUNK = Load(
    name="sse_chunk",
    says="SSE chunk at 5,000/s",
    # 100 streams of 50 tokens a second: below what any of them can carry.
    words=("conns=100", "stream=1", "prompt=1000", "n=64", "iv=20000"),
    counted="tchunks",
)
CHUNK_15K = Load(
    name="sse_chunk_15k",
    says="SSE chunk at 15,000/s",
    words=("conns=300", "stream=1", "prompt=1000", "n=64", "iv=20000"),
    counted="tchunks",
    timed=("delay", "p99"),
    direct=True,
)
USAGE_CHUNK = Load(
    name="usage_chunk",
    says="SSE chunk, usage asked for and removed",
    words=CHUNK.words,
    counted="tchunks",
    asks_usage=False,
)
LATENCY = Load(
    name="latency",
    says="request at 500/s",
    words=("conns=64", "rate=500", "stream=0", "prompt=1000"),
    timed=("lat", "p50"),
    direct=True,
)
TTFT = Load(
    name="ttft",
    says="stream at 100/s",
    words=("conns=64", "rate=100", "stream=1", "prompt=1000", "n=16", "iv=5000"),
    timed=("ttft", "p50"),
    direct=True,
)
LOADS = (
    *(REQUEST, _requests("10kb", 10_000), _requests("100kb", 100_000)),
    *(_streams("1kb", 1_000), _streams("10kb", 10_000), _streams("100kb", 100_000)),
    *(CHUNK, CHUNK_15K, USAGE_CHUNK, LATENCY, TTFT),
)
SHORT = (REQUEST, CHUNK, USAGE_CHUNK)
"""What a ratio is recorded of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a burst goes."""

    name: str
    port: int
    pid: int | None
    """Of the proxy; None where there is none."""
    model: str
    path: str = "/v1/chat/completions"
    headers: str = ""
    """More header lines of each request, as HTTP writes them."""
    least_s: float = 0.0
    """A burst takes no shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """One load on one proxy."""

    proxy: str
    load: str
    round: int
    done: int
    cpu_us: float | None
    """Of the proxy's process tree, per request or chunk; None where there is no proxy."""
    per_s: float
    timed_us: float | None
    foreign_cpu: float
    """Share of the machine's CPU that went to neither proxy, server nor load generator."""


def burst(
    tools: Tools, target: Target, load: Load, number: int, seconds: float, server_pid: int
) -> Burst:
    """Run one. Raises ``BenchError`` if a request of it failed."""
    began, busy, cpu = time.monotonic(), machine_busy_s(), _cpu_s(target.pid)
    server = tree_cpu_s(server_pid)
    told, generator_s = _generate(tools, target, load, max(seconds, target.least_s))
    proxy_s = _cpu_s(target.pid) - cpu
    known = proxy_s + tree_cpu_s(server_pid) - server + generator_s
    offered = (time.monotonic() - began) * (os.cpu_count() or 1)
    done = int(told[load.counted])
    if told["err"] or told["non2xx"] or not done:
        raise BenchError(
            f"{target.name}, {load.says}: {told['non2xx']} answers were wrong and {told['err']} "
            f"failed of {done}; this is no figure"
        )
    return Burst(
        proxy=target.name,
        load=load.name,
        round=number,
        done=done,
        cpu_us=proxy_s / done * 1e6 if target.pid else None,
        per_s=float(told["rps" if load.counted == "total" else "chunks_s"]),
        timed_us=_timed_us(told, load),
        foreign_cpu=max(0.0, machine_busy_s() - busy - known) / offered,
    )


def warm_up(tools: Tools, target: Target) -> None:
    """Have a proxy answer something before it is measured: LiteLLM takes seconds for its first.

    Raises ``BenchError`` if it answers nothing.
    """
    one_by_one = replace(REQUEST, words=("conns=1", "stream=0", "prompt=1000"))
    for _ in range(WARM_UPS):
        if _generate(tools, target, one_by_one, 1.0)[0]["ok"]:
            return
    raise BenchError(f"{target.name} answered nothing in {WARM_UPS} s")


def _cpu_s(pid: int | None) -> float:
    return 0.0 if pid is None else tree_cpu_s(pid)


def _timed_us(told: dict[str, Any], load: Load) -> float | None:
    if load.timed is None or told[load.timed[0]] is None:
        return None
    return float(told[load.timed[0]][load.timed[1]])


def _generate(
    tools: Tools, target: Target, load: Load, seconds: float
) -> tuple[dict[str, Any], float]:
    """What the load generator told, and the CPU seconds that it used."""
    generator = tools.generator if load.asks_usage else tools.quiet_generator
    command = [
        *(str(generator), str(target.port), *load.words, f"model={target.model}"),
        *(f"path={target.path}", f"dur={seconds}", f"warm={WARM_S}"),
    ]
    before = os.times()
    done = subprocess.run(
        command,
        env=os.environ | {"XHDR": target.headers},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
        preexec_fn=pin(last=True),
    )
    after = os.times()
    if done.returncode:
        raise BenchError(f"the load generator failed on {target.name}: {done.stderr.strip()}")
    used_s = after.children_user + after.children_system
    told: dict[str, Any] = json.loads(done.stdout)
    return told, used_s - before.children_user - before.children_system
