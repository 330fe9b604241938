"""Fifty policies on the cluster, and what the operator's processes hold of memory meanwhile.

Law: a process's memory is its PSS (what is its own, and its part of what it shares) as its node
counts it; a container's is the working set, as the kubelet counts it against the limit.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from node_processes import command_of, container_id, memory_mb, pids_of
from preloaded_history import history_of, rushes
from real_cluster import NAMESPACE, Cluster, Object, wait_until
from workloads import deployment, policy

POLICIES = 50
RUNNING = 5
"""Targets that really run; the pods of the others wait for a node that there is not."""
FORECASTING = 10
"""Policies that find a week of history, so that the forecast's worker has something to do."""
SETTLE_S = 60.0
FORECAST_WORKER = "forecast.worker"


@dataclass(frozen=True, slots=True)
class Process:
    command: str
    pss_mb: float
    rss_mb: float

    @property
    def is_worker(self) -> bool:
        return FORECAST_WORKER in self.command


@dataclass(frozen=True, slots=True)
class Container:
    """One container of the operator's and what runs in it."""

    pod: str
    role: str
    """``reconcile`` or ``hub``."""
    leads: bool
    processes: Sequence[Process]
    working_set_mb: float

    @property
    def main_mb(self) -> float:
        """PSS without the forecast's worker."""
        return sum(p.pss_mb for p in self.processes if not p.is_worker)

    @property
    def worker_mb(self) -> float:
        """PSS of the forecast's worker; 0: none runs."""
        return sum(p.pss_mb for p in self.processes if p.is_worker)


def measure_memory(cluster: Cluster, space: str, policies: int = POLICIES) -> list[Container]:
    """Make the policies, give them time, look."""
    apply_policies(cluster, space, policies)
    wait_until(
        f"{policies} policies have a status",
        lambda: told(cluster, space) == policies,
        timeout_s=180,
        every_s=2,
    )
    time.sleep(SETTLE_S)
    return containers(cluster)


def apply_policies(cluster: Cluster, space: str, policies: int) -> None:
    end = math.floor(time.time() / 60)
    manifests: list[Object] = []
    for number in range(policies):
        name = f"model-{number}"
        target = deployment(name, replicas=1)
        if number >= RUNNING:
            target["spec"]["template"]["spec"]["nodeSelector"] = {"no-such": "node"}
        if number < FORECASTING:
            start, counts = rushes(
                end, end + 30, quiet_rps=0.2, rush_rps=2.0, rush_minutes=20, seed=number
            )
            manifests.append(history_of(name, space, start, counts))
        manifests += [target, demanding_policy(name)]
    cluster.apply(*manifests, namespace=space)


def demanding_policy(name: str) -> Object:
    """With every part that has something to remember."""
    scaling = {
        "minReplicas": 1,
        "maxReplicas": 5,
        "capacityPerReplica": "2",
        "forecast": {"enabled": True},
    }
    tenant_day = {
        "name": "tenant-day",
        "scope": "Tenant",
        "limit": {"tokens": 1_000_000},
        "window": {"unit": "Day"},
        "actions": [{"at": "80%", "do": "Warn"}, {"at": "100%", "do": "Block"}],
    }
    return policy(
        name,
        name,
        scaling=scaling,
        budgets=[tenant_day],
        gateway={"identify": {"header": "x-tenant-id"}},
    )


def told(cluster: Cluster, space: str) -> int:
    policies = cluster.get("lqp", "-n", space)["items"]
    return sum(bool(each.get("status", {}).get("conditions")) for each in policies)


def containers(cluster: Cluster) -> list[Container]:
    """All of the operator's, as they are now."""
    leader = leader_pod(cluster)
    working_sets = working_sets_mb(cluster)
    found = []
    for role in ("reconcile", "hub"):
        for pod in cluster.pods(NAMESPACE, f"app.kubernetes.io/component={role}"):
            name = pod["metadata"]["name"]
            processes = [look_at(pid) for pid in pids_of(container_id(pod, role))]
            found.append(
                Container(name, role, name == leader, processes, working_sets.get(name, 0.0))
            )
    return found


def look_at(pid: int) -> Process:
    figures = memory_mb(pid)
    return Process(command_of(pid), figures["Pss"], figures["Rss"])


def leader_pod(cluster: Cluster) -> str:
    """Name of the pod that holds the Lease; empty: nobody does."""
    lease = cluster.find("lease", "tidegate-reconcile", "-n", NAMESPACE) or {}
    return str((lease.get("spec") or {}).get("holderIdentity") or "").partition("_")[0]


def working_sets_mb(cluster: Cluster) -> dict[str, float]:
    """By pod, of the operator's namespace, as the kubelets count them."""
    found = {}
    for node in cluster.get("nodes")["items"]:
        path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
        for pod in json.loads(cluster.kubectl("get", "--raw", path))["pods"]:
            if pod["podRef"]["namespace"] == NAMESPACE:
                used = sum(c["memory"].get("workingSetBytes", 0) for c in pod["containers"])
                found[pod["podRef"]["name"]] = used / 1e6
    return found
