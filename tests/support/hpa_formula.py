"""What an HPA makes of an External metric with an AverageValue target.

Law: the arithmetic of Kubernetes 1.36, pkg/controller/podautoscaler/replica_calculator.go,
GetExternalPerPodMetricReplicas and Tolerances.isWithin, in the milli-units that it reckons in.
"""

import math

DEFAULT_TOLERANCE = 0.1
"""kube-controller-manager's --horizontal-pod-autoscaler-tolerance."""


def hpa_replicas(
    current: int, value: int, target: int = 1, *, up: float = 0.1, down: float = 0.1
) -> int:
    """``up`` and ``down``: ``behavior.scaleUp.tolerance`` and ``behavior.scaleDown.tolerance``."""
    usage, target_usage = value * 1000, target * 1000
    ratio = float(usage) / (float(target_usage) * float(current))
    if 1.0 - down <= ratio <= 1.0 + up:
        return current
    return math.ceil(float(usage) / float(target_usage))
