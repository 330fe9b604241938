"""Where a backtest's history comes from: a file, a Prometheus, or the operator's checkpoint.

Law: one of them, and it is asked once. Whatever goes wrong becomes one line that says where, which
rule, what it was.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate_operator.backtest.assume import HpaTarget
from tidegate_operator.cli.faults import InputError
from tidegate_operator.cli.kube import Access, Object, Policies
from tidegate_operator.cluster.history import decode_history
from tidegate_operator.replay.trace import MINUTE_S, Trace, TraceError, read_trace
from tidegate_operator.sources.prometheus import PrometheusError, history
from tidegate_wire import base_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A history, and what else was found beside it."""

    trace: Trace
    policy: Object | None = None
    """As the cluster has it."""
    cold_starts: tuple[float, ...] = ()
    """Seconds, as measured by the operator."""
    hpa: HpaTarget | None = None
    """Of an HPA that stands in the cluster beside the policy."""


def from_file(path: Path, beside: Collection[str] = ()) -> Source:
    """``--trace``; columns of the names ``beside`` are taken in where there are such."""
    try:
        return Source(trace=read_trace(path, beside))
    except TraceError as error:
        raise InputError(f"--trace {error}") from error


def from_prometheus(
    url: str,
    query: str,
    days: float,
    headers: Mapping[str, str],
    now: float,
    beside: Mapping[str, str],
) -> Source:
    """``--prometheus``: requests per second, as ``query`` gives them, and series ``beside`` (name
    to query) of the same server."""
    if problem := base_url.problem(url):
        raise InputError(f"--prometheus {problem}, was: {url:.80}")
    try:
        return Source(
            trace=asyncio.run(history(url, query, days, headers, now=now, beside=beside))
        )
    except PrometheusError as error:
        raise InputError(f"--prometheus {error}") from error


def from_cluster(access: Access, namespace: str | None, name: str) -> Source:
    """``--policy``: the checkpoint that the operator keeps of it."""
    policies = Policies(access)
    namespace = namespace or policies.namespace
    policy = policies.get(namespace, name)
    manifest = policies.history(namespace, name)
    if manifest is None:
        raise InputError(
            f"--policy {name}: the operator has kept no history of it yet (ConfigMap"
            f" tidegate-history-{name} in namespace {namespace}); it does so every 5 minutes"
        )
    checkpoint, problem = decode_history(manifest)
    if not checkpoint.counts:
        raise InputError(f"--policy {name}: its history {problem or 'has no minute yet'}")
    return Source(
        trace=Trace(
            name=f"{namespace}/{name}",
            start=float(checkpoint.start_minute * MINUTE_S),
            step_s=MINUTE_S,
            requests=tuple(checkpoint.counts),
        ),
        policy=policy,
        cold_starts=tuple(checkpoint.cold_starts),
        hpa=_target(policy, policies.autoscalers(namespace)),
    )


def _target(policy: Object, autoscalers: Sequence[Object]) -> HpaTarget | None:
    """What the HPA on the policy's workload aims at; ``None`` where there is none that can be
    read."""
    ref = (policy.get("spec") or {}).get("targetRef") or {}
    for hpa in autoscalers:
        spec = hpa.get("spec") or {}
        scaled = spec.get("scaleTargetRef") or {}
        if scaled.get("kind") != ref.get("kind", "Deployment"):
            continue
        if scaled.get("name") != ref.get("name"):
            continue
        source = f"HPA {(hpa.get('metadata') or {}).get('name')}"
        for metric in spec.get("metrics") or []:
            found = _of_metric(metric, source)
            if found is not None:
                return found
    return None


def _of_metric(metric: dict[str, Any], source: str) -> HpaTarget | None:
    """``averageUtilization`` of a resource; an ``averageValue`` may be of anything, so it is left
    to ``--hpa-target``."""
    for kind in ("resource", "containerResource"):
        percent = ((metric.get(kind) or {}).get("target") or {}).get("averageUtilization")
        if percent:
            return HpaTarget(utilization=float(percent) / 100, source=source)
    return None
