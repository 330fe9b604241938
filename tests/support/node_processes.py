"""Containers seen from their node: which processes they are, what these hold, and their end.

Law: a container is known by its whole id in a process's cgroup, so that no other is ever touched.
Runs as root on the node itself.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from real_cluster import Object

PROC = Path("/proc")


def container_id(pod: Object, container: str) -> str:
    """Without its runtime's name; raises ``KeyError`` where it never ran."""
    status = pod.get("status", {})
    statuses = [
        *status.get("containerStatuses", []),
        *status.get("initContainerStatuses", []),
    ]
    for each in statuses:
        if each["name"] == container and each.get("containerID"):
            return str(each["containerID"]).partition("://")[2]
    raise KeyError(f"{pod['metadata']['name']} has no running container {container}")


def pids_of(container: str) -> list[int]:
    """Its processes, the oldest first."""
    return sorted(pid for pid, text in _cgroups() if container in text)


def _cgroups() -> Iterator[tuple[int, str]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "cgroup").read_text()
            except OSError:
                continue  # it ended while we looked


def kill_container(pod: Object, container: str) -> int:
    """SIGKILL to its first process, as the kernel does where memory ends; that process's id."""
    pids = pids_of(container_id(pod, container))
    if not pids:
        raise KeyError(f"{pod['metadata']['name']}/{container} has no process on this node")
    os.kill(pids[0], signal.SIGKILL)
    return pids[0]


def memory_mb(pid: int) -> dict[str, float]:
    """``Rss`` and ``Pss`` of a process; the latter divides what is shared among its sharers."""
    figures = {}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            figures[name] = int(rest.split()[0]) / 1024
    return figures


def command_of(pid: int) -> str:
    return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
