"""Names that more than one process must spell alike.

Law: every label, annotation, port, path and metric name of ours stands here and nowhere else.
OpenTelemetry's GenAI names are spelled as Prometheus spells them (semantic conventions v1.41); no
name of ours contains a colon, since prometheus_client 0.26 drops it for OpenMetrics scrapers.
"""

from enum import StrEnum

GROUP = "tidegate.io"
VERSION = "v1alpha1"
KIND = "LLMQualityPolicy"
PLURAL = "llmqualitypolicies"

INJECT = f"{GROUP}/inject"
"""Label on a pod template or namespace, or annotation on a pod template, Deployment or
StatefulSet: ``"true"``."""
PORT = f"{GROUP}/port"
"""Annotation: the app's container port (name or number) that the sidecar stands in front of."""
MODE = f"{GROUP}/mode"
"""Annotation: whether the sidecar stands in front of the app (``inbound``, the default), between
the app and the models that it calls (``outbound``), or ``both``."""
OPENAI_UPSTREAM = f"{GROUP}/openai-upstream"
"""Annotation: base URL for what the app calls by OpenAI's API, where that is not OpenAI."""
ANTHROPIC_UPSTREAM = f"{GROUP}/anthropic-upstream"
"""Annotation: the same of Anthropic's API."""
CPU_REQUEST = f"{GROUP}/cpu-request"
"""Annotation, as the next three: what the sidecar asks of its node; a Kubernetes
quantity such as ``100m``."""
CPU_LIMIT = f"{GROUP}/cpu-limit"
MEMORY_REQUEST = f"{GROUP}/memory-request"
MEMORY_LIMIT = f"{GROUP}/memory-limit"
DRAIN_SECONDS = f"{GROUP}/drain-seconds"
"""Annotation: how long a leaving sidecar still takes new requests, in whole seconds; as long as
load balancers need to hear that the pod leaves."""
OPTIONS = (
    *(PORT, MODE, OPENAI_UPSTREAM, ANTHROPIC_UPSTREAM),
    *(CPU_REQUEST, CPU_LIMIT, MEMORY_REQUEST, MEMORY_LIMIT, DRAIN_SECONDS),
)
"""Annotations that say how, once ``INJECT`` has said that."""
STATUS = f"{GROUP}/status"
"""Annotation that the webhook leaves on an injected pod: ``{"version", "ports"}`` as JSON."""
COPIED = f"{GROUP}/inject-copied"
"""Annotation on a pod template: which names, comma-separated, the webhook copied there from the
workload's own metadata, so that taking the annotation off the workload takes them off again."""
INJECTED = f"{GROUP}/injected"
"""Label that the webhook leaves on an injected pod: ``"true"``; what the operator selects pods
by."""
PART = f"{GROUP}/part"
"""Label on ConfigMaps of ours: ``sidecar-config`` or ``history``."""
POLICY = f"{GROUP}/policy"
"""Label on ConfigMaps of ours: the policy they belong to."""

PART_CONFIG = "sidecar-config"
PART_HISTORY = "history"
CONFIG_KEY = "config.json"
TARGET_KEY = "target"
"""Key in a ``sidecar-config`` ConfigMap: ``Kind/name`` of the workload whose pods take it."""

CONTAINER = "tidegate"
OFF = "off"
"""What a listener's address may say."""
METRIC_DESIRED = "tidegate-desired-replicas"
"""What KEDA and HPAs ask the hub for: the replicas that a policy wants."""

PORT_INBOUND = 14100
PORT_OUTBOUND = 14110
PORT_ADMIN = 14120
PORT_HUB = 14130
PORT_OPERATOR = 14140
TOKEN_AUDIENCE = "tidegate"

PATH_CONFIG = "/v1/config"
PATH_REPORT = "/v1/report"
PATH_STATS = "/stats"
QUERY_SAVED = "saved"
"""Of ``PATH_STATS``: the last look that its reader has saved, or nothing yet; a reader who says so
once will say so of every look."""
PATH_MUTATE = "/mutate"

OTHER = "other"
MAX_LABEL_VALUES = 200
"""Distinct tenants, and models, that become label values; the rest share ``other``
(llm-d-router#1625)."""


