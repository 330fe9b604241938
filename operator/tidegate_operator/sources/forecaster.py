"""SHELL: asks the forecast worker, and lives on when it does not answer.

Law: asking never waits for a training; a worker that crashes or hangs costs the freshness of a
forecast and nothing else. It is ended, started anew with a growing pause, and what it knew comes
back from history and the last state.

Time-outs are in real seconds (a fit takes as long at 60x); when to retrain is in the clock's.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.forecast.history import shortage
from tidegate_operator.forecast.known import NOTHING, Known
from tidegate_operator.forecast.wire import PREDICT_MINUTES, VERDICTS, Failure, Op
from tidegate_operator.sources.forecast_worker import WorkerDiedError, WorkerProcess
from tidegate_wire.clock import Clock

PREDICT_TIMEOUT_S = 3.0
"""Real seconds; a forecast takes 20 ms, even beside a training."""
RETRY_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Real seconds before another try after the first, second, ... failure in a row."""
MAX_HORIZON_MINUTES = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRules:
    """``spec.scaling.forecast`` as values."""

    enabled: bool
    horizon_s: float
    """How far ahead demand matters: cold start and 2 minutes."""
    min_history_s: float
    retrain_every_s: float


@dataclass(slots=True)
class _Workload:
    """What is known here of one key."""

    horizon: int | None = None
    """Of the model that the worker holds; ``None``: it holds none."""
    trained_at: float | None = None
    training: asyncio.Task[None] | None = None
    failures: int = 0
    retry_at: float = 0.0
    """On the event loop's clock."""
    problem: tuple[Reason, str] | None = None
    dropped: tuple[str, ...] = ()
    """Regressors that made the model no better."""
    state: Mapping[str, Any] = field(default_factory=dict)
    last: Forecast | None = None
    last_end: int | None = None


