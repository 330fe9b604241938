"""A policy with most fields of a spec, and what changes single ones of them."""

import copy
from typing import Any

FULL: dict[str, Any] = {
    "mode": "Shadow",
    "targetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "llama"},
    "models": [
        {"name": "llama-70b", "price": {"inputPerMTok": "0.90", "outputPerMTok": "1.20"}},
        {"name": "llama-8b", "upstream": "http://llama-8b.shop.svc:8000"},
    ],
    "slo": {"ttft": {"percentile": "95", "target": "2s"}},
    "metrics": {"maxAge": "45s"},
    "scaling": {
        "minReplicas": 2,
        "maxReplicas": 20,
        "capacityPerReplica": "2.5",
        "actuator": "KEDA",
        "strictness": "Strict",
        "forecast": {
            "enabled": True,
            "horizon": "10m",
            "history": "7d",
            "retrainEvery": "30m",
            "minHistory": "36h",
        },
        "behavior": {
            "scaleUp": {"maxFactor": "3", "maxPods": 6, "period": "30s"},
            "scaleDown": {"maxPercent": "25%", "stabilization": "10m"},
            "tolerance": "5%",
        },
    },
    "budgets": [
        {
            "name": "team-day",
            "scope": "Tenant",
            "limit": {"tokens": 2000000, "cost": "50.00"},
            "window": {"unit": "Day", "timezone": "Europe/Berlin"},
            "actions": [{"at": "100%", "do": "Block"}, {"at": "80%", "do": "Warn"}],
        }
    ],
    "degrade": {
        "triggers": [
            {
                "name": "errors",
                "metric": "errorRate",
                "enter": "5%",
                "exit": "2%",
                "for": "1m30s",
                "minRequests": 30,
                "do": "Switch",
            }
        ],
        "minDwell": "3m",
        "recovery": {
            "probePercent": "10%",
            "successes": 5,
            "backoff": {"initial": "2m", "factor": "1.5", "max": "30m"},
        },
    },
    "gateway": {
        "identify": {"header": "X-Tenant-Id"},
        "timeouts": {"connect": "1s", "firstToken": "20s", "idle": "40s", "total": "5m"},
        "maxRequestBytes": "4Mi",
    },
}


def manifest(**changes: Any) -> dict[str, Any]:
    """The full policy; ``a__b`` sets ``spec.a.b``, ``None`` takes a field away."""
    spec = copy.deepcopy(FULL)
    for path, value in changes.items():
        *parents, last = path.split("__")
        at: Any = spec
        for name in parents:
            at = at[int(name)] if isinstance(at, list) else at[name]
        if value is None:
            del at[last]
        else:
            at[last] = value
    return {"metadata": {"name": "chat", "namespace": "shop"}, "spec": spec}
