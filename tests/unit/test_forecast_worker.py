"""The forecast worker as a process, and its client: a crash or a hang costs freshness only."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from request_series import DAY, daily
from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.forecast.known import NOTHING, Holidays, Known, Regressor
from tidegate_operator.forecast.worker import MEMORY_BYTES
from tidegate_operator.sources.forecaster import Forecaster, ForecastRules
from tidegate_wire.clock import Clock

COUNTS = daily(3)
RULES = ForecastRules(
    enabled=True,
    horizon_s=300.0,
    min_history_s=2 * 86400.0,
    retrain_every_s=3600.0,
)
READY_S = 60.0
"""Real seconds; generous, since a test machine may be busy."""


@pytest.fixture
async def forecaster() -> AsyncIterator[Forecaster]:
    made = Forecaster(Clock(60.0), train_timeout_s=60.0)
    yield made
    await made.close()


async def ask(
    forecaster: Forecaster,
    *,
    counts: Sequence[int | None] = COUNTS,
    rules: ForecastRules = RULES,
    state: Mapping[str, Any] | None = None,
    known: Known = NOTHING,
) -> tuple[Forecast, Mapping[str, Any]]:
    return await forecaster.forecast(
        "shop/chat",
        start_minute=0,
        counts=counts,
        now=60.0 * len(counts),
        rules=rules,
        state=state,
        known=known,
    )


async def until_reliable(
    forecaster: Forecaster, counts: Sequence[int | None] = COUNTS
) -> tuple[Forecast, Mapping[str, Any]]:
    async with asyncio.timeout(READY_S):
        while True:
            forecast, state = await ask(forecaster, counts=counts)
            if forecast.reliable:
                return forecast, state
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("counts", "rules", "reason", "message"),
    [
        pytest.param(
            COUNTS,
            ForecastRules(
                enabled=False,
                horizon_s=300,
                min_history_s=0,
                retrain_every_s=3600,
            ),
            Reason.FORECAST_DISABLED,
            "spec.scaling.forecast.enabled is false",
            id="a policy that wants none gets none",
        ),
        pytest.param(
            COUNTS[:DAY],
            RULES,
            Reason.HISTORY_SHORT,
            "24 hours of history, 48 hours are needed; reactive only",
            id="one day is too short",
        ),
        pytest.param(
            [0] * DAY + COUNTS[: 2 * DAY - 5],
            RULES,
            Reason.HISTORY_SHORT,
            "47.9 hours of history, 48 hours are needed; reactive only",
            id="idle minutes before the first request are no history",
        ),
        pytest.param(
            COUNTS[:DAY] + [None] * 2 * DAY + COUNTS[:300],
            RULES,
            Reason.HISTORY_SHORT,
            "29 hours of history, 48 hours are needed; reactive only",
            id="missing minutes are no history",
        ),
    ],
)
async def test_refused_without_a_worker(
    forecaster: Forecaster,
    counts: list[int | None],
    rules: ForecastRules,
    reason: Reason,
    message: str,
) -> None:
    forecast, _ = await ask(forecaster, counts=counts, rules=rules)
    assert (forecast.reliable, forecast.reason, forecast.message) == (False, reason, message)
    assert forecaster.worker_pid is None


async def test_from_first_training_to_restart(forecaster: Forecaster) -> None:
    """One story, as each chapter starts a process: train, forecast, retrain, die, hang, return."""
    first, _ = await ask(forecaster)
    assert (first.reliable, first.reason) == (False, Reason.TRAINING)

    good, state = await until_reliable(forecaster)
    assert good.reason is Reason.FORECAST_GOOD
    assert sorted(good.quantiles) == [0.5, 0.9, 0.95, 0.98, 0.99]
    assert list(good.quantiles.values()) == sorted(good.quantiles.values())
    assert good.horizon_s == 300.0
    assert good.trained_at == 60.0 * len(COUNTS)
    midnight_rps = 300 * 0.2 / 60
    assert 0.5 * midnight_rps < good.quantiles[0.5] < 2 * midnight_rps
    json.dumps(state)

    again, _ = await ask(forecaster)
    assert again is good, "the same minute is not forecast twice"

    hour_later = [*COUNTS, *COUNTS[:61]]
    began = asyncio.get_running_loop().time()
    quick, state = await ask(forecaster, counts=hour_later)
    assert asyncio.get_running_loop().time() - began < 2.0
    assert quick.trained_at == good.trained_at, "the retraining that is due has only begun"

    assert forecaster.worker_pid is not None
    os.kill(forecaster.worker_pid, signal.SIGKILL)
    died, kept = await ask(forecaster, counts=[*hour_later, 60])
    assert (died.reliable, died.reason) == (False, Reason.FORECAST_FAILED)
    assert "died" in died.message
    assert died.quantiles == quick.quantiles, "still there to be looked at"
    assert kept == state
    await until_reliable(forecaster, [*hour_later, 60])

    assert forecaster.worker_pid is not None
    os.kill(forecaster.worker_pid, signal.SIGSTOP)
    hung, _ = await ask(forecaster, counts=[*hour_later, 60, 61])
    assert (hung.reliable, hung.reason) == (False, Reason.FORECAST_FAILED)
    assert hung.message == "no answer within 3 s"
    await until_reliable(forecaster, [*hour_later, 60, 61])


async def test_a_training_that_hangs_is_ended_at_its_time_out() -> None:
    forecaster = Forecaster(Clock(), train_timeout_s=0.2)  # less than the worker's imports take
    try:
        await ask(forecaster)
        async with asyncio.timeout(READY_S):
            while True:
                forecast, _ = await ask(forecaster)
                if forecast.reason is not Reason.TRAINING:
                    break
                await asyncio.sleep(0.05)
        assert forecast.reason is Reason.FORECAST_FAILED
        assert forecast.message == "training took longer than 0 s"
    finally:
        await forecaster.close()
    assert forecaster.worker_pid is None


async def test_a_training_that_wants_too_much_memory_costs_freshness_only(
    forecaster: Forecaster,
) -> None:
    await ask(forecaster)
    good, _ = await until_reliable(forecaster)
    pid = forecaster.worker_pid
    assert pid is not None
    usual, most = resource.prlimit(pid, resource.RLIMIT_AS)
    assert usual == most == MEMORY_BYTES
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), most))

    later = [*COUNTS, *COUNTS[:61]]  # due for a training
    wide = Known(regressors=(Regressor("wide", 0, (1.0,) * 1_000_000),))
    async with asyncio.timeout(READY_S):
        while True:
            forecast, _ = await ask(forecaster, counts=later, known=wide)
            if forecast.reason is Reason.FORECAST_FAILED:
                break
            await asyncio.sleep(0.05)
    assert forecast.quantiles, "the last one is still there to be looked at"
    assert forecast.made_at >= good.made_at

    if forecaster.worker_pid == pid:
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
    await until_reliable(forecaster, [*later, 60])


@pytest.mark.parametrize(
    ("holidays", "message"),
    [
        pytest.param(Holidays("XX"), "no holidays are known of XX: ", id="no such country"),
        pytest.param(Holidays("DE-ZZ"), "no holidays are known of DE-ZZ: ", id="no such part"),
    ],
)
async def test_holidays_that_nobody_knows_are_said(
    forecaster: Forecaster, holidays: Holidays, message: str
) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            forecast, _ = await ask(forecaster, known=Known(holidays=holidays))
            if forecast.reason is not Reason.TRAINING:
                break
            await asyncio.sleep(0.05)
    assert forecast.reason is Reason.FORECAST_FAILED
    assert forecast.message.startswith(message)


async def test_a_series_that_is_no_help_is_named(forecaster: Forecaster) -> None:
    flat = Known(regressors=(Regressor("flat", 0, (5.0,) * len(COUNTS)),))
    async with asyncio.timeout(READY_S):
        while not (made := (await ask(forecaster, known=flat))[0]).reliable:
            await asyncio.sleep(0.05)
    assert made.message.endswith("; left out since no help: flat")


def talk(*requests: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ask a worker by hand; it ends when its input does."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(
        [sys.executable, "-m", "tidegate_operator.forecast.worker"],
        input=lines,
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_bad_request_gets_an_answer_and_costs_no_other() -> None:
    asked = {"key": "k", "start_minute": 0}
    answers = talk(
        {"id": 1, "op": "predict", **asked, "counts": [1] * 500},
        {"id": 2, "op": "predict", **asked},
        {"id": 3, "op": "forget", "key": "k"},
    )
    assert answers[0]["failure"] == "UnknownKey"
    assert answers[1]["ok"] is False
    assert answers[2] == {"id": 3, "ok": True}


def test_the_operators_side_loads_no_numpy() -> None:
    code = (
        "import sys, tidegate_operator.sources.forecaster;"
        "print([m for m in ('numpy', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
