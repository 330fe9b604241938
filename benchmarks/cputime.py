"""What processes cost, read from /proc.

Law: CPU time, never a wall clock; a whole process tree, so that no worker is forgotten.
"""

import os
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    cpu_s: float
    """User and system, of the process and of those children that it has waited for."""


def tree_cpu_s(root: int) -> float:
    """CPU seconds that a process and all that descend from it have used so far."""
    stats = _all_stats()
    return sum(stats[pid].cpu_s for pid in _tree(root, stats))


def tree_pss_mb(root: int) -> float:
    """Memory of a process tree, shared pages divided among those who share them."""
    total_kb = 0
    for pid in _tree(root, _all_stats()):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kb += int(line.split()[1])
    return total_kb / 1024


def machine_busy_s() -> float:
    """CPU seconds that the whole machine has spent on anything."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(word) for word in (PROC / "stat").read_text().split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) * TICK_S


def cpu_model() -> str:
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine


def _all_stats() -> dict[int, _Stat]:
    stats = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                raw = (entry / "stat").read_text()
            except OSError:
                continue  # It ended while we looked.
            # The second field is the name in brackets and may hold anything, brackets too.
            words = raw.rpartition(")")[2].split()
            stats[int(entry.name)] = _Stat(int(words[1]), sum(map(int, words[11:15])) * TICK_S)
    return stats


def _tree(root: int, stats: dict[int, _Stat]) -> list[int]:
    found, left = [], [root]
    while left:
        pid = left.pop()
        if pid in stats:
            found.append(pid)
            left += [child for child, stat in stats.items() if stat.parent == pid]
    return found
