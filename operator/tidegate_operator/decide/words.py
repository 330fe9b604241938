"""The words that every other room uses for a decision: rules in, inputs in, decision out.

Law: values only. The same reason code appears in status, Events, metrics, the JSON log and the
tests; the set is bounded, so that it can be a label. No data is ``None`` plus a reason, never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tidegate_operator.decide.capacity import Book, Carried
from tidegate_operator.decide.holding import HandsMemory
from tidegate_operator.decide.littles_law import LittlesLaw
from tidegate_operator.decide.rungs import (
    Budget,
    BudgetUse,
    ModelCounts,
    ModelRule,
    Probing,
    Recovery,
    Rung,
    Trigger,
    TriggerMemory,
)
from tidegate_operator.decide.schedules import Schedule
from tidegate_operator.decide.signals import Signal, UsedCapacity
from tidegate_operator.decide.signs import EngineSigns
from tidegate_operator.decide.trial import Margin, Trial


class Mode(StrEnum):
    """How far a policy may act."""

    SHADOW = "Shadow"
    """Says what it would do."""
    ENFORCE = "Enforce"
    PAUSED = "Paused"
    """Looks and tells, decides nothing."""


class Actuator(StrEnum):
    """By whose hand the decided count becomes the target's."""

    SCALE = "Scale"
    """Tidegate's own, through the scale subresource."""
    KEDA = "KEDA"
    """KEDA's, which asks the hub as an external scaler and makes an HPA."""
    EXTERNAL_METRIC = "ExternalMetric"
    """That of an HPA which asks the hub through ``external.metrics.k8s.io``."""


class Reason(StrEnum):
    """Why something was decided, held or refused."""

    # replicas
    STEADY = "Steady"
    DEMAND_HIGH = "DemandAboveCapacity"
    FORECAST_HIGH = "ForecastAboveCapacity"
    QUEUE_LONG = "EngineQueueLong"
    """Requests wait inside the model servers."""
    KV_CACHE_FULL = "KVCacheNearlyFull"
    DEMAND_LOW = "CapacityAboveDemand"
    SCHEDULE = "Schedule"
    """A schedule asks for more, by its minimum or by the load that it expects."""
    FALLBACK = "FallbackReplicas"
    """Demand has been lost for long and ``metrics.onLost`` is Fallback."""
    IDLE = "Idle"
    """Nothing came for ``scaleToZero.after``."""
    ASLEEP = "Asleep"
    """Scaled to zero by the policy itself."""
    BELOW_MINIMUM = "BelowMinimum"
    ABOVE_MAXIMUM = "AboveMaximum"
    TARGET_STOPPED = "ScaledToZero"
    """Somebody else set ``replicas: 0``; that means stop."""
    TARGET_STARTED = "ScaledAboveZero"
    """Somebody ended their stop."""
    PAUSED = "Paused"
    # who else decides it
    HPA_ON_TARGET = "HPAOnTarget"
    NO_HPA_ON_TARGET = "NoHPAOnTarget"
    """The actuator is an HPA's hand, and there is no HPA."""
    SCALED_BY_HAND = "ScaledByHand"
    FIELD_CONTESTED = "FieldContested"
    # what kept the wanted count from being the decided one: clamps
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"
    SCALE_UP_LIMIT = "ScaleUpLimit"
    SCALE_DOWN_LIMIT = "ScaleDownLimit"
    TOLERANCE = "WithinTolerance"
    STABILIZATION = "ScaleDownStabilization"
    FORECAST_HOLDS = "ForecastHolds"
    """Demand is low but the forecast is not: the forecast may raise or hold, never lower."""
    SCHEDULE_HOLDS = "ScheduleHolds"
    ENGINES_HOLD = "EnginesHold"
    """What waits in the model servers and fills their caches would not fit into fewer."""
    SCHEDULE_MIN = "ScheduleMinReplicas"
    SCHEDULE_MAX = "ScheduleMaxReplicas"
    NOT_IDLE = "NotIdleForLong"
    """Nothing is needed, but not yet for ``scaleToZero.after``."""
    PODS_STARTING = "PodsStarting"
    WOULD_MISS_SLO = "OneLessWouldMissSLO"
    # data
    DATA_ABSENT = "MetricsAbsent"
    DATA_STALE = "MetricsStale"
    DATA_ERROR = "MetricsError"
    CAPACITY_LEARNING = "CapacityLearning"
    """What one replica carries is known as a lower bound only, which adds no pod."""
    CAPACITY_UNKNOWN = "CapacityUnknown"
    """What one replica carries can't be told yet."""
    # forecast
    FORECAST_GOOD = "ForecastReliable"
    FORECAST_DISABLED = "ForecastDisabled"
    HISTORY_SHORT = "HistoryTooShort"
    NO_SKILL = "ForecastNoSkill"
    TRAINING = "ForecastTraining"
    FORECAST_FAILED = "ForecastFailed"
    FORECAST_STALE = "ForecastStale"
    FORECAST_DOES_NOT_PAY = "ForecastDoesNotPay"
    """Margins without it cost less, at no more late requests."""
    # ladder
    NORMAL = "Normal"
    ERROR_RATE_HIGH = "ErrorRateHigh"
    ERROR_RATE_OK = "ErrorRateRecovered"
    PROBE_STARTED = "ProbeStarted"
    PROBE_FAILED = "ProbeFailed"
    RECOVERED = "RecoveredOnEvidence"
    BUDGET_WARN = "BudgetWarn"
    BUDGET_SWITCH = "BudgetSwitch"
    BUDGET_BLOCK = "BudgetExhausted"
    BUDGET_RESET = "BudgetWindowReset"
    # the policy and its surroundings
    INVALID_SPEC = "InvalidSpec"
    TARGET_MISSING = "TargetNotFound"
    TARGET_FOUND = "TargetFound"
    CONFLICT = "TargetSharedByPolicies"
    NO_CONFLICT = "NobodyElseScales"
    SIDECARS_MISSING = "SidecarsMissing"
    SIDECARS_BEHIND = "SidecarsBehind"
    SIDECARS_FAILED = "SidecarsRejectedConfig"
    SIDECARS_IN_SYNC = "SidecarsInSync"
    ALL_INJECTED = "AllInjected"
    NOT_ASKED = "NotAsked"
    """Nobody asked for sidecars in the target's pods."""
    WITHOUT_SIDECAR = "PodsWithoutSidecar"
    ROLLING_OUT = "SidecarsRollingOut"
    """A rollout is replacing the pods that have none yet."""
    INJECTION_SKIPPED = "InjectionSkipped"
    """Sidecars were asked for, but something about the pods keeps them out."""
    INJECTION_REJECTED = "InjectionRejected"
    """An option says what can't be; the pods are refused."""
    INJECTION_UNKNOWN = "InjectionUnknown"
    NUMERIC_TARGET_PORT = "NumericTargetPort"
    """A Service leads past the sidecar, to the app's own port by number."""
    METRICS_FOUND = "MetricsFound"
    SCALE_FAILED = "ScaleFailed"
    SHADOW = "Shadow"
    SCALING_OFF = "ScalingNotAsked"
    """The policy has no ``spec.scaling``."""
    RECONCILE_FAILED = "ReconcileFailed"
    READY = "Ready"


