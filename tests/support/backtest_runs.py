"""``tidegate backtest`` run in this process, and a policy for it."""

import contextlib
import io
from typing import Any

from tidegate_operator.cli.__main__ import main

POLICY: dict[str, Any] = {
    "apiVersion": "tidegate.io/v1alpha1",
    "kind": "LLMQualityPolicy",
    "metadata": {"name": "chat"},
    "spec": {
        "targetRef": {"kind": "Deployment", "name": "llama"},
        "models": [{"name": "llama-70b"}],
        "scaling": {
            "maxReplicas": 20,
            "capacityPerReplica": "2",
            "forecast": {"minHistory": "24h"},
        },
    },
}


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["tidegate", "backtest", *map(str, arguments)])
        except SystemExit as end:
            code = end.code
    return int(code or 0), out.getvalue(), err.getvalue()
