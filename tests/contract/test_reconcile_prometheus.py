"""The real reconciler scales a workload without a single sidecar from a real VictoriaMetrics: by
its figure of now, and with a forecast that begins with its past."""

import math
from pathlib import Path

from reconcile_process import Cluster, ReconcileProcess, Workload, eventually
from victoria_process import VictoriaProcess

DAYS = 3


def samples(now: int) -> str:
    """Two requests per second for days, and eight from now on for as long as a test may last at
    the cluster's clock, which is ahead of the server's."""
    past = ((at, 2) for at in range(now - DAYS * 86400, now, 60))
    coming = ((at, 8) for at in range(now, now + 4 * 3600, 15))
    return "".join(f"edge_rps {value} {at * 1000}\n" for at, value in (*past, *coming))


async def test_a_workload_without_sidecars_is_scaled_from_a_real_server(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster, VictoriaProcess(tmp_path) as server:
        await server.take(samples(math.floor(cluster.clock.now()) // 60 * 60))
        cluster.kube.store.create("namespaces", None, {"metadata": {"name": "edge"}})
        workload = Workload(cluster, "edge")
        workload.deploy(2)
        status = {"status": {"replicas": 2, "readyReplicas": 2}}
        workload.store.patch("deployments.apps", "edge", "llama", status, subresource="status")
        workload.policy(
            metrics={
                "source": "Prometheus",
                "prometheus": {"url": server.url, "query": "sum(edge_rps)"},
            }
        )
        async with ReconcileProcess(cluster, TIDEGATE_LEADER_ELECTION="false") as process:
            await eventually(lambda: workload.replicas >= 4)
            await eventually(lambda: workload.status().get("demand", {}).get("rps") == "8")
            for kind in ("MetricsAvailable", "InjectionHealthy", "SidecarsInSync", "Ready"):
                assert workload.condition(kind)[0] == "True", kind
            (read,) = process.said("history_read")
            assert read["minutes"] > DAYS * 1440 - 10
            await eventually(lambda: "forecast" in workload.status())
            assert workload.condition("ForecastReliable")[1] != "HistoryTooShort"
