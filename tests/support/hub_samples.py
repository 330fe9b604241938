"""A made-up but lifelike policy with its past, for tests of the page and the CLI."""

import math
import random
from datetime import UTC, datetime
from typing import Any

from tidegate_operator.hub.trail import pack

NOW = datetime(2026, 1, 6, 10, 24, 30, tzinfo=UTC).timestamp()


def stamp(t: float) -> str:
    return datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def recent(now: float = NOW, minutes: int = 720, seed: int = 7) -> list[dict[str, Any]]:
    """A morning ramp, a switch of the model for 25 minutes, pods ahead of demand and an HPA's
    behind it."""
    rng = random.Random(seed)

    def demand(t: float) -> float:
        hour = (t % 86400) / 3600
        return 2.2 + 11.5 / (1 + math.exp(-1.5 * (hour - 7.6))) + 1.2 * math.sin(hour * 2.1)

    points = []
    for i in range(minutes):
        t = (now // 60 - minutes + 1 + i) * 60
        peak = max(demand(t + s * 60) for s in range(7))
        wanted = max(1, math.ceil(peak * 1.13 / 2.5))
        ready = max(1, math.ceil(max(demand(t + s * 60) for s in range(4)) * 1.13 / 2.5))
        switched = 55 * 60 < now - t < 80 * 60
        points.append(
            {
                "t": t,
                "rps": round(max(0.0, demand(t) * rng.uniform(0.88, 1.1)), 2),
                "q50": round(peak * 1.04, 2),
                "q95": round(peak * 1.24, 2),
                "wanted": wanted,
                "ready": min(wanted, ready),
                "hpa": max(1, math.ceil(demand(t - 60) / 1.75)),
                "model": "llama-8b" if switched else "llama-70b",
            }
        )
    return points


def history(policy: str = "chat", namespace: str = "shop", **body: Any) -> dict[str, Any]:
    body = {"v": 1, "recent": recent(), "counts": [], **body}
    return {
        "metadata": {
            "name": f"tidegate-history-{policy}",
            "namespace": namespace,
            "resourceVersion": "7",
            "labels": {"tidegate.io/part": "history", "tidegate.io/policy": policy},
        },
        "binaryData": {"history": pack(body)},
    }


def policy(
    name: str = "chat", namespace: str = "shop", *, status: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": "tidegate.io/v1alpha1",
        "kind": "LLMQualityPolicy",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "12"},
        "spec": {
            "mode": "Enforce",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
            "models": [
                {"name": "llama-70b", "price": {"inputPerMTok": "0.90", "outputPerMTok": "0.90"}},
                {"name": "llama-8b", "upstream": "http://llama-8b.shop.svc:8000"},
            ],
            "gateway": {"identify": {"header": "x-tenant-id"}},
            "scaling": {"minReplicas": 1, "maxReplicas": 10, "capacityPerReplica": "2.5"},
            "budgets": [
                {
                    "name": "team-day",
                    "scope": "Tenant",
                    "limit": {"tokens": 2000000},
                    "window": {"unit": "Day"},
                    "actions": [
                        {"at": "80%", "do": "Warn"},
                        {"at": "95%", "do": "Switch"},
                        {"at": "100%", "do": "Block"},
                    ],
                },
                {
                    "name": "money-month",
                    "scope": "Policy",
                    "limit": {"cost": "900.00"},
                    "window": {"unit": "Month"},
                    "actions": [{"at": "90%", "do": "Warn"}],
                },
            ],
        },
        "status": lively_status() if status is None else status,
    }


