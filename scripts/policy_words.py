"""What docs/policy.md says of each condition and reason code.

Law: a sentence for everybody who meets the code in `kubectl describe`, never a second definition;
which conditions and codes there are, the code says, and a test compares.
"""

from collections.abc import Mapping

CONDITIONS: Mapping[str, tuple[str, str]] = {
    "Ready": (
        "Is the policy read, alone on its target, and looked at?",
        "True",
    ),
    "TargetResolved": (
        "Is the workload of `targetRef` there?",
        "True",
    ),
    "MetricsAvailable": (
        "Do all sidecars answer, and lately? Nothing is scaled down while not.",
        "True",
    ),
    "ForecastReliable": (
        "Is the forecast good enough to be used? While not, scaling is reactive only.",
        "True",
    ),
    "ScalingActive": (
        "Is the decided count set, by Tidegate or by the autoscaler that `actuator` names? "
        "Never in Shadow.",
        "True in Enforce",
    ),
    "ScalingLimited": (
        "Did a bound keep the wanted count from being the decided one?",
        "False",
    ),
    "NoConflict": (
        "Does nobody else scale the target or claim it: a second policy, an HPA, a person?",
        "True",
    ),
    "BudgetsOK": (
        "Is everybody below the first action of every budget?",
        "True",
    ),
    "Degraded": (
        "Have errors or a budget moved requests off the first model, or blocked them?",
        "False",
    ),
    "SidecarsInSync": (
        "Has every pod of the target a sidecar, with the current config?",
        "True",
    ),
    "InjectionHealthy": (
        "Has every pod that should have a sidecar one, and do Services lead to it?",
        "True",
    ),
}
"""Condition -> what it asks, and its answer when all is well."""