class OnLost(StrEnum):
    """What to do without demand; nothing of it ever removes a pod."""

    HOLD = "Hold"
    REACTIVE_ONLY = "ReactiveOnly"
    """What can still be seen of demand may add pods."""
    FALLBACK = "Fallback"
    """At least ``fallback_replicas``, once demand has been lost for ``max_age_s``."""


class Phase(StrEnum):
    """The worst rung that anything of the policy stands on."""

    NORMAL = "Normal"
    WARNED = "Warned"
    DEGRADED = "Degraded"
    BLOCKED = "Blocked"


# --- rules: what the policy says -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """``spec.scaling`` and ``spec.slo`` as values."""

    min_replicas: int = 1
    max_replicas: int = 10
    signal: Signal = Signal.AUTO
    capacity_rps: float | None = 1.0
    """Requests per second that one replica carries within its SLO; ``None``: see the next two."""
    capacity_tokens_per_s: float | None = None
    """Input and output tokens per second that one replica carries; ``None``: not said so."""
    capacity_in_flight: float | None = None
    """Requests at once that one replica carries; ``None``: not said so. With none of the three it
    is learned."""
    schedules: tuple[Schedule, ...] = ()
    idle_before_zero_s: float | None = None
    """``scaling.scaleToZero.after``; ``None``: never scaled to zero."""
    on_lost: OnLost = OnLost.HOLD
    fallback_replicas: int = 0
    wait_target_s: float = 3.0
    """Most time a request may wait for a slot: ``spec.slo.ttft.target``."""
    wait_percentile: float = 0.90
    """Share of requests that must not wait longer."""
    reactive_utilization: float = 0.8
    """Share of capacity that observed demand may fill beside a trusted forecast
    (docs/forecasting.md)."""
    reactive_alone_utilization: float = 0.7
    """The same where no forecast is trusted: then this margin alone stands between a rise and the
    pods for it. At first 0.8 with Lean, 0.7 with Balanced, 0.6 with Strict."""
    forecast_utilization: float = 0.95
    """Share of capacity that a forecast quantile may fill (rho = .95)."""
    quantile: float | None = 0.95
    """Which forecast quantile counts: at first .90 with Lean, .95 with Balanced, .99 with Strict;
    ``None``: none does."""
    allowed_late: float | None = None
    """Share of requests that may wait past ``wait_target_s`` or be dropped; utilisations and
    quantile are chosen so that it holds (``margins``). ``None``: they stay as they are."""
    forecast_enabled: bool = True
    up_max_factor: float = 2.0
    up_max_pods: int = 4
    up_period_s: float = 60.0
    """At most max(factor x count, count + pods) within a period."""
    down_max_share: float = 0.5
    """Most of the replicas that one step down may remove, in (0, 1]."""
    stabilization_s: float = 300.0
    tolerance: float = 0.10
    """Relative change of demand over capacity that is not worth a scale event."""
    max_age_s: float = 60.0
    """Older demand is stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A whole policy, as decisions see it."""

    mode: Mode = Mode.SHADOW
    models: tuple[ModelRule, ...] = ()
    scales: bool = True
    """Whether ``spec.scaling`` is there; without it replicas are left alone."""
    actuator: Actuator = Actuator.SCALE
    scaling: ScalingRules = field(default_factory=ScalingRules)
    triggers: tuple[Trigger, ...] = ()
    min_dwell_s: float = 120.0
    recovery: Recovery = field(default_factory=Recovery)
    budgets: tuple[Budget, ...] = ()


