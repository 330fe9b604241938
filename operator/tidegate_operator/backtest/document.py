"""A backtest as JSON: names that scripts may rely on.

Law: docs/backtest.md describes every key; a key is added, never renamed. ``results`` has the keys
of ``make bench-forecast --json``.
"""

from typing import Any

from tidegate_operator.backtest.compete import Backtest
from tidegate_operator.backtest.field import Kind, Outcome
from tidegate_operator.backtest.verdict import saving
from tidegate_operator.replay.result import Result


def document(played: Backtest, *, price: float | None, unmet: tuple[str, ...]) -> dict[str, Any]:
    """``price`` is per pod and hour; ``unmet`` is what was asked for and not reached."""
    found, judged = played.found, played.history.judged
    return {
        "trace": played.history.whole.name,
        "judged": {"start": judged.start, "end": judged.end, "days": round(found.days, 3)},
        "allowed_violations": found.allowed,
        "verdict": {
            "pays": played.verdict.pays,
            "sentence": played.verdict.sentence,
            "because": list(played.verdict.because),
        },
        "met": not unmet,
        "unmet": list(unmet),
        "forecast_trusted": None if found.trust is None else round(found.trust.share, 4),
        "assumptions": [
            {"name": told.name, "value": told.value, "source": told.source}
            for told in played.assumed.told
        ],
        "notes": list(played.history.notes),
        "results": [_row(played, outcome, outcome.result, price) for outcome in played.outcomes],
        "learning": [
            _row(played, outcome, outcome.before, price)
            for outcome in played.outcomes
            if outcome.before is not None
        ],
    }


def _row(
    played: Backtest, outcome: Outcome, result: Result, price: float | None
) -> dict[str, Any]:
    hpa = played.found.outcomes[Kind.HPA]
    beside = hpa.result if result is outcome.result or hpa.before is None else hpa.before
    return {
        "trace": played.history.whole.name,
        "controller": str(outcome.kind),
        "label": outcome.label,
        "pod_hours": round(result.pod_hours, 2),
        "cost": None if price is None else round(result.pod_hours * price, 2),
        "saving": round(saving(result, beside), 4),
        "requests": round(result.requests),
        "violations": round(result.violations, 6),
        "slo_attained": round(result.slo_attained, 6),
        "wait_p50_s": result.wait_p50_s,
        "wait_p95_s": result.wait_p95_s,
        "wait_p99_s": result.wait_p99_s,
        "slo_minutes": result.slo_minutes,
        "scale_ups": result.scale_ups,
        "scale_downs": result.scale_downs,
        "scale_ups_ahead_of_load": result.scale_ups_ahead_of_load,
    }