REASONS: Mapping[str, str] = {
    "Steady": "The replica count is right as it is.",
    "DemandAboveCapacity": "Observed demand needs more replicas.",
    "ForecastAboveCapacity": (
        "Demand is foreseen that needs more replicas, before a new pod could be ready."
    ),
    "EngineQueueLong": (
        "More than 5 requests a pod wait inside the model servers, in the mean of a minute."
    ),
    "KVCacheNearlyFull": "The model servers' KV caches are more than 80 % full, in that mean.",
    "CapacityAboveDemand": "Fewer replicas have sufficed throughout the stabilization window.",
    "Schedule": (
        "A schedule needs more replicas, by its `minReplicas` or by the demand that it expects, "
        "from one forecast horizon before it begins."
    ),
    "FallbackReplicas": (
        "Demand has been lost for `metrics.maxAge`, and `metrics.onLost` is Fallback."
    ),
    "Idle": "Nothing came for `scaleToZero.after`, and nothing is expected.",
    "Asleep": (
        "The policy itself scaled to zero. A forecast, a schedule, a person, or a Prometheus "
        "query that sees demand wakes it."
    ),
    "BelowMinimum": "The target has fewer replicas than `minReplicas`.",
    "AboveMaximum": "The target has more replicas than `maxReplicas`.",
    "ScaledToZero": (
        "Somebody set `replicas: 0`. That means stop, and Tidegate does not start it again."
    ),
    "ScaledAboveZero": "Somebody ended that stop; Tidegate decides again.",
    "Paused": "`mode` is Paused.",
    "MinReplicas": "Fewer were wanted; `minReplicas` bound.",
    "MaxReplicas": "More were wanted; `maxReplicas` bound.",
    "ScaleUpLimit": "More were wanted; `behavior.scaleUp` bound for this period.",
    "ScaleDownLimit": "Fewer were wanted; `behavior.scaleDown.maxPercent` bound.",
    "WithinTolerance": "The difference is smaller than `behavior.tolerance`.",
    "ScaleDownStabilization": (
        "Fewer would do now, but not throughout `behavior.scaleDown.stabilization`."
    ),
    "ForecastHolds": "Demand is low, the forecast is not: it may raise or hold, never lower.",
    "ScheduleHolds": "Demand is low, but a schedule still expects more.",
    "EnginesHold": (
        "Demand is low, but what waits in the model servers and fills their KV caches would not "
        "fit into fewer."
    ),
    "ScheduleMinReplicas": "Fewer were wanted; a schedule's `minReplicas` bound.",
    "ScheduleMaxReplicas": "More were wanted; a schedule's `maxReplicas` bound.",
    "NotIdleForLong": "Nothing is needed, but not yet for `scaleToZero.after`: one stays.",
    "PodsStarting": "Nothing is scaled down while pods start.",
    "OneLessWouldMissSLO": "With one replica less the SLO would be missed.",
    "MetricsAbsent": "No pod reports yet.",
    "MetricsStale": "The last whole look is older than `metrics.maxAge`.",
    "MetricsError": "Pods are there whose sidecars can't be read.",
    "CapacityLearning": (
        "More replicas were wanted, but what one carries is only known as a lower bound so far; "
        "no pod is added by it."
    ),
    "CapacityUnknown": "What one replica carries can't be told yet; the message says why.",
    "ForecastReliable": "The forecast beats the last minute and the last hour, and is used.",
    "ForecastDisabled": "`forecast.enabled` is false, or the policy has no `scaling`.",
    "HistoryTooShort": "There is less history than `forecast.minHistory`.",
    "ForecastNoSkill": (
        "The forecast says no more of the time to come than the last minute or hour, so it is not "
        "used."
    ),
    "ForecastTraining": "The first training is not done; nothing is scaled down meanwhile.",
    "ForecastFailed": "Training or prediction failed; the message says how.",
    "ForecastStale": "The last forecast is too old to use.",
    "ForecastDoesNotPay": "Room above observed demand costs less, at no more late requests.",
    "Normal": "Everybody is on the first model, within all budgets.",
    "ErrorRateHigh": "A trigger's error rate has stood above `enter` for its time.",
    "ErrorRateRecovered": "The error rate is below `exit` again.",
    "ProbeStarted": "A share of the requests tries the first model again.",
    "ProbeFailed": "The probes failed; the next ones wait longer.",
    "RecoveredOnEvidence": "The probes succeeded; all requests are back on the first model.",
    "BudgetWarn": "A budget has reached the share at which it warns.",
    "BudgetSwitch": "A budget has reached the share at which requests go to the next model.",
    "BudgetExhausted": "A budget has reached the share at which requests are answered with 429.",
    "BudgetWindowReset": "A new window has begun; usage starts from zero.",
    "InvalidSpec": (
        "The policy can't be read; the message names field, rule and "
        "value. What stood before goes on."
    ),
    "TargetNotFound": "The workload of `targetRef` is not in the policy's namespace.",
    "TargetFound": "The workload of `targetRef` is there.",
    "TargetSharedByPolicies": "An older policy has the same target; this one acts on nothing.",
    "HPAOnTarget": (
        "A HorizontalPodAutoscaler sets the target's replicas, so Tidegate does not. "
        "The message says how to end that."
    ),
    "NoHPAOnTarget": (
        "`actuator` is KEDA or ExternalMetric, but no HPA on the target asks for the count; "
        "the message says what to make."
    ),
    "ScaledByHand": (
        "Somebody set another replica count; it stands for a while, which the message gives, "
        "before Tidegate decides again."
    ),
    "FieldContested": (
        "Somebody, or a tool, sets the count back again and again; Tidegate takes no part in "
        "a fight and stands back for longer each time."
    ),
    "NobodyElseScales": "Nobody else scales or claims the target.",
    "SidecarsMissing": (
        "Pods of the target run without a sidecar, or their sidecar does not answer."
    ),
    "SidecarsBehind": "Some sidecars do not run the current config yet.",
    "SidecarsRejectedConfig": (
        "A sidecar refused the config and keeps its last good one; the message says why."
    ),
    "SidecarsInSync": "All sidecars run the current config.",
    "AllInjected": "Every pod of the target has its sidecar.",
    "NotAsked": "Nobody asked for sidecars in the target's pods; the message says how.",
    "PodsWithoutSidecar": (
        "Pods run without the sidecar that was asked for, such as after the hub was away; "
        "the message has the command that rolls them."
    ),
    "SidecarsRollingOut": "A rollout is replacing the pods without a sidecar: nothing to do.",
    "InjectionSkipped": "Something about the pods keeps a sidecar out; the message says what.",
    "InjectionRejected": "An annotation says what can't be, so new pods are refused.",
    "InjectionUnknown": "Whether the pods have their sidecars could not be looked at.",
    "NumericTargetPort": (
        "A Service leads to the app's own port by number, past the sidecar; "
        "the message has the command that mends it."
    ),
    "MetricsFound": "All sidecars that should answer do.",
    "ScaleFailed": "The replica count could not be written; the message says why.",
    "Shadow": "`mode` is Shadow: said, not done.",
    "ScalingNotAsked": "The policy has no `scaling`; replicas are left alone.",
    "ReconcileFailed": (
        "This policy could not be looked at; the message says why, and it is tried again."
    ),
    "Ready": "In force.",
}
"""Reason code -> what it means."""
