"""A cluster with memory, small enough to read: an API server's objects, sidecars, a forecaster.

It keeps what is written and counts the writes, so that a test can say what must not be written.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidegate_operator.cluster.client import ApiError, Object
from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.forecast.known import NOTHING, Known
from tidegate_operator.sources.forecaster import ForecastRules
from tidegate_operator.sources.prometheus import Answer, Kind, Points, PrometheusError, Server
from tidegate_operator.sources.sidecars import Address
from tidegate_wire.names import INJECTED, ConfigState, Outcome
from tidegate_wire.stats import EngineLoad, Series, SidecarStats

NAMESPACE = "shop"
SCALE = "/apis/apps/v1/namespaces/shop/deployments/llama/scale"
POLICY = "/apis/tidegate.io/v1alpha1/namespaces/shop/llmqualitypolicies"
MAPS = "/api/v1/namespaces/shop/configmaps"
EVENTS = "/api/v1/namespaces/shop/events"
START = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


class FakeClock:
    """Stands still until it is moved."""

    speed = 1.0

    def __init__(self, now: float = START) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - START

    def real_s(self, seconds: float) -> float:
        return seconds

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class FakeApi:
    """Objects by path; ``refuse`` maps (method, path prefix) to an HTTP status."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.writes: list[tuple[str, str]] = []
        self.reads = 0
        self.listed: dict[str, int] = {}
        """How often each list was read."""
        self.refuse: dict[tuple[str, str], int] = {}
        self.reason = "Refused"
        """Of each refusal."""

    def put(self, path: str, body: Object) -> Object:
        """Place an object as if somebody else had written it."""
        self.objects[path] = copy.deepcopy(body)
        return self.objects[path]

    def written(self, method: str, path: str = "") -> list[str]:
        return [p for m, p in self.writes if m == method and p.startswith(path)]

    def _check(self, method: str, path: str) -> None:
        for (refused, prefix), status in self.refuse.items():
            if refused == method and path.startswith(prefix):
                raise ApiError(status, self.reason, f"{method} {path} refused with {status}")

    def _of(self, path: str) -> tuple[Object, str]:
        for sub in ("/status", "/scale"):
            if path.endswith(sub) and path not in self.objects:
                return self._have(path.removesuffix(sub)), sub
        return self._have(path), ""

    def _have(self, path: str) -> Object:
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")
        return self.objects[path]

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        self.reads += 1
        self._check("GET", path)
        return copy.deepcopy(self._of(path)[0])

    async def create(self, path: str, body: Object) -> Object:
        self._write("POST", path)
        full = f"{path}/{body['metadata']['name']}"
        if full in self.objects:
            raise ApiError(409, "AlreadyExists", f"{full} already exists")
        return self.put(full, body)

    async def replace(self, path: str, body: Object) -> Object:
        self._write("PUT", path)
        known = self._have(path)["metadata"].get("resourceVersion")
        if body["metadata"].get("resourceVersion") != known:
            raise ApiError(409, "Conflict", "the object has been modified")
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(int(known or 0) + 1)
        return self.put(path, body)

    async def merge(self, path: str, body: Object) -> Object:
        self._write("PATCH", path)
        found = self._have(path)
        for name, value in copy.deepcopy(body).items():
            if isinstance(value, dict):
                found.setdefault(name, {}).update(value)
            else:
                found[name] = value
        return found

    async def patch(self, path: str, operations: list[Object]) -> Object:
        self._write("PATCH", path)
        found, _ = self._of(path)
        for operation in copy.deepcopy(operations):
            *parents, last = operation["path"].strip("/").split("/")
            target = found
            for name in parents:
                target = target[name]
            if operation["op"] == "test":
                if target.get(last) != operation["value"]:
                    raise ApiError(422, "Invalid", "the test of a JSON patch failed")
            else:
                target[last] = operation["value"]
        return found

    async def delete(self, path: str, body: Object | None = None) -> Object:
        self._write("DELETE", path)
        self._have(path)
        return self.objects.pop(path)

    async def items(self, path: str, selector: str = "") -> list[Object]:
        self.reads += 1
        self.listed[path] = self.listed.get(path, 0) + 1
        self._check("GET", path)
        return [
            copy.deepcopy(item)
            for at, item in self.objects.items()
            if at.rsplit("/", 1)[0].endswith(path.rsplit("/", 1)[1])
        ]

    def _write(self, method: str, path: str) -> None:
        self.writes.append((method, path))
        self._check(method, path)


class FakeSidecars:
    """Answers for pods by UID; a pod without stats can't be read."""

    def __init__(self) -> None:
        self.stats: dict[str, SidecarStats] = {}
        self.asked: list[str] = []
        self.saved: list[tuple[str, str]] = []
        """(UID, look) of all that was said to be saved."""

    async def look(self, pods: Iterable[Address]) -> Mapping[str, SidecarStats | None]:
        asked = list(pods)
        self.asked += [pod.uid for pod in asked]
        self.saved += [(pod.uid, pod.saved) for pod in asked if pod.saved]
        return {pod.uid: self.stats.get(pod.uid) for pod in asked}


