"""How long it takes to replay two weeks with Tidegate: forecasts with hourly refits, and the loop.

CPU seconds of this process on one core, for the last 14 days of a trace.

    python -m benchmarks.replay_speed [TRACE] [--days 14] [--refit-minutes 60]
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from benchmarks.goals.field import (  # noqa: E402
    LATE,
    PEAK_PODS,
    PEAK_UTILIZATION,
    SHIPPED,
    rules_for,
)
from tidegate_operator.decide.words import LEAD_MARGIN_S  # noqa: E402
from tidegate_operator.forecast.series import DAY  # noqa: E402
from tidegate_operator.replay.ahead import rolled  # noqa: E402
from tidegate_operator.replay.loop import replay  # noqa: E402
from tidegate_operator.replay.ours import Tidegate  # noqa: E402
from tidegate_operator.replay.plant import PlantRules  # noqa: E402
from tidegate_operator.replay.trace import DAY_S, Trace, read_trace  # noqa: E402

TRACE = SHIPPED / "servegen_m_large_1min_semisynth.csv.gz"
BAR_S = 60.0


def prepared(path: Path, days: float, plant: PlantRules) -> Trace:
    """Its last days, at the scale of the closed loop."""
    minutes = read_trace(path).minutes()
    last = minutes.between(max(minutes.start, minutes.end - days * DAY_S), minutes.end)
    return last.scale_to(PEAK_PODS * PEAK_UTILIZATION * plant.pod_rps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", nargs="?", type=Path, default=TRACE)
    parser.add_argument("--days", type=float, default=14)
    parser.add_argument("--refit-minutes", type=int, default=60)
    options = parser.parse_args()
    plant = PlantRules()
    trace = prepared(options.trace, options.days, plant)
    lead_s = plant.cold_start_p90_s + LEAD_MARGIN_S
    horizon = math.ceil(lead_s / 60)
    rules = rules_for(plant, LATE["balanced"])
    begin = int(trace.start // 60)
    rolled(trace.between(trace.start, trace.start + 2.1 * DAY_S), horizon, begin_minute=begin)
    started = time.process_time()  # what is imported on first use is imported by now
    ahead = rolled(trace, horizon, begin_minute=begin, refit_every_minutes=options.refit_minutes)
    forecast_s = time.process_time() - started
    result = replay(trace, plant, Tidegate(rules, ahead, lead_s=lead_s))
    loop_s = time.process_time() - started - forecast_s
    fits = max(0, len(trace) - 2 * DAY) // options.refit_minutes
    print(f"{trace.name}: {len(trace) / DAY:.1f} days, {result.requests:,.0f} requests")
    print(f"  forecasts, {fits} refits   {forecast_s:6.1f} s of CPU")
    print(f"  plant, ledger and decide()  {loop_s:6.1f} s of CPU")
    print(f"  together                    {forecast_s + loop_s:6.1f} s, at most {BAR_S:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