class Outcome(StrEnum):
    """How a request ended; each ends in one way."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    """Answered with 4xx, by the server or, for what is no request that can be served, by us."""
    SERVER_ERROR = "server_error"
    """Answered with 5xx, or with an error inside a stream."""
    CONNECT_ERROR = "connect_error"
    RESET = "reset"
    """The server closed the connection before its answer was whole."""
    TIMEOUT = "timeout"
    PROTOCOL_ERROR = "protocol_error"
    """The server answered what is no HTTP."""
    CANCELLED = "cancelled"
    """The client went away, or stopped reading for good."""
    BROKEN = "broken_stream"
    """A stream ended without saying that it does, whether cut or not."""
    BLOCKED = "blocked"
    """Refused by the operator's order, which is no demand; or because the sidecar has no room, and
    that is demand."""


ERROR_OUTCOMES = (
    *(Outcome.SERVER_ERROR, Outcome.CONNECT_ERROR, Outcome.RESET, Outcome.TIMEOUT),
    *(Outcome.PROTOCOL_ERROR, Outcome.BROKEN),
)
"""What an error rate counts: the server's failures, and none of the client's or of ours."""


class ConfigState(StrEnum):
    """What became of the last config that a sidecar was offered."""

    NONE = "NONE"
    APPLIED = "APPLIED"
    FAILED = "FAILED"


class Metric(StrEnum):
    """Every metric name, ours and OpenTelemetry's."""

    REQUEST_DURATION = "gen_ai_server_request_duration_seconds"
    TIME_TO_FIRST_TOKEN = "gen_ai_server_time_to_first_token_seconds"
    TIME_PER_OUTPUT_TOKEN = "gen_ai_server_time_per_output_token_seconds"
    TOKEN_USAGE = "gen_ai_client_token_usage"
    REQUESTS = "tidegate_requests_total"
    REFUSED = "tidegate_refused_total"
    IN_FLIGHT = "tidegate_requests_in_flight"
    TOKENS = "tidegate_tokens_total"
    TOKEN_PARTS = "tidegate_token_parts_total"
    """Of ``TOKENS``, and apart from it, since whoever adds up a metric's rows counts each once."""
    COST = "tidegate_cost_total"
    LABEL_OVERFLOW = "tidegate_label_overflow_total"
    SIDECAR_FAILURES = "tidegate_sidecar_failures_total"
    ENGINE_WAITING = "tidegate_engine_waiting_requests"
    ENGINE_RUNNING = "tidegate_engine_running_requests"
    ENGINE_KV_CACHE = "tidegate_engine_kv_cache_usage_ratio"
    CONFIG_INFO = "tidegate_config_info"
    ACTIVE_MODEL = "tidegate_active_model_info"
    DESIRED_REPLICAS = "tidegate_policy_desired_replicas"
    READY_REPLICAS = "tidegate_policy_ready_replicas"
    FORECAST_DEMAND = "tidegate_forecast_demand"
    DEMAND = "tidegate_demand_requests_per_second"
    LITTLES_LAW_GAP = "tidegate_littles_law_gap_ratio"
    CAPACITY = "tidegate_replica_capacity"
    DECISIONS = "tidegate_decisions_total"
    BUDGET_USED_RATIO = "tidegate_budget_used_ratio"
    POLICY_TOKENS = "tidegate_policy_tokens_total"
    RECONCILE_DURATION = "tidegate_reconcile_duration_seconds"
    RECONCILE_SKIPPED = "tidegate_reconcile_skipped_total"
    PODS_WITHOUT_SIDECAR = "tidegate_policy_pods_without_sidecar"
    WEBHOOK_REVIEWS = "tidegate_webhook_reviews_total"
    WEBHOOK_REVIEW_DURATION = "tidegate_webhook_review_duration_seconds"
    CONFIG_POLLS = "tidegate_config_polls"
    COUNTS_ASKED = "tidegate_counts_asked_total"


class Refusal(StrEnum):
    """``error.code`` in the OpenAI-shaped body of an answer that the sidecar gives itself; of
    those that never reached a model server also the ``reason`` in ``Metric.REFUSED``."""

    BLOCKED_BUDGET = "token_budget_exhausted"
    BLOCKED_ERRORS = "upstream_blocked"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "request_too_large"
    TOO_SLOW = "request_too_slow"
    OVERLOADED = "overloaded"
    CONNECT = "upstream_unreachable"
    RESET = "upstream_reset"
    PROTOCOL = "upstream_protocol_error"
    TIMEOUT = "upstream_timeout"
