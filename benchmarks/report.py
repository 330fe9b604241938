"""What a run found, as plain values and as tables.

Law: nothing is measured here; each figure is said with how far the rounds lay apart.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from benchmarks import figures
from benchmarks.bench import Outcome
from benchmarks.contestants import Envoy, LiteLLM, Nginx
from benchmarks.cputime import cpu_model
from benchmarks.figures import Spread
from benchmarks.interpreter import this_one
from benchmarks.loads import (
    CHUNK,
    CHUNK_15K,
    DIRECT,
    LATENCY,
    LOADS,
    REQUEST,
    TTFT,
    USAGE_CHUNK,
    Load,
)
from benchmarks.sidecars import COMPILED, FEATURES, PURE

RATIOS = {
    "cpu_ratio_nginx_1kb": (COMPILED.name, Nginx.name, REQUEST.name),
    "cpu_ratio_envoy_1kb": (COMPILED.name, Envoy.name, REQUEST.name),
    "cpu_ratio_envoy_1kb_pure": (PURE.name, Envoy.name, REQUEST.name),
    "cpu_ratio_envoy_sse_chunk": (COMPILED.name, Envoy.name, CHUNK.name),
    "cpu_ratio_envoy_sse_chunk_15k": (COMPILED.name, Envoy.name, CHUNK_15K.name),
    "cpu_ratio_envoy_sse_chunk_pure": (PURE.name, Envoy.name, CHUNK.name),
    "cpu_ratio_envoy_usage_chunk": (COMPILED.name, Envoy.name, USAGE_CHUNK.name),
    "cpu_ratio_envoy_usage_chunk_pure": (PURE.name, Envoy.name, USAGE_CHUNK.name),
    "cpu_ratio_litellm_1kb": (COMPILED.name, LiteLLM.name, REQUEST.name),
}
"""Key in ``--json``: whose CPU over whose, of which load."""
OTHERS = (
    *("added_p50_ms", "added_ttft_p50_ms", "chunk_delay_p99_ms", "chunk_delay_p99_ratio_envoy"),
    *("pss_idle_mb", "pss_loaded_mb", "metrics_stall_ms", "streams_open", "streams_failed"),
)
"""The other keys that a run is told by, beside all its bursts."""


def ratios(outcome: Outcome) -> dict[str, float | None]:
    """Medians by the keys of ``RATIOS``; None for what was not run."""
    told = {}
    for key, (mine, theirs, load) in RATIOS.items():
        spread = figures.cpu_ratio(outcome.bursts, mine, theirs, load)
        told[key] = None if spread is None else round(spread.median, 4)
    return told


def as_values(
    outcome: Outcome, machine: Mapping[str, Any], versions: Mapping[str, str]
) -> dict[str, Any]:
    """All figures by name."""
    bursts = outcome.bursts
    mine, envoy = COMPILED.name, Envoy.name
    p99, envoys_p99 = (
        _median(figures.timed_ms(bursts, name, CHUNK_15K.name)) for name in (mine, envoy)
    )
    return {
        **ratios(outcome),
        "added_p50_ms": _median(figures.added_ms(bursts, mine, LATENCY.name)),
        "added_ttft_p50_ms": _median(figures.added_ms(bursts, mine, TTFT.name)),
        "chunk_delay_p99_ms": p99,
        "chunk_delay_p99_ratio_envoy": p99 / envoys_p99 if p99 and envoys_p99 else None,
        "pss_idle_mb": outcome.idle_mb.get(mine),
        "pss_loaded_mb": outcome.loaded_mb.get(mine),
        "machine": dict(machine) | _foreign(outcome),
        "versions": dict(versions),
        "proxies": {name: _proxy(outcome, name) for name in versions},
        "bursts": [asdict(burst) for burst in bursts],
    }


def machine(load_average: float, cores: int) -> dict[str, Any]:
    return {
        "cpu": cpu_model(),
        "cores": cores,
        "load_average_before": round(load_average, 2),
        "python": this_one().described(),
    }


def _foreign(outcome: Outcome) -> dict[str, float]:
    shares = [burst.foreign_cpu for burst in outcome.bursts]
    return {
        "foreign_cpu_median": round(statistics.median(shares), 3),
        "foreign_cpu_max": round(max(shares), 3),
    }


def _proxy(outcome: Outcome, name: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "pss_idle_mb": outcome.idle_mb.get(name),
        "pss_loaded_mb": outcome.loaded_mb.get(name),
    }
    for load in LOADS:
        told[load.name] = {
            key: None if spread is None else asdict(spread)
            for key, spread in _spreads(outcome, name, load).items()
        }
    return told


def _spreads(outcome: Outcome, name: str, load: Load) -> dict[str, Spread | None]:
    bursts = outcome.bursts
    return {
        "cpu_us": figures.cpu_us(bursts, name, load.name),
        "over_nginx": figures.cpu_ratio(bursts, name, Nginx.name, load.name),
        "over_envoy": figures.cpu_ratio(bursts, name, Envoy.name, load.name),
        "per_s": figures.per_s(bursts, name, load.name),
        "timed_ms": figures.timed_ms(bursts, name, load.name),
        "added_ms": figures.added_ms(bursts, name, load.name),
    }


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else round(spread.median, 4)


# --- tables --------------------------------------------------------------------------------------


def cpu_table(outcome: Outcome, names: Sequence[str]) -> Table:
    """CPU microseconds, and times Envoy's with the span of the rounds, for each load."""
    table = Table(title="CPU us of the proxy per request or chunk (x Envoy, lowest to highest)")
    table.add_column("load")
    for name in names:
        table.add_column(name, justify="right")
    for load in LOADS:
        cells = [_cpu_cell(outcome, name, load) for name in names]
        if any(cells):
            table.add_row(load.says, *cells)
    return table


