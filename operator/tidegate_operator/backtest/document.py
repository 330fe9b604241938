"""A backtest as JSON: names that scripts may rely on.

Law: docs/backtest.md describes every key; a key is added, never renamed. ``results`` has the keys
of ``make bench-forecast --json``.
"""

from typing import Any

from tidegate_operator.backtest.compete import Backtest
from tidegate_operator.backtest.field import Kind, Outcome
from tidegate_operator.backtest.verdict import saving


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
        "results": [_row(played, outcome, price) for outcome in played.outcomes],
        "learning": [_row(played, outcome, price) for outcome in played.learning.values()],
    }


def _row(played: Backtest, outcome: Outcome, price: float | None) -> dict[str, Any]:
    result = outcome.result
    own = played.learning if outcome is played.learning.get(outcome.kind) else None
    hpa = (own or played.found.outcomes)[Kind.HPA]
    return {
        "trace": played.history.whole.name,
        "controller": str(outcome.kind),
        "label": outcome.label,
        "pod_hours": round(outcome.pod_hours, 2),
        "cost": None if price is None else round(outcome.pod_hours * price, 2),
        "saving": round(saving(outcome, hpa), 4),
        "requests": round(result.requests),
        "violations": round(outcome.violations, 6),
        "slo_attained": round(1 - outcome.violations, 6),
        "wait_p50_s": result.wait_p50_s,
        "wait_p95_s": result.wait_p95_s,
        "wait_p99_s": result.wait_p99_s,
        "slo_minutes": result.slo_minutes,
        "scale_ups": result.scale_ups,
        "scale_downs": result.scale_downs,
        "scale_ups_ahead_of_load": result.scale_ups_ahead_of_load,
    }
