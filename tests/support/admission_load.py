"""Pods created at a steady rate, and how long the injector took for each, by two accounts: the
hub's own histogram, and the API server's of its webhooks.

Law: pods are created with ``dry-run=server``: every admission runs and nothing is kept, so that it
is the webhook that is measured and not the kubelet's start of three hundred pods.
"""

import asyncio
import base64
import re
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from pod_start import bare_pod
from real_cluster import NAMESPACE, Cluster, ask
from tidegate_wire.names import Metric

RATE = 20.0
"""Pods per second."""
DURATION_S = 15.0
PAGE_PORT = 14131
API_METRIC = "apiserver_admission_webhook_admission_duration_seconds"
WEBHOOK = "labelled-pods.tidegate.io"
LIMIT_S = 0.025
"""A bound of both histograms, so that the share below it is exact."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram's cumulative counts by upper bound in seconds."""

    counts: Mapping[float, float]

    def since(self, before: "Buckets") -> "Buckets":
        counts = {bound: n - before.counts.get(bound, 0) for bound, n in self.counts.items()}
        return Buckets(counts)

    @property
    def total(self) -> float:
        return self.counts.get(float("inf"), 0.0)

    def share_within(self, bound_s: float) -> float:
        """Exact, for one of its bounds."""
        return self.counts[bound_s] / self.total

    def quantile_s(self, share: float) -> float:
        """As Prometheus estimates it: on a line between a bucket's two bounds."""
        wanted, low_s, below = share * self.total, 0.0, 0.0
        for bound_s, count in sorted(self.counts.items()):
            if count >= wanted:
                if bound_s == float("inf"):
                    return low_s
                inside = (wanted - below) / (count - below) if count > below else 0.0
                return low_s + (bound_s - low_s) * inside
            low_s, below = bound_s, count
        return low_s


@dataclass(frozen=True, slots=True)
class Admission:
    """What a load of pods met."""

    created: int
    rate: float
    """Reached, in pods per second."""
    hub: Buckets
    api_server: Buckets
    """With TLS, the network and the API server's own queueing."""
    injected: int
    """By the API server's answers, which hold the pod as it would have been."""


def read_buckets(text: str, metric: str, **labels: str) -> Buckets:
    """One histogram out of a metrics page, summed over labels that are not given."""
    counts: dict[float, float] = {}
    for line in text.splitlines():
        if not line.startswith(f"{metric}_bucket{{"):
            continue
        found = dict(re.findall(r'(\w+)="([^"]*)"', line))
        if all(found.get(name) == value for name, value in labels.items()):
            bound_s = float(found["le"])
            counts[bound_s] = counts.get(bound_s, 0.0) + float(line.rpartition(" ")[2])
    return Buckets(counts)


def hub_buckets(cluster: Cluster) -> dict[str, Buckets]:
    """Of each hub, by its pod's name."""
    pods = cluster.pods(NAMESPACE, "app.kubernetes.io/component=hub")
    pages = {
        pod["metadata"]["name"]: ask(f"http://{pod['status'].get('podIP')}:{PAGE_PORT}/metrics")
        for pod in pods
    }
    return {
        name: read_buckets(page.text, Metric.WEBHOOK_REVIEW_DURATION)
        for name, page in pages.items()
    }


def added(before: Mapping[str, Buckets], after: Mapping[str, Buckets]) -> Buckets:
    """What all hubs together have counted in between."""
    if before.keys() != after.keys():
        raise AssertionError(f"hubs came or went meanwhile: {sorted(before)}, {sorted(after)}")
    counts: dict[float, float] = {}
    for name, buckets in after.items():
        for bound_s, count in buckets.since(before[name]).counts.items():
            counts[bound_s] = counts.get(bound_s, 0.0) + count
    return Buckets(counts)


def api_buckets(cluster: Cluster) -> Buckets:
    return read_buckets(cluster.kubectl("get", "--raw", "/metrics"), API_METRIC, name=WEBHOOK)


def measure_admission(cluster: Cluster, space: str) -> Admission:
    """Load and two readings."""
    # The first reviews open connections; those are kept, as in a cluster that lives.
    asyncio.run(create_pods(cluster, space, RATE, 2.0))
    hub, api_server = hub_buckets(cluster), api_buckets(cluster)
    began = time.monotonic()
    injected = asyncio.run(create_pods(cluster, space, RATE, DURATION_S))
    took_s = time.monotonic() - began
    return Admission(
        created=len(injected),
        rate=len(injected) / took_s,
        hub=added(hub, hub_buckets(cluster)),
        api_server=api_buckets(cluster).since(api_server),
        injected=sum(injected),
    )


async def create_pods(cluster: Cluster, space: str, rate: float, duration_s: float) -> list[bool]:
    """Open loop: each at its time, whether or not the last one was answered; whether each was
    injected."""
    server, context = credentials(Path(cluster.kubeconfig))
    url = f"{server}/api/v1/namespaces/{space}/pods?dryRun=All"
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def create(number: int) -> bool:
            async with session.post(url, json=bare_pod(f"pod-{number}", inject=True)) as answer:
                body = await answer.json()
                if answer.status != 201:
                    raise AssertionError(f"pod {number}: {answer.status} {body.get('message')}")
                return bool(body["spec"].get("initContainers"))

        loop = asyncio.get_running_loop()
        began, tasks = loop.time(), []
        for number in range(round(rate * duration_s)):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            tasks.append(asyncio.create_task(create(number)))
        return list(await asyncio.gather(*tasks))


def credentials(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """Address and client certificate of the current context."""
    config = yaml.safe_load(kubeconfig.read_text())
    context = named(config["contexts"], config["current-context"])["context"]
    cluster = named(config["clusters"], context["cluster"])["cluster"]
    user = named(config["users"], context["user"])["user"]
    with tempfile.TemporaryDirectory() as folder:

        def file(values: Mapping[str, str], name: str) -> str:
            if name in values:
                return values[name]
            path = Path(folder) / name
            path.write_bytes(base64.b64decode(values[f"{name}-data"]))
            return str(path)

        tls = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
        tls.load_cert_chain(file(user, "client-certificate"), file(user, "client-key"))
    return str(cluster["server"]), tls


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)
