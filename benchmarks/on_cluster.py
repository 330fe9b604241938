"""What Tidegate costs on a real Kubernetes: ``python -m benchmarks.on_cluster``.

Law: it runs against the cluster of ``KUBECONFIG`` (or the one that lies beside the checkout), on
the node itself, in a namespace of its own that it deletes. The same measurements are held to their
limits by ``tests/e2e/test_numbers.py``.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from admission_load import LIMIT_S, Admission, measure_admission  # noqa: E402
from memory_in_use import Container, measure_memory  # noqa: E402
from pod_start import PAIRS, PodStart, measure_pod_start  # noqa: E402
from real_cluster import Cluster, find_cluster, namespace  # noqa: E402

SPACE = "tidegate-figures"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
WHAT = ("start", "webhook", "memory")


def start_figures(start: PodStart) -> dict[str, Any]:
    return {
        "pairs": len(start.pairs),
        "with_median_s": start.with_median_s,
        "without_median_s": start.without_median_s,
        "added_median_s": start.added_median_s,
        "added_p99_s": start.added_p99_s,
    }


def webhook_figures(admission: Admission) -> dict[str, Any]:
    return {
        "pods": admission.created,
        "pods_per_s": admission.rate,
        "injected": admission.injected,
        "hub_p99_ms": admission.hub.quantile_s(0.99) * 1000,
        "hub_share_within_25_ms": admission.hub.share_within(LIMIT_S),
        "api_server_p99_ms": admission.api_server.quantile_s(0.99) * 1000,
        "api_server_share_within_25_ms": admission.api_server.share_within(LIMIT_S),
    }


def memory_figures(containers: Sequence[Container]) -> dict[str, Any]:
    return {
        f"{each.role} {each.pod}{' (leads)' if each.leads else ''}": {
            "main_pss_mb": each.main_mb,
            "forecast_worker_pss_mb": each.worker_mb,
            "container_working_set_mb": each.working_set_mb,
        }
        for each in containers
    }


def show(told: dict[str, Any], title: str, console: Console) -> None:
    table = Table("what", "figure", title=title, title_justify="left")
    for name, value in told.items():
        if isinstance(value, dict):
            text = ", ".join(f"{n} {v:.0f}" for n, v in value.items())
        else:
            text = f"{value:.3f}" if isinstance(value, float) else str(value)
        table.add_row(name, text)
    console.print(table)


@contextmanager
def space(cluster: Cluster) -> Iterator[str]:
    with namespace(cluster, SPACE, RESTRICTED) as name:
        yield name


def measure(cluster: Cluster, what: str, pairs: int) -> tuple[str, dict[str, Any]]:
    """A title and its figures."""
    with space(cluster) as name:
        if what == "start":
            return "Pod start", start_figures(measure_pod_start(cluster, name, pairs))
        if what == "webhook":
            return "Injection webhook", webhook_figures(measure_admission(cluster, name))
        return "Memory with 50 policies", memory_figures(measure_memory(cluster, name))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_cluster", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"some of: {', '.join(WHAT)} (default: all)")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"of pods (default {PAIRS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if unknown := set(options.what) - set(WHAT):
        parser.error(f"what must be some of {', '.join(WHAT)}, was: {', '.join(sorted(unknown))}")
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        cluster = find_cluster(os.environ)
    except LookupError as error:
        print(f"benchmarks.on_cluster: {error}", file=sys.stderr)
        return 1
    figures: dict[str, Any] = {"load_average_before": os.getloadavg()[0], "cores": os.cpu_count()}
    for what in options.what or WHAT:
        title, told = measure(cluster, what, options.pairs)
        figures[what] = told
        show(told, title, console)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