def lively_status() -> dict[str, Any]:
    return {
        "observedGeneration": 3,
        "phase": "Blocked",
        "activeModel": "llama-70b",
        "replicas": {
            "current": 6,
            "ready": 5,
            "desired": 7,
            "reactive": 6,
            "forecast": 7,
            "hpa": 8,
        },
        "demand": {"rps": "13.4", "state": "Present"},
        "forecast": {
            "method": "GradientBoosting+Linear",
            "horizon": "6m0s",
            "demandNow": "13.4",
            "demandAhead": "16.8",
            "quantiles": {"0.5": "14.1", "0.95": "16.8"},
            "coverage": "0.95",
            "skill": "0.31",
            "trainedAt": stamp(NOW - 1800),
            "reason": "ForecastReliable",
        },
        "coldStart": {"p50": "2m20s", "p90": "3m30s", "samples": 7},
        "capacity": {
            "perReplica": "2.5",
            "signal": "RequestsPerSecond",
            "source": "Declared",
        },
        "budgets": _budgets(),
        "tenants": [
            {
                "name": "research",
                "rung": "Block",
                "reason": "BudgetExhausted",
                "until": _midnight(),
            },
            {"name": "search", "rung": "Warn", "reason": "BudgetWarn", "until": _midnight()},
        ],
        "sidecars": {"expected": 6, "reporting": 6, "applied": 6, "failed": 0},
        "decisions": _decisions(),
        "conditions": _conditions(),
    }


def _midnight() -> str:
    return stamp((NOW // 86400 + 1) * 86400)


def _budgets() -> list[dict[str, Any]]:
    top = [
        {"key": "research", "used": "2004118", "utilization": "100%", "rung": "Block"},
        {"key": "search", "used": "1701122", "utilization": "85%", "rung": "Warn"},
        {"key": "support", "used": "640551", "utilization": "32%", "rung": "None"},
    ]
    return [
        {
            "name": "team-day",
            "scope": "Tenant",
            "used": "2004118",
            "limit": "2000000",
            "utilization": "100%",
            "windowEnd": _midnight(),
            "top": top,
        },
        {
            "name": "money-month",
            "scope": "Policy",
            "used": "211.42",
            "limit": "900.00",
            "utilization": "23%",
            "windowEnd": "2026-02-01T00:00:00Z",
            "top": [],
        },
    ]


def _decisions() -> list[dict[str, Any]]:
    return [
        {
            "time": stamp(NOW - 40),
            "action": "ScaleUp",
            "from": "6",
            "to": "7",
            "reason": "ForecastAboveCapacity",
            "message": "forecast: 16.8 requests/s within 6m0s need 8 pods; demand now: 6",
            "applied": True,
            "inputs": {
                "demandRps": "13.4",
                "forecastRps": "16.8",
                "current": "6",
                "ready": "5",
                "starting": "1",
                "reactive": "6",
                "forecast": "8",
            },
            "clamps": [{"reason": "ScaleUpLimit", "before": 8, "after": 7}],
        },
        {
            "time": stamp(NOW - 900),
            "action": "Block",
            "from": "Switch",
            "to": "Block",
            "reason": "BudgetExhausted",
            "message": "tenant research used 2,004,118 of 2,000,000 tokens of team-day",
            "subject": "research",
            "applied": True,
        },
        {
            "time": stamp(NOW - 55 * 60),
            "action": "Recover",
            "from": "llama-8b",
            "to": "llama-70b",
            "reason": "RecoveredOnEvidence",
            "message": "10 of 10 probes of llama-70b succeeded",
            "subject": "errors",
            "applied": True,
        },
        {
            "time": stamp(NOW - 80 * 60),
            "action": "Switch",
            "from": "llama-70b",
            "to": "llama-8b",
            "reason": "ErrorRateHigh",
            "message": "error rate of llama-70b was 11.2% for 60s, above 5%",
            "subject": "errors",
            "applied": True,
        },
    ]


def _conditions() -> list[dict[str, Any]]:
    def of(kind: str, state: str, reason: str, message: str) -> dict[str, Any]:
        since = stamp(NOW - 3600)
        told = {"reason": reason, "message": message, "lastTransitionTime": since}
        return {"type": kind, "status": state, **told}

    return [
        of("Ready", "True", "Ready", "The policy is in force."),
        of("TargetResolved", "True", "TargetFound", "Deployment/llama"),
        of("MetricsAvailable", "True", "MetricsFound", "6 of 6 sidecars report."),
        of(
            "ForecastReliable", "True", "ForecastReliable", "forecast is 31% better than last hour"
        ),
        of("ScalingLimited", "True", "ScaleUpLimit", "Held at 7 pods; 8 were called for."),
        of("BudgetsOK", "False", "BudgetExhausted", "team-day: research is at 100%."),
        of("Degraded", "False", "Normal", "llama-70b answers."),
    ]