# --- inputs: what was seen -----------------------------------------------------------------------


class DataState(StrEnum):
    """Four different things; only ``PRESENT`` (with a demand of 0, too) may scale down."""

    PRESENT = "Present"
    ABSENT = "Absent"
    """Nothing to ask: no pod reports yet."""
    STALE = "Stale"
    ERROR = "Error"
    """Pods are there but can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Load on the whole workload, always the total."""

    state: DataState
    rps: float | None = None
    """Requests per second over the last minute; ``None`` unless present or stale."""
    peak_rps: float | None = None
    """Highest ``rps`` of the last few minutes' ticks; ``None`` where unknown."""
    age_s: float = 0.0
    reporting: int = 0
    """Sidecars that answered the last look."""
    estimated: float = 0.0
    """Share of ``rps`` that is what silent sidecars said last, in [0, 1]."""
    in_flight: int | None = None
    mean_in_flight: float | None = None
    """Over the last minute's looks; ``None`` where unknown."""
    service_s: float | None = None
    """Mean time that a request occupies a slot; ``None`` before the first ended request."""
    steady_rps: float | None = None
    """Requests per second over the last five minutes; ``None`` where unknown."""
    steady_in_flight: float | None = None
    """Requests at once over the last five minutes' looks."""
    tokens_per_request: float | None = None
    """Input and output, mean of the requests that ended lately; ``None`` where no usage is
    known."""
    message: str = ""
    """Why it is not present, where the source said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Quantiles of the *maximum* request rate between ``made_at`` and ``made_at + horizon_s``."""

    made_at: float
    horizon_s: float
    quantiles: Mapping[float, float]
    """Quantile -> requests per second, such as ``{0.5: 11.0, 0.9: 13.1, 0.95: 14.0, 0.98: 15.5,
    0.99: 16.4}``."""
    reliable: bool
    reason: Reason
    """``FORECAST_GOOD``, or why it must not be used."""
    message: str = ""
    method: str = "GradientBoosting+Linear"
    skill: float | None = None
    """1 - pinball loss / that of the last value or the last hour, whichever is better, over three
    days; ``None`` before enough was scored."""
    coverage: float | None = None
    """Share of the matured 0.95 quantiles that held."""
    trained_at: float | None = None


LEAD_MARGIN_S = 120.0
"""From the end of a cold start to where its forecast ends (docs/forecasting.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that one decision looks at."""

    now: float
    current: int
    """``spec.replicas`` of the target, as its scale subresource says."""
    ready: int
    starting: int
    """Pods that exist and are not Ready yet."""
    demand: Demand
    forecast: Forecast | None = None
    lead_s: float = 0.0
    """How long a pod that is created now takes to be of use: p90 of the cold starts, and
    ``LEAD_MARGIN_S``."""
    carried: tuple[Carried, ...] = ()
    """What single pods carried since the last look."""
    counts: Mapping[str, ModelCounts] = field(default_factory=dict)
    """By model."""
    budgets: tuple[BudgetUse, ...] = ()
    engines: EngineSigns | None = None


