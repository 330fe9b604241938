"""The process that fits and forecasts, so that scikit-learn's 130 MB, its seconds of import and
its crashes stay here.

Law: it ends when its stdin does, so no worker outlives its operator; nothing but answers goes to
its stdout; every request gets an answer. Trainings run one at a time beside the forecasts, which
never wait for them.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

from tidegate_operator.forecast.known import Known
from tidegate_operator.forecast.wire import Failure, Op

MEMORY_BYTES = 1024**3
"""Address space; two weeks of minutes take 0.45 GB of it, and 155 MB of memory."""
RETRAIN_NICENESS = 10
"""For a refit while an older model still answers; the first fit is awaited and runs at full
priority."""
SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Set before numpy loads: more threads made 5,000 rows slower and stole cores from the proxy."""


class Worker:
    """Reads requests, answers them."""

    def __init__(self, answers: BinaryIO) -> None:
        from tidegate_operator.forecast.engine import Engine

        self._answers = answers
        self._engine = Engine()
        self._writing = threading.Lock()
        self._using = threading.Lock()
        """Held while models or records are read or replaced: milliseconds."""
        self._fitting = threading.Lock()
        """Held through a training: seconds."""

    def serve(self, requests: BinaryIO) -> None:
        for line in requests:
            request = json.loads(line)
            if request["op"] == Op.TRAIN:
                threading.Thread(target=self._handle, args=(request,), daemon=True).start()
            else:
                self._handle(request)

    def _handle(self, request: Mapping[str, Any]) -> None:
        from tidegate_operator.forecast.beside import HolidaysError
        from tidegate_operator.forecast.engine import UnknownKeyError
        from tidegate_operator.forecast.quantiles import TooFewRowsError
        from tidegate_operator.forecast.series import SeriesError

        try:
            answer: dict[str, Any] = {"ok": True, **self._do(request)}
        except TooFewRowsError as error:
            answer = _failure(Failure.TOO_SHORT, str(error))
        except UnknownKeyError as error:
            answer = _failure(Failure.UNKNOWN_KEY, f"nothing trained for {error}")
        except (SeriesError, HolidaysError) as error:
            answer = _failure(Failure.BAD_INPUT, str(error))
        except Exception as error:  # noqa: BLE001 - the process's edge: one request fails
            answer = _failure(Failure.FAILED, f"{type(error).__name__}: {error}")
        line = json.dumps({"id": request["id"], **answer}).encode() + b"\n"
        with self._writing:
            self._answers.write(line)
            self._answers.flush()

    def _do(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["op"] == Op.TRAIN:
            return self._train(request)
        with self._using:
            if request["op"] == Op.PREDICT:
                return self._predict(request)
            self._engine.forget(request["key"])
            return {}

    def _train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        from tidegate_operator.forecast.engine import learn

        key, horizon = request["key"], request["horizon"]
        with self._fitting:
            with self._using:
                again = self._engine.knows(key, horizon)
            if again:
                # Linux gives each thread a niceness of its own, so the forecasts keep theirs.
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), RETRAIN_NICENESS)
            began = time.monotonic()
            learned = learn(
                request["start_minute"],
                request["counts"],
                horizon,
                state=request["state"],
                record=not again,
                known=Known.from_json(request.get("known")),
            )
            fit_s = time.monotonic() - began
        model = learned.model
        with self._using:
            self._engine.install(key, learned)
            return {
                "state": self._engine.state(key),
                "fit_s": round(fit_s, 3),
                "dropped": [n for n in model.gains if n not in model.regressors],
            }

    def _predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        key = request["key"]
        made = self._engine.predict(
            key,
            request["start_minute"],
            request["counts"],
            Known.from_json(request.get("known")),
        )
        answer = {
            "end_minute": made.end_minute,
            "horizon": made.horizon,
            "quantiles": {str(q): value for q, value in made.quantiles.items()},
            "skill": made.skill,
            "coverage": made.coverage,
            "verdict": str(made.verdict),
            "message": made.message,
        }
        if self._engine.changed(key, made.end_minute):
            answer["state"] = self._engine.state(key)
        return answer


def _failure(failure: Failure, message: str) -> dict[str, Any]:
    return {"ok": False, "failure": str(failure), "message": message}


def main() -> int:
    for variable in SINGLE_THREADED:
        os.environ[variable] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # Ctrl-C reaches the whole group of a terminal; the operator ends us by closing stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not break the protocol
    # Imported before the first request, which then finds it done: seconds on a cold disk.
    import sklearn.ensemble  # noqa: F401

    Worker(answers).serve(sys.stdin.buffer)
    os._exit(0)  # a training that is under way has nobody left to tell


if __name__ == "__main__":
    sys.exit(main())