def _cpu_cell(outcome: Outcome, name: str, load: Load) -> str:
    used = figures.cpu_us(outcome.bursts, name, load.name)
    if used is None:
        return ""
    ratio = figures.cpu_ratio(outcome.bursts, name, Envoy.name, load.name)
    if ratio is None or name == Envoy.name:
        return f"{used.median:,.0f}"
    return f"{used.median:,.0f}  ({ratio.median:.2f}, {ratio.low:.2f}-{ratio.high:.2f})"


def other_table(outcome: Outcome, names: Sequence[str]) -> Table:
    """What is not CPU: delays and memory."""
    table = Table(title="Delays in ms (lowest to highest round), memory in MB (PSS)")
    table.add_column("proxy")
    heads = (
        "added p50 at 500/s",
        "added TTFT p50",
        "p99 of a chunk at 15,000/s",
        "idle",
        "loaded",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for name in (DIRECT, *names):
        bursts = outcome.bursts
        cells = [
            _delay_cell(figures.added_ms(bursts, name, LATENCY.name)) if name != DIRECT else "",
            _delay_cell(figures.added_ms(bursts, name, TTFT.name)) if name != DIRECT else "",
            _delay_cell(figures.timed_ms(bursts, name, CHUNK_15K.name)),
            *(_mb(memory.get(name)) for memory in (outcome.idle_mb, outcome.loaded_mb)),
        ]
        if any(cells):
            table.add_row(name, *cells)
    return table


def _delay_cell(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f}  ({spread.low:.2f}-{spread.high:.2f})"


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def feature_table(outcome: Outcome) -> Table:
    """What each feature costs: the rounds' differences to the sidecar that has everything on."""
    table = Table(title="CPU us per request, and how it differs from everything on")
    for head in ("sidecar", "CPU us", "difference", "lowest to highest"):
        table.add_column(head, justify="left" if head == "sidecar" else "right")
    whole = FEATURES[0].name
    for each in FEATURES:
        for load in (REQUEST, CHUNK, USAGE_CHUNK):
            used = figures.cpu_us(outcome.bursts, each.name, load.name)
            if used is None:
                continue
            reference = (whole, CHUNK.name if load is USAGE_CHUNK else load.name)
            told = figures.cpu_difference(outcome.bursts, (each.name, load.name), reference)
            same = told is None or reference == (each.name, load.name)
            cells = (
                ("", "")
                if told is None or same
                else (
                    f"{told.median:+.1f}",
                    f"{told.low:+.1f} to {told.high:+.1f}",
                )
            )
            table.add_row(f"{each.name}: {load.says}", f"{used.median:.1f}", *cells)
    return table