class FakeForecasts:
    """Answers with the forecast that it was given."""

    def __init__(self) -> None:
        self.answer: Forecast | None = None
        self.asked: list[tuple[float, ForecastRules, int]] = []
        self.forgotten: list[str] = []
        self.counts: list[int | None] = []
        self.known = NOTHING
        """Both of the last time that it was asked."""

    async def forecast(
        self,
        key: str,
        *,
        start_minute: int,
        counts: Sequence[int | None],
        now: float,
        rules: ForecastRules,
        state: Mapping[str, Any] | None,
        known: Known,
    ) -> tuple[Forecast, Mapping[str, Any]]:
        self.asked.append((now, rules, len(counts)))
        self.counts, self.known = list(counts), known
        answer = self.answer or Forecast(
            made_at=now,
            horizon_s=rules.horizon_s,
            quantiles={},
            reliable=False,
            reason=Reason.HISTORY_SHORT,
            message="0 minutes of history, 48 hours are needed; reactive only",
        )
        return answer, {"asked": len(self.asked)}

    async def forget(self, key: str) -> None:
        self.forgotten.append(key)


class FakePrometheus:
    """Holds a rate by time, and what is wrong with it, if anything is."""

    def __init__(self) -> None:
        self.rates: dict[float, float] = {}
        self.answer: Answer | None = None
        """What an instant query gets; ``None``: the newest rate there is."""
        self.broken = ""
        """Why range queries fail."""
        self.instants: list[tuple[Server, str]] = []
        self.ranges: list[tuple[float, float]] = []

    async def instant(self, server: Server, query: str, *, now: float, max_age_s: float) -> Answer:
        self.instants.append((server, query))
        if self.answer is not None:
            return self.answer
        known = [at for at in self.rates if now - max_age_s <= at <= now]
        return Answer(kind=Kind.VALUE, value=self.rates[max(known)])

    async def range(
        self, server: Server, query: str, *, start: float, end: float, step_s: int = 60
    ) -> Points:
        self.ranges.append((start, end))
        if self.broken:
            raise PrometheusError(self.broken)
        return [(at, self.rates[at]) for at in sorted(self.rates) if start <= at <= end]


def policy(name: str = "chat", *, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Object:
    """A policy manifest: Enforce, one target, two models; ``spec`` is laid over it."""
    return {
        "apiVersion": "tidegate.io/v1alpha1",
        "kind": "LLMQualityPolicy",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "generation": 1,
            "creationTimestamp": created,
        },
        "spec": {
            "mode": "Enforce",
            "targetRef": {"kind": "Deployment", "name": "llama"},
            "models": [
                {
                    "name": "llama-70b",
                    "price": {"inputPerMTok": "0.90", "outputPerMTok": "0.90"},
                },
                {"name": "llama-8b", "upstream": "http://llama-8b.shop.svc:8000"},
            ],
            "scaling": {"minReplicas": 1, "maxReplicas": 10, "capacityPerReplica": "2.5"},
        }
        | spec,
    }


def scale(replicas: int, pods: int | None = None) -> Object:
    """The scale subresource of Deployment/llama."""
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "llama", "namespace": NAMESPACE, "resourceVersion": "1"},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas if pods is None else pods, "selector": "app=llama"},
    }


def pod(
    uid: str,
    *,
    ready: bool = True,
    created: str = "2026-01-01T00:00:00Z",
    ready_at: str = "2026-01-01T00:01:30Z",
    terminating: bool = False,
    app: str = "llama",
) -> Object:
    """An injected pod of Deployment/llama."""
    manifest: Object = {
        "metadata": {
            "name": f"llama-{uid}",
            "namespace": NAMESPACE,
            "uid": uid,
            "labels": {"app": app, INJECTED: "true"},
            "annotations": {"tidegate.io/status": '{"ports": {"inbound": 14100, "admin": 14120}}'},
            "creationTimestamp": created,
        },
        "status": {
            "phase": "Running",
            "podIP": "127.0.0.9",
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "lastTransitionTime": ready_at,
                }
            ],
        },
    }
    if terminating:
        manifest["metadata"]["deletionTimestamp"] = ready_at
    return manifest


def stats(
    uid: str,
    arrived: int,
    *,
    errors: int = 0,
    tokens: int = 0,
    tenant: str = "",
    config_hash: str = "",
    boot: str = "a",
    model: str = "llama-70b",
    duration_s: float = 0.5,
    in_flight: int = 0,
    leaving: bool = False,
    engine: EngineLoad | None = None,
) -> SidecarStats:
    """One look at a sidecar: all that arrived has ended, after ``duration_s`` each."""
    outcomes = {str(Outcome.OK): arrived - errors, str(Outcome.SERVER_ERROR): errors}
    return SidecarStats(
        pod_uid=uid,
        boot=boot,
        arrived=arrived,
        in_flight=in_flight,
        look=f"{boot}.{arrived}.{errors}.{tokens}.{in_flight}",
        leaving=leaving,
        engine=engine,
        config_hash=config_hash,
        config_state=ConfigState.APPLIED if config_hash else ConfigState.NONE,
        series=(
            Series(
                model=model,
                tenant=tenant,
                outcomes=outcomes,
                tokens_in=tokens,
                duration_s=arrived * duration_s,
            ),
        ),
    )