class Forecaster:
    """Forecasts for any number of workloads through one worker process, started when first
    needed."""

    def __init__(self, clock: Clock, *, train_timeout_s: float) -> None:
        self._clock = clock
        self._train_timeout_s = train_timeout_s
        self._workloads: dict[str, _Workload] = {}
        self._worker = WorkerProcess()

    @property
    def worker_pid(self) -> int | None:
        """``None`` while no worker runs."""
        return self._worker.pid

    async def forecast(
        self,
        key: str,
        *,
        start_minute: int,
        counts: Sequence[int | None],
        now: float,
        rules: ForecastRules,
        state: Mapping[str, Any] | None,
        known: Known = NOTHING,
    ) -> tuple[Forecast, Mapping[str, Any]]:
        """The newest forecast and the state to keep; never waits for a training.

        Args:
            counts: requests of whole, ended minutes from ``start_minute`` on; ``None`` is a
            missing one. state: what an earlier call gave back, maybe in an earlier process; used
            once.
        """
        workload = self._workloads.setdefault(key, _Workload(state=state or {}))
        horizon = max(1, min(MAX_HORIZON_MINUTES, math.ceil(rules.horizon_s / 60 - 1e-9)))
        refusal = self._refusal(counts, rules)
        if refusal is None:
            self._train_if_due(key, workload, start_minute, counts, now, horizon, rules, known)
            if workload.horizon is not None:
                refusal = await self._predict(key, workload, start_minute, counts, now, known)
                if refusal is None and workload.last is not None:
                    return workload.last, workload.state
            else:
                refusal = workload.problem or (Reason.TRAINING, "the first model is being fitted")
        reason, message = refusal or (Reason.FORECAST_FAILED, "no forecast was made")
        return _unusable(workload, now, horizon, reason, message), workload.state

    async def forget(self, key: str) -> None:
        """Drop all that is known of ``key``, here and in the worker."""
        workload = self._workloads.pop(key, None)
        if workload is None:
            return
        if workload.training is not None:
            workload.training.cancel()
        if self._worker.pid is not None:
            try:
                await self._worker.ask({"op": Op.FORGET, "key": key}, PREDICT_TIMEOUT_S)
            except (WorkerDiedError, TimeoutError):
                await self._end_worker()

    async def close(self) -> None:
        """End the worker and every training; idempotent."""
        trainings = [w.training for w in self._workloads.values() if w.training is not None]
        for training in trainings:
            training.cancel()
        await asyncio.gather(*trainings, return_exceptions=True)
        await self._end_worker()

    @staticmethod
    def _refusal(counts: Sequence[int | None], rules: ForecastRules) -> tuple[Reason, str] | None:
        if not rules.enabled:
            return Reason.FORECAST_DISABLED, "spec.scaling.forecast.enabled is false"
        short = shortage(counts, rules.min_history_s)
        if short:
            return Reason.HISTORY_SHORT, short
        return None

    def _train_if_due(
        self,
        key: str,
        workload: _Workload,
        start_minute: int,
        counts: Sequence[int | None],
        now: float,
        horizon: int,
        rules: ForecastRules,
        known: Known,
    ) -> None:
        if workload.training is not None and not workload.training.done():
            return
        if asyncio.get_running_loop().time() < workload.retry_at:
            return
        held, at = workload.horizon, workload.trained_at
        fresh = (
            held is not None
            and at is not None
            and 0 <= now - at < rules.retrain_every_s
            # A measured cold start wavers; one minute too long is harmless, one too short is not.
            and held - 1 <= horizon <= held
        )
        if not fresh:
            request = {
                "op": Op.TRAIN,
                "key": key,
                "start_minute": start_minute,
                "counts": list(counts),
                "known": known.to_json(),
                "horizon": horizon,
                "state": dict(workload.state) or None,
            }
            workload.training = asyncio.create_task(self._train(workload, request, now))

    async def _train(self, workload: _Workload, request: Mapping[str, Any], now: float) -> None:
        try:
            answer = await self._worker.ask(request, self._train_timeout_s)
        except TimeoutError:
            message = f"training took longer than {self._train_timeout_s:.0f} s"
            self._failed(workload, Reason.FORECAST_FAILED, message)
            await self._end_worker()
        except WorkerDiedError as error:
            self._failed(workload, Reason.FORECAST_FAILED, str(error))
            await self._end_worker()
        else:
            if not answer["ok"]:
                short = answer["failure"] == Failure.TOO_SHORT
                reason = Reason.HISTORY_SHORT if short else Reason.FORECAST_FAILED
                self._failed(workload, reason, answer["message"])
                return
            workload.horizon = request["horizon"]
            workload.trained_at = now
            workload.failures, workload.problem = 0, None
            workload.state = answer["state"]
            workload.dropped = tuple(answer["dropped"])
            workload.last_end = None

    async def _predict(
        self,
        key: str,
        workload: _Workload,
        start_minute: int,
        counts: Sequence[int | None],
        now: float,
        known: Known,
    ) -> tuple[Reason, str] | None:
        """Bring ``workload.last`` up to date; else why not."""
        end = start_minute + len(counts)
        if workload.last_end == end:
            return None
        begin = max(0, len(counts) - PREDICT_MINUTES)
        request = {
            "op": Op.PREDICT,
            "key": key,
            "start_minute": start_minute + begin,
            "counts": list(counts[begin:]),
            "known": known.since(start_minute + begin).to_json(),
        }
        try:
            answer = await self._worker.ask(request, PREDICT_TIMEOUT_S)
        except (TimeoutError, WorkerDiedError) as error:
            hung = isinstance(error, TimeoutError)
            message = f"no answer within {PREDICT_TIMEOUT_S:.0f} s" if hung else str(error)
            self._failed(workload, Reason.FORECAST_FAILED, message)
            await self._end_worker()
            return Reason.FORECAST_FAILED, message
        if not answer["ok"]:
            if answer["failure"] == Failure.UNKNOWN_KEY:
                workload.horizon = None
            return Reason.FORECAST_FAILED, answer["message"]
        workload.state = answer.get("state", workload.state)
        workload.last, workload.last_end = _from_answer(answer, workload, now), end
        return None

    def _failed(self, workload: _Workload, reason: Reason, message: str) -> None:
        pause_s = RETRY_S[min(workload.failures, len(RETRY_S) - 1)]
        workload.failures += 1
        workload.retry_at = asyncio.get_running_loop().time() + pause_s
        workload.problem = (reason, message)

    async def _end_worker(self) -> None:
        """Every model went with it: each workload is trained anew when it is next asked for."""
        for workload in self._workloads.values():
            workload.horizon = None
            workload.last_end = None
        await self._worker.end()


def _from_answer(answer: Mapping[str, Any], workload: _Workload, now: float) -> Forecast:
    reason = VERDICTS[answer["verdict"]]
    return Forecast(
        made_at=now,
        horizon_s=60.0 * answer["horizon"],
        quantiles={float(q): value for q, value in answer["quantiles"].items()},
        reliable=reason is Reason.FORECAST_GOOD,
        reason=reason,
        message=_with_dropped(answer["message"], workload.dropped),
        skill=answer["skill"],
        coverage=answer["coverage"],
        trained_at=workload.trained_at,
    )


def _with_dropped(message: str, dropped: Sequence[str]) -> str:
    if not dropped:
        return message
    return f"{message}; left out since no help: {', '.join(dropped)}"


def _unusable(
    workload: _Workload, now: float, horizon: int, reason: Reason, message: str
) -> Forecast:
    """Says why; the last quantiles stay visible with the time they were made at."""
    last = workload.last
    return Forecast(
        made_at=now if last is None else last.made_at,
        horizon_s=60.0 * horizon,
        quantiles={} if last is None else last.quantiles,
        reliable=False,
        reason=reason,
        message=message,
        trained_at=workload.trained_at,
    )
