"""How long the operator is without a forecast after a restart: from nothing but a workload's
history, and with the state that its checkpoint keeps.

Wall clock from the start of the forecaster (its process not yet begun) to the first forecast that
is trusted, on the last 14 days of a trace; the median of some restarts.

    python -m benchmarks.restart [TRACE] [--restarts 3]
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.replay_speed import TRACE, prepared
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.sources.forecaster import Forecaster, ForecastRules
from tidegate_wire.clock import Clock

BAR_S = 5.0
ASK_EVERY_S = 0.05
GIVE_UP_S = 120.0
RULES = ForecastRules(
    enabled=True, horizon_s=300.0, min_history_s=48 * 3600.0, retrain_every_s=3600.0
)


async def restart(
    counts: list[int | None], start_minute: int, state: Mapping[str, Any] | None
) -> tuple[float, Mapping[str, Any]]:
    """Seconds until a forecast is trusted, and the state to be kept.

    Raises:
        TimeoutError: none was within ``GIVE_UP_S``.
    """
    now = 60.0 * (start_minute + len(counts))
    forecaster = Forecaster(Clock(), train_timeout_s=GIVE_UP_S)
    began = time.perf_counter()
    try:
        while time.perf_counter() - began < GIVE_UP_S:
            forecast, kept = await forecaster.forecast(
                "w", start_minute=start_minute, counts=counts, now=now, rules=RULES, state=state
            )
            if forecast.reliable:
                return time.perf_counter() - began, kept
            await asyncio.sleep(ASK_EVERY_S)
    finally:
        await forecaster.close()
    raise TimeoutError(f"no trusted forecast within {GIVE_UP_S:g} s: {forecast.message}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trace", nargs="?", type=Path, default=TRACE)
    parser.add_argument("--restarts", type=int, default=3)
    options = parser.parse_args()
    trace = prepared(options.trace, 14, PlantRules())
    counts = [None if count is None else round(count) for count in trace.requests]
    start_minute = int(trace.start // 60)
    bare, kept = [], []
    for _ in range(options.restarts):
        took_s, state = asyncio.run(restart(counts, start_minute, None))
        bare.append(took_s)
        written = json.loads(json.dumps(state))
        kept.append(asyncio.run(restart(counts, start_minute, written))[0])
    with_state_s = statistics.median(kept)
    print(f"{trace.name}: {len(counts) / 1440:.1f} days, {options.restarts} restarts")
    print(f"  from the history alone      {statistics.median(bare):5.2f} s")
    print(f"  with the checkpoint's state {with_state_s:5.2f} s, at most {BAR_S:g}")
    return 0 if with_state_s <= BAR_S else 1


if __name__ == "__main__":
    sys.exit(main())
