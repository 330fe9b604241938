"""The queries that we build ourselves, and what may stand in them.

Law: strings only. Whatever a name holds, it stays inside its quotes and inside its regular
expression.
"""

import re

from tidegate_operator.crd.spec import TargetRef
from tidegate_wire.names import Metric, Outcome

RATE_WINDOW = "2m"
"""``rate`` needs two samples within: of a scrape every 30 s this survives one that is missed."""

_POD_SUFFIX = {"Deployment": "-[a-z0-9]+-[a-z0-9]+", "StatefulSet": "-[0-9]+"}
"""What each controller makes of its name; a ReplicaSet's hash and a pod's suffix are drawn from
small letters and digits (Kubernetes, ``apimachinery/pkg/util/rand``)."""
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def quote(value: str) -> str:
    """A label's value as PromQL's double-quoted literal, by the rules of Go's string literals
    (prometheus.io, querying/basics, "String literals")."""
    return f'"{value.translate(_ESCAPES)}"'


def quote_regex(text: str, suffix: str = "") -> str:
    """A literal for ``=~`` that means ``text`` itself, then the expression ``suffix``.

    RE2 knows each escape that ``re.escape`` makes but those of a blank and of control characters.
    """
    escaped = re.sub(r"([\\.^$*+?{}\[\]()|-])", r"\\\1", text)
    return quote(escaped + suffix)


def sidecar_query(namespace: str, target: TargetRef, model: str = "") -> str:
    """Requests per second that the sidecars of a target let through, by their own counters.

    Needs the labels ``namespace`` and ``pod``, which a PodMonitor gives. ``model``: of it alone.
    """
    matchers = [
        f"namespace={quote(namespace)}",
        f"pod=~{quote_regex(target.name, _POD_SUFFIX[target.kind])}",
        f"outcome!={quote(Outcome.BLOCKED)}",
    ]
    if model:
        matchers.append(f"model={quote(model)}")
    return f"sum(rate({Metric.REQUESTS}{{{','.join(matchers)}}}[{RATE_WINDOW}]))"
