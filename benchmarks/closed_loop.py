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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import tidegate_operator.demo  # noqa: E402
from tidegate_operator.decide.rungs import ModelRule  # noqa: E402
from tidegate_operator.decide.words import (  # noqa: E402
    Forecast,
    Mode,
    Reason,
    Rules,
    ScalingRules,
)
from tidegate_operator.forecast import engine, select  # noqa: E402
from tidegate_operator.forecast.calibrate import Track  # noqa: E402
from tidegate_operator.forecast.quantiles import QUANTILES, limit  # noqa: E402
from tidegate_operator.forecast.series import DAY, Series, clean  # noqa: E402
from tidegate_operator.replay.control import Controller, Oracle  # noqa: E402
from tidegate_operator.replay.hpa import Hpa, HpaRules  # noqa: E402
from tidegate_operator.replay.loop import Result, replay  # noqa: E402
from tidegate_operator.replay.ours import Tidegate, no_forecast  # noqa: E402
from tidegate_operator.replay.plant import PlantRules  # noqa: E402
from tidegate_operator.replay.trace import Trace, read_trace  # noqa: E402

SHIPPED = Path(tidegate_operator.demo.__file__).parent / "data"
PEAK_PODS = 20
PEAK_UTILIZATION = 0.7
"""The 99.5th-percentile minute needs 20 pods at 70 %."""
HPA_TARGETS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85)
"""Shares of a pod's capacity."""
ALLOWED = (0.01, 0.005)
HORIZON_MARGIN_MINUTES = 2
RESCORE_MINUTES = 15


@dataclass(frozen=True)
class Rolled:
    """What a forecaster that runs since day 0 would have said in each minute."""

    forecasts: dict[int, Forecast]

    def __call__(self, now: float) -> Forecast | None:
        return self.forecasts.get(int(now // 60))


def roll(trace: Trace, begin_minute: int, horizon: int) -> Rolled:
    """Refitted daily, calibrated and scored as in operation, from three days earlier on."""
    start = int(trace.start // 60)
    series = clean(start, trace.requests)
    offset = series.start_minute
    track = Track(horizon)
    begin = max(0, begin_minute - engine.SEED_MINUTES - offset)
    forecasts: dict[int, Forecast] = {}
    verdict, message, score = select.Verdict.SHORT, "", None
    for t, issued in engine.roll(series, track, begin, refit_every=DAY):
        if t % RESCORE_MINUTES == 0:
            score = select.score(track.samples, offset + t)
            verdict, message = select.judge(score, track.trusted)
            track.trusted = verdict is select.Verdict.GOOD
        good = verdict is select.Verdict.GOOD
        most = limit(Series(offset, series.values, series.known), t + 1)
        forecasts[offset + t + 1] = Forecast(
            made_at=60.0 * (offset + t + 1),
            horizon_s=60.0 * horizon,
            quantiles={q: min(v, most) / 60 for q, v in zip(QUANTILES, issued, strict=True)},
            reliable=good,
            reason=Reason.FORECAST_GOOD if good else Reason.NO_SKILL,
            message=message,
            skill=score.skill if score else None,
            coverage=score.coverage if score else None,
        )
    return Rolled(forecasts)


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
    rolled = roll(whole, int(begin // 60), horizon)
    rows: list[tuple[str, Controller]] = [
        ("oracle", Oracle(trace=part, plant=plant, utilization=0.95)),
        *(("hpa", Hpa(HpaRules(target_rps=share * plant.pod_rps))) for share in HPA_TARGETS),
        ("reactive", Tidegate(rules_for(plant, 0.95), plant.service_s, no_forecast, "reactive")),
    ]
    for name, quantile in (("lean", 0.90), ("balanced", 0.95), ("strict", 0.99)):
        tidegate = Tidegate(
            rules_for(plant, quantile), plant.service_s, rolled, f"Tidegate {name}"
        )
        rows.append((name, tidegate))
    results = [(kind, replay(part, plant, controller)) for kind, controller in rows]
    held = sum(f.reliable for f in rolled.forecasts.values()) / len(rolled.forecasts)
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
        "pod_hours": round(result.pod_minutes / 60, 1),
        "violations": round(result.violations, 5),
        "wait_p99_s": result.wait_p99_s,
        "scale_ups": result.scale_ups,
        "scale_ups_ahead_of_load": result.scale_ups_ahead_of_load,
    }


def _best(results: list[tuple[str, Result]], allowed: float) -> float | None:
    good = [r.pod_minutes / 60 for kind, r in results if kind == "hpa" and r.violations <= allowed]
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
