"""Pod-hours and SLO violations of Kubernetes' HPA and of Tidegate on a request trace.

The loop runs in simulated time. The HPA is given the target that would have suited this very trace
best, known only in hindsight; Tidegate runs on its defaults. Pods are paid from their creation; a
violation is a request that waits longer than the SLO or is dropped.

    python -m benchmarks.closed_loop [TRACE ...] [--cold-start 180] [--days 5] [--json FILE]
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import tidegate_operator.demo  # noqa: E402
from tidegate_operator.decide.rungs import ModelRule  # noqa: E402
from tidegate_operator.decide.words import LEAD_MARGIN_S, Mode, Rules, ScalingRules  # noqa: E402
from tidegate_operator.forecast.series import DAY  # noqa: E402
from tidegate_operator.replay.ahead import no_forecast, rolled  # noqa: E402
from tidegate_operator.replay.control import Controller  # noqa: E402
from tidegate_operator.replay.hpa import Hpa, HpaRules  # noqa: E402
from tidegate_operator.replay.loop import replay  # noqa: E402
from tidegate_operator.replay.oracle import Oracle  # noqa: E402
from tidegate_operator.replay.ours import Tidegate  # noqa: E402
from tidegate_operator.replay.plant import PlantRules  # noqa: E402
from tidegate_operator.replay.result import Result  # noqa: E402
from tidegate_operator.replay.trace import read_trace  # noqa: E402

SHIPPED = Path(tidegate_operator.demo.__file__).parent / "data"
PEAK_PODS = 20
PEAK_UTILIZATION = 0.7
"""The 99.5th-percentile minute needs 20 pods at 70 %."""
HPA_TARGETS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85)
"""Shares of a pod's capacity."""
ALLOWED = (0.01, 0.005)
HORIZON_MARGIN_MINUTES = 2


def rules_for(plant: PlantRules, quantile: float) -> Rules:
    return Rules(
        mode=Mode.ENFORCE,
        models=(ModelRule(name="m"),),
        scaling=ScalingRules(
            max_replicas=200,
            capacity_rps=plant.pod_rps,
            wait_target_s=plant.slo_wait_s,
            wait_percentile=0.95,
            quantile=quantile,
        ),
    )


def compare(path: Path, cold_start_s: float, days: int) -> dict[str, Any]:
    plant = PlantRules(cold_start_s=cold_start_s)
    whole = read_trace(path).minutes()
    whole = whole.scale_to(PEAK_PODS * PEAK_UTILIZATION * plant.pod_rps)
    begin = whole.end - days * 86400
    part = whole.between(begin, whole.end)
    horizon = int(-(-cold_start_s // 60)) + HORIZON_MARGIN_MINUTES
    lead_s = plant.cold_start_p90_s + LEAD_MARGIN_S
    ahead = rolled(whole, horizon, begin_minute=int(begin // 60), refit_every_minutes=DAY)
    rows: list[tuple[str, Controller]] = [
        ("oracle", Oracle(trace=part, plant=plant, utilization=0.95)),
        *(("hpa", Hpa(HpaRules(target_rps=share * plant.pod_rps))) for share in HPA_TARGETS),
        ("reactive", Tidegate(rules_for(plant, 0.95), no_forecast, "reactive", lead_s)),
    ]
    for name, quantile in (("lean", 0.90), ("balanced", 0.95), ("strict", 0.99)):
        rows.append(
            (name, Tidegate(rules_for(plant, quantile), ahead, f"Tidegate {name}", lead_s))
        )
    results = [(kind, replay(part, plant, controller)) for kind, controller in rows]
    said = [ahead(begin + 60.0 * minute) for minute in range(days * DAY)]
    held = sum(f is not None and f.reliable for f in said) / len(said)
    return {
        "trace": path.name,
        "days": days,
        "trusted_share": round(held, 3),
        "rows": [_row(kind, result) for kind, result in results],
        "best_hpa": {str(a): _best(results, a) for a in ALLOWED},
    }


def _row(kind: str, result: Result) -> dict[str, Any]:
    return {
        "kind": kind,
        "controller": result.controller,
        "pod_hours": round(result.pod_hours, 1),
        "violations": round(result.violations, 5),
        "wait_p99_s": result.wait_p99_s,
        "scale_ups": result.scale_ups,
        "scale_ups_ahead_of_load": result.scale_ups_ahead_of_load,
    }


def _best(results: list[tuple[str, Result]], allowed: float) -> float | None:
    good = [r.pod_hours for kind, r in results if kind == "hpa" and r.violations <= allowed]
    return round(min(good), 1) if good else None


def show(outcome: dict[str, Any]) -> None:
    trusted = f"forecast trusted {outcome['trusted_share']:.0%} of the time"
    print(f"{outcome['trace']}: last {outcome['days']} days, {trusted}")
    heads = f"{'pod-hours':>10}{'violations':>12}{'p99 wait':>10}{'ups (ahead)':>14}"
    print(f"  {'controller':<32}{heads}")
    for row in outcome["rows"]:
        ups = f"{row['scale_ups']} ({row['scale_ups_ahead_of_load']})"
        print(
            f"  {row['controller']:<32}{row['pod_hours']:>10.1f}{row['violations']:>11.2%}"
            f"{row['wait_p99_s']:>9.0f}s{ups:>14}"
        )
    for allowed, hours in outcome["best_hpa"].items():
        best = "none" if hours is None else f"{hours:.1f} pod-hours"
        print(f"  best HPA at <= {float(allowed):.1%} violations: {best}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="*", type=Path, default=sorted(SHIPPED.glob("*.csv.gz")))
    parser.add_argument("--cold-start", type=float, default=180.0, help="seconds")
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    outcomes = [compare(path, options.cold_start, options.days) for path in options.traces]
    for outcome in outcomes:
        show(outcome)
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