# --- out: what was decided -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamp:
    """Something that kept a wanted count from being the decided one."""

    reason: Reason
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingDecision:
    """A replica count, and every step on the way to it."""

    replicas: int
    """What should stand in the scale subresource; equal to ``Inputs.current`` where nothing is to
    be done."""
    reason: Reason
    message: str
    reactive: int | None
    """Pods that observed demand alone calls for; ``None`` where demand is unknown."""
    forecast: int | None
    """Pods that the forecast calls for; ``None`` where it is not used."""
    scheduled: int | None = None
    """Pods that a schedule calls for; ``None`` where none is on or near."""
    margin: Margin | None = None
    """The room that was kept; ``None`` where demand is unknown."""
    capacity: UsedCapacity | None = None
    """``None``: it can't be told."""
    clamps: tuple[Clamp, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRung:
    """Where one tenant (or one budget's key) stands."""

    rung: Rung
    reason: Reason
    budget: str
    until: float
    """End of the budget's window, unix seconds."""
    model: str = ""
    """With ``SWITCH``, where to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderDecision:
    """Which model answers, for everyone and for single tenants."""

    phase: Phase
    active_model: str
    rung: Rung
    """For everyone."""
    reason: Reason
    message: str
    probe_share: float = 0.0
    until: float | None = None
    """When the order for everyone ends by itself: a budget window's end; ``None`` where evidence
    ends it."""
    tenants: Mapping[str, TenantRung] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something worth an Event, a log line and a place in ``status.decisions``: the world is told
    once, on the change."""

    action: str
    """ScaleUp, ScaleDown, Hold, Warn, Switch, Block, Probe, Recover."""
    reason: Reason
    message: str
    before: str
    after: str
    subject: str = ""
    """Tenant, budget or trigger, where there is one."""
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the world should look like, and what changed since the last one."""

    scaling: ScalingDecision
    ladder: LadderDecision
    littles_law: LittlesLaw | None = None
    """``None``: too little was seen to check it."""
    changes: tuple[Change, ...] = ()


# --- memory: what one decision leaves for the next, as JSON-able values --------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Survives a restart in the policy's history ConfigMap; every field has a default, so old
    memories can be read."""

    recommendations: tuple[tuple[float, int], ...] = ()
    """(time, wanted count) within the stabilisation window, without those that a later one
    outdid."""
    last_current: int | None = None
    """``Inputs.current`` of the last decision: what came on top of it is what a scale-up really
    added."""
    told_replicas: int | None = None
    """The count that was last told as a change while the target still stands elsewhere (Shadow, or
    a failed write)."""
    scale_ups: tuple[tuple[float, int], ...] = ()
    """(time, pods added) within the scale-up period, as seen on the target."""
    lost_since: float | None = None
    """Since when demand has been unknown; ``None``: it is known."""
    absent_looks: int = 0
    """Looks in a row that found sidecars alive, nothing in flight and no demand series."""
    idle_since: float | None = None
    """Since when nothing has come and nothing is in flight; ``None``: something is."""
    asleep: bool = False
    """The policy itself scaled to zero: a count of 0 is nobody's stop."""
    books: Mapping[str, Book] = field(default_factory=dict)
    """Signal -> what pods carried of it, where their capacity is learned."""
    littles_law_off_since: float | None = None
    before_events: Mapping[str, float] = field(default_factory=dict)
    """Schedule -> requests per second from before it."""
    counts: tuple[tuple[float, Mapping[str, ModelCounts]], ...] = ()
    """(time, cumulative counts) within the triggers' window."""
    triggers: Mapping[str, TriggerMemory] = field(default_factory=dict)
    rung: Rung = Rung.NONE
    rung_since: float | None = None
    rung_trigger: str = ""
    probing: Probing = Probing.CLOSED
    probe_since: float | None = None
    """Since when ``probing`` is what it is."""
    probe_base: ModelCounts | None = None
    """Counts of the first model when its probes began."""
    backoff_s: float = 0.0
    budget_rungs: Mapping[str, Rung] = field(default_factory=dict)
    """``budget/key`` -> the rung that was last told."""
    last_reason: Reason | None = None
    """Of the last scaling decision, so that a change of mind is told once."""
    hands: HandsMemory = field(default_factory=HandsMemory)
    trial: Trial = field(default_factory=Trial)


def renewed(memory: Memory, **news: Any) -> Memory:
    """``replace``, but ``memory`` itself where nothing is new: a tick changes little, and to copy
    all fields takes as long as to decide."""
    if all(getattr(memory, name) == value for name, value in news.items()):
        return memory
    return replace(memory, **news)
