"""Policies that must not be let in, and what the API server must say of each.

Law: every rule of the schema of the spec is broken here at least once; whoever lets a policy in
is asked about all of them, over HTTP and with ``kubectl apply``.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Spec = dict[str, Any]
README = Path(__file__).parents[2] / "README.md"


def readme_policy() -> dict[str, Any]:
    """The README's, fit for any namespace."""
    for text in re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        for policy in yaml.safe_load_all(text):
            if isinstance(policy, dict) and policy.get("kind") == "LLMQualityPolicy":
                policy["metadata"].pop("namespace", None)
                return copy.deepcopy(policy)
    raise LookupError("the README shows no policy")


@dataclass(frozen=True)
class Bad:
    """One fault, made in the README's policy."""

    sentence: str
    change: Callable[[Spec], object]
    field: str
    words: str
    """Rule and value; the value may be missing where it is missing."""

    def policy(self) -> dict[str, Any]:
        policy = readme_policy()
        self.change(policy["spec"])
        return policy


def _scaling(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["scaling"].update(fields)


def _schedule(**fields: Any) -> Callable[[Spec], object]:
    """A good schedule with these fields changed; ``None`` takes one away."""
    good = {"name": "day", "start": "08:00", "end": "18:00", "minReplicas": 3}
    return _scaling(schedules=[{n: v for n, v in (good | fields).items() if v is not None}])


def _trigger(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["degrade"]["triggers"][0].update(fields)


def _degrade(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["degrade"].update(fields)


def _budget(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["budgets"][0].update(fields)


def _action(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["budgets"][0]["actions"][0].update(fields)


def _timeouts(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["gateway"].update(timeouts=fields)


def _without(*path: str) -> Callable[[Spec], object]:
    def change(spec: Spec) -> object:
        place: Any = spec
        for key in path[:-1]:
            place = place[int(key) if key.isdigit() else key]
        return place.pop(int(path[-1]) if path[-1].isdigit() else path[-1])

    return change


BAD = (
    Bad("it has no target", _without("targetRef"), "spec.targetRef", "Required value"),
    Bad(
        "its target is a kind that cannot be scaled",
        lambda s: s["targetRef"].update(kind="DaemonSet"),
        "spec.targetRef.kind",
        'Unsupported value: "DaemonSet": supported values: "Deployment", "StatefulSet"',
    ),
    Bad(
        "its target has no name",
        lambda s: s["targetRef"].update(name=""),
        "spec.targetRef.name",
        'Invalid value: "": spec.targetRef.name in body should be at least 1 chars long',
    ),
    Bad(
        "its target is of an API version that nobody serves",
        lambda s: s["targetRef"].update(apiVersion="apps/v1beta2"),
        "spec.targetRef.apiVersion",
        'Unsupported value: "apps/v1beta2": supported values: "apps/v1"',
    ),
    Bad(
        "its mode is none",
        lambda s: s.update(mode="Force"),
        "spec.mode",
        'Unsupported value: "Force": supported values: "Shadow", "Enforce", "Paused"',
    ),
    Bad("it has no models", _without("models"), "spec.models", "Required value"),
    Bad(
        "its list of models is empty",
        lambda s: s.update(models=[]),
        "spec.models",
        "should have at least 1 items",
    ),
    Bad(
        "it has more models than anyone can follow",
        lambda s: s.update(
            models=[{"name": f"m{i}", "upstream": "http://m:80"} for i in range(17)]
        ),
        "spec.models",
        "Too many: 17: must have at most 16 items",
    ),
    Bad(
        "it names one model twice",
        lambda s: s["models"][1].update(name=s["models"][0]["name"]),
        "spec.models[1]",
        'Duplicate value: {"name":"llama-70b"}',
    ),
    Bad(
        "a model has no name",
        _without("models", "0", "name"),
        "spec.models[0].name",
        "Required value",
    ),
    Bad(
        "it switches to a second model and has none",
        _without("models", "1"),
        "spec.models",
        "needs a second model to switch to: add one, or let no trigger do Switch, "
        "was: llama-70b alone",
    ),
    Bad(
        "a budget switches to a second model and there is none",
        lambda s: (s["models"].pop(), s["degrade"]["triggers"][0].update(do="Warn")),
        "spec.models",
        "needs a second model to switch to: add one, or let no budget do Switch, "
        "was: llama-70b alone",
    ),
    Bad(
        "a fallback has no server of its own",
        _without("models", "1", "upstream"),
        "spec.models",
        "must each have an upstream, all but the first: a fallback in the same pod would fail "
        "with it; without one: llama-8b",
    ),
    Bad(
        "an upstream has a query",
        lambda s: s["models"][1].update(upstream="https://llama-8b/v1?key=1"),
        "spec.models[1].upstream",
        'Invalid value: "https://llama-8b/v1?key=1": spec.models[1].upstream in body should match',
    ),
    Bad(
        "an upstream speaks another protocol",
        lambda s: s["models"][1].update(upstream="grpc://llama-8b"),
        "spec.models[1].upstream",
        'Invalid value: "grpc://llama-8b": spec.models[1].upstream in body should match',
    ),
    Bad(
        "a price is no number",
        lambda s: s["models"][0].update(price={"inputPerMTok": "cheap", "outputPerMTok": "1"}),
        "spec.models[0].price.inputPerMTok",
        'Invalid value: "cheap"',
    ),
    Bad(
        "a price is only half",
        lambda s: s["models"][0].update(price={"inputPerMTok": "1"}),
        "spec.models[0].price.outputPerMTok",
        "Required value",
    ),
    Bad(
        "its percentile is not among those that can be sized for",
        lambda s: s.update(slo={"ttft": {"percentile": "80"}}),
        "spec.slo.ttft.percentile",
        'Unsupported value: "80": supported values: "50", "75", "90", "95", "99"',
    ),
    Bad(
        "its time to first token is none",
        lambda s: s.update(slo={"ttft": {"target": "0s"}}),
        "spec.slo.ttft.target",
        "must be above 0s, was: 0s",
    ),
    Bad(
        "a duration has no unit",
        lambda s: s.update(metrics={"maxAge": "60"}),
        "spec.metrics.maxAge",
        'Invalid value: "60": spec.metrics.maxAge in body should match',
    ),
    Bad(
        "its demand comes from nowhere",
        lambda s: s.update(metrics={"source": "Guesses"}),
        "spec.metrics.source",
        'Unsupported value: "Guesses": supported values: "Sidecar", "Prometheus"',
    ),
    Bad(
        "its demand comes from a Prometheus that is not named",
        lambda s: s.update(metrics={"source": "Prometheus"}),
        "spec.metrics.prometheus",
        "is required with source Prometheus",
    ),
    Bad(
        "its Prometheus has no URL",
        lambda s: s.update(metrics={"source": "Prometheus", "prometheus": {"query": "sum(a)"}}),
        "spec.metrics.prometheus.url",
        "Required value",
    ),
    Bad(
        "its Prometheus' URL has the API's path and a query",
        lambda s: s.update(metrics={"prometheus": {"url": "http://p:9090/api/v1/query?query=a"}}),
        "spec.metrics.prometheus.url",
        'Invalid value: "http://p:9090/api/v1/query?query=a"',
    ),
    Bad(
        "its query is empty",
        lambda s: s.update(metrics={"prometheus": {"url": "http://p:9090", "query": ""}}),
        "spec.metrics.prometheus.query",
        "should be at least 1 chars long",
    ),
    Bad(
        "the Secret for its Prometheus has no name",
        lambda s: s.update(
            metrics={"prometheus": {"url": "http://p:9090", "headersSecretRef": {}}}
        ),
        "spec.metrics.prometheus.headersSecretRef.name",
        "Required value",
    ),
    Bad(
        "its fewest replicas are more than its most",
        _scaling(minReplicas=11),
        "spec.scaling.minReplicas",
        "must be at most maxReplicas (10), was: 11",
    ),
    Bad(
        "its fewest replicas are more than its most, by thousands",
        _scaling(minReplicas=10000, maxReplicas=9999),
        "spec.scaling.minReplicas",
        "must be at most maxReplicas (9999), was: 10000",
    ),
    Bad(
        "its fewest replicas are none, and nobody asked for that",
        _scaling(minReplicas=0),
        "spec.scaling.minReplicas",
        "must be at least 1 unless scaleToZero.enabled is true",
    ),
    Bad(
        "it scales to zero and keeps one",
        _scaling(minReplicas=1, scaleToZero={"enabled": True}),
        "spec.scaling.minReplicas",
        "must be 0 where scaleToZero.enabled is true",
    ),
    Bad(
        "it scales to zero at once",
        _scaling(minReplicas=0, scaleToZero={"enabled": True, "after": "0m"}),
        "spec.scaling.scaleToZero.after",
        "must be above 0s, was: 0m",
    ),
    Bad(
        "its scale to zero is neither on nor off",
        _scaling(scaleToZero={"after": "1h"}),
        "spec.scaling.scaleToZero.enabled",
        "Required value",
    ),
    Bad(
        "its demand is measured in nothing that is known",
        _scaling(demand={"signal": "Latency"}),
        "spec.scaling.demand.signal",
        'Unsupported value: "Latency": supported values: "Auto", "RequestsPerSecond", '
        '"TokensPerSecond", "Concurrency"',
    ),
    Bad(
        "what it does without demand is not said in a known word",
        lambda s: s.update(metrics={"onLost": "Zero"}),
        "spec.metrics.onLost",
        'Unsupported value: "Zero": supported values: "Hold", "ReactiveOnly", "Fallback"',
    ),
    Bad(
        "it falls back on a count that it does not say",
        lambda s: s.update(metrics={"onLost": "Fallback"}),
        "spec.metrics.fallbackReplicas",
        "is required with onLost Fallback",
    ),
    Bad(
        "it falls back on nothing",
        lambda s: s.update(metrics={"onLost": "Fallback", "fallbackReplicas": 0}),
        "spec.metrics.fallbackReplicas",
        "Invalid value: 0: spec.metrics.fallbackReplicas in body should be greater than or equal "
        "to 1",
    ),
    Bad(
        "a schedule asks for nothing",
        _schedule(minReplicas=None),
        "spec.scaling.schedules[0]",
        "must have minReplicas, maxReplicas or an expectFactor above 1",
    ),
    Bad(
        "a schedule's fewest are more than its most",
        _schedule(maxReplicas=2),
        "spec.scaling.schedules[0].minReplicas",
        "must be at most maxReplicas",
    ),
    Bad(
        "a schedule asks for more than the policy allows",
        _schedule(minReplicas=11),
        "spec.scaling.schedules",
        "must have no minReplicas or maxReplicas above spec.scaling.maxReplicas",
    ),
    Bad(
        "a schedule begins at no time of day",
        _schedule(start="8:00"),
        "spec.scaling.schedules[0].start",
        'Invalid value: "8:00": spec.scaling.schedules[0].start in body should match',
    ),
    Bad(
        "a schedule ends at no time of day",
        _schedule(end="25:00"),
        "spec.scaling.schedules[0].end",
        'Invalid value: "25:00": spec.scaling.schedules[0].end in body should match',
    ),
    Bad(
        "a schedule is for a day that no week has",
        _schedule(days=["Someday"]),
        "spec.scaling.schedules[0].days[0]",
        'Unsupported value: "Someday"',
    ),
    Bad(
        "a schedule expects less than there is",
        _schedule(expectFactor="0.5"),
        "spec.scaling.schedules[0].expectFactor",
        "must be at least 1, was: 0.5",
    ),
    Bad(
        "a window that nothing is learned from ends before it begins",
        _scaling(
            forecast={
                "excludeWindows": [
                    {"start": "2026-11-27T09:00:00Z", "end": "2026-11-27T08:00:00Z"}
                ]
            }
        ),
        "spec.scaling.forecast.excludeWindows[0].end",
        "must be after start",
    ),
    Bad(
        "holidays of something that is no country",
        _scaling(forecast={"holidays": {"country": "Germany"}}),
        "spec.scaling.forecast.holidays.country",
        'Invalid value: "Germany": spec.scaling.forecast.holidays.country in body should match',
    ),
    Bad(
        "holidays of no country at all",
        _scaling(forecast={"holidays": {"timezone": "Europe/Berlin"}}),
        "spec.scaling.forecast.holidays.country",
        "Required value",
    ),
    Bad(
        "a window that nothing is learned from has no end",
        _scaling(forecast={"excludeWindows": [{"start": "2026-11-27T09:00:00Z"}]}),
        "spec.scaling.forecast.excludeWindows[0].end",
        "Required value",
    ),
    Bad(
        "its most replicas are beyond reason",
        _scaling(maxReplicas=10001),
        "spec.scaling.maxReplicas",
        "Invalid value: 10001: spec.scaling.maxReplicas in body should be less than or equal to "
        "10000",
    ),
    Bad(
        "its replicas are text",
        _scaling(maxReplicas="ten"),
        "spec.scaling.maxReplicas",
        'must be of type integer: "string"',
    ),
    Bad(
        "what its replicas carry is a word",
        _scaling(capacityPerReplica="Much"),
        "spec.scaling.capacityPerReplica",
        'Invalid value: "Much": spec.scaling.capacityPerReplica in body should match',
    ),
    Bad(
        "its replicas carry nothing",
        _scaling(capacityPerReplica="0.00"),
        "spec.scaling.capacityPerReplica",
        "must be above 0, was: 0.00",
    ),
    Bad(
        "its replicas carry less than nothing",
        _scaling(capacityPerReplica="-1"),
        "spec.scaling.capacityPerReplica",
        'Invalid value: "-1": spec.scaling.capacityPerReplica in body should match',
    ),
    Bad(
        "its actuator is none",
        _scaling(actuator="HPA"),
        "spec.scaling.actuator",
        'Unsupported value: "HPA": supported values: "Scale", "KEDA", "ExternalMetric"',
    ),
    Bad(
        "its strictness is none",
        _scaling(strictness="Loose"),
        "spec.scaling.strictness",
        'Unsupported value: "Loose": supported values: "Lean", "Balanced", "Strict"',
    ),
    Bad(
        "it looks ahead too short a time",
        _scaling(forecast={"horizon": "90s"}),
        "spec.scaling.forecast.horizon",
        "must be Auto or between 2m and 1h, was: 90s",
    ),
    Bad(
        "it looks ahead too long a time",
        _scaling(forecast={"horizon": "1h1s"}),
        "spec.scaling.forecast.horizon",
        "must be Auto or between 2m and 1h, was: 1h1s",
    ),
    Bad(
        "its horizon is a word",
        _scaling(forecast={"horizon": "auto"}),
        "spec.scaling.forecast.horizon",
        'Invalid value: "auto": spec.scaling.forecast.horizon in body should match',
    ),
    Bad(
        "it keeps no history",
        _scaling(forecast={"history": "0d"}),
        "spec.scaling.forecast.history",
        "must be above 0s, was: 0d",
    ),
    Bad(
        "its growth shrinks",
        _scaling(behavior={"scaleUp": {"maxFactor": "0.5"}}),
        "spec.scaling.behavior.scaleUp.maxFactor",
        "must be at least 1, was: 0.5",
    ),
    Bad(
        "it may remove nothing at all",
        _scaling(behavior={"scaleDown": {"maxPercent": "0%"}}),
        "spec.scaling.behavior.scaleDown.maxPercent",
        'Invalid value: "0%": spec.scaling.behavior.scaleDown.maxPercent in body should match',
    ),
    Bad(
        "its tolerance has no sign",
        _scaling(behavior={"tolerance": "10"}),
        "spec.scaling.behavior.tolerance",
        'Invalid value: "10": spec.scaling.behavior.tolerance in body should match',
    ),
    Bad(
        "a budget has no limit",
        _budget(limit={}),
        "spec.budgets[0].limit",
        "must have tokens or cost",
    ),
    Bad(
        "a budget allows no tokens",
        _budget(limit={"tokens": 0}),
        "spec.budgets[0].limit.tokens",
        "Invalid value: 0: spec.budgets[0].limit.tokens in body should be greater than or equal "
        "to 1",
    ),
    Bad(
        "a budget allows no cost",
        _budget(limit={"cost": "0.00"}),
        "spec.budgets[0].limit.cost",
        "must be above 0, was: 0.00",
    ),
    Bad(
        "a budget limits a cost that nothing has",
        _budget(limit={"cost": "5.00"}),
        "spec.models",
        "must have a price, since a budget limits cost and no model has one",
    ),
    Bad(
        "a budget's window is in no calendar",
        lambda s: s["budgets"][0]["window"].update(unit="Fortnight"),
        "spec.budgets[0].window.unit",
        'Unsupported value: "Fortnight": supported values: "Hour", "Day", "Week", "Month"',
    ),
    Bad(
        "a budget's name could not be a label",
        _budget(name="Per Day"),
        "spec.budgets[0].name",
        'Invalid value: "Per Day": spec.budgets[0].name in body should match',
    ),
    Bad(
        "a budget's scope is none",
        _budget(scope="User"),
        "spec.budgets[0].scope",
        'Unsupported value: "User": supported values: "Policy", "Tenant", "Model"',
    ),
    Bad(
        "a budget does nothing",
        _budget(actions=[]),
        "spec.budgets[0].actions",
        "should have at least 1 items",
    ),
    Bad(
        "a budget does one thing twice",
        _budget(actions=[{"at": "50%", "do": "Warn"}, {"at": "60%", "do": "Warn"}]),
        "spec.budgets[0].actions[1]",
        'Duplicate value: {"do":"Warn"}',
    ),
    Bad(
        "an action comes after the limit",
        _action(at="100.5%"),
        "spec.budgets[0].actions[0].at",
        'Invalid value: "100.5%": spec.budgets[0].actions[0].at in body should match',
    ),
    Bad(
        "an action is none",
        _action(do="Delete"),
        "spec.budgets[0].actions[0].do",
        'Unsupported value: "Delete": supported values: "Warn", "Switch", "Block"',
    ),
    Bad(
        "nobody can tell its tenants apart",
        _without("gateway"),
        "spec.gateway",
        "is needed by a budget of scope Tenant",
    ),
    Bad(
        "its ladder for errors has no rung",
        _degrade(triggers=[]),
        "spec.degrade.triggers",
        "should have at least 1 items",
    ),
    Bad(
        "a trigger never lets go",
        _trigger(exit="5%"),
        "spec.degrade.triggers[0].exit",
        "must be below enter (5%), was: 5%",
    ),
    Bad(
        "a trigger trips at more than all requests",
        _trigger(enter="101%"),
        "spec.degrade.triggers[0].enter",
        'Invalid value: "101%": spec.degrade.triggers[0].enter in body should match',
    ),
    Bad(
        "a trigger watches what nobody measures",
        _trigger(metric="quality"),
        "spec.degrade.triggers[0].metric",
        'Unsupported value: "quality": supported values: "errorRate"',
    ),
    Bad(
        "a trigger trips at once",
        _trigger(**{"for": "0s"}),
        "spec.degrade.triggers[0].for",
        "must be above 0s, was: 0s",
    ),
    Bad(
        "a trigger judges by no request",
        _trigger(minRequests=0),
        "spec.degrade.triggers[0].minRequests",
        "Invalid value: 0",
    ),
    Bad(
        "nothing probes for recovery",
        _degrade(recovery={"probePercent": "0%"}),
        "spec.degrade.recovery.probePercent",
        'Invalid value: "0%"',
    ),
    Bad(
        "the first wait is longer than the longest",
        _degrade(recovery={"backoff": {"initial": "2h"}}),
        "spec.degrade.recovery.backoff.initial",
        "must be at most max (1h), was: 2h",
    ),
    Bad(
        "the wait shrinks with each failure",
        _degrade(recovery={"backoff": {"factor": "0.9"}}),
        "spec.degrade.recovery.backoff.factor",
        "must be at least 1, was: 0.9",
    ),
    Bad(
        "tenants are named by what is no header",
        lambda s: s["gateway"]["identify"].update(header="x tenant"),
        "spec.gateway.identify.header",
        'Invalid value: "x tenant": spec.gateway.identify.header in body should match',
    ),
    Bad(
        "the first token may come after the end",
        _timeouts(firstToken="20m"),
        "spec.gateway.timeouts.firstToken",
        "must be at most total (10m), was: 20m",
    ),
    Bad(
        "a time-out is a word",
        _timeouts(firstToken="soon"),
        "spec.gateway.timeouts.firstToken",
        'Invalid value: "soon": spec.gateway.timeouts.firstToken in body should match',
    ),
    Bad(
        "requests may have no body",
        lambda s: s["gateway"].update(maxRequestBytes="0Mi"),
        "spec.gateway.maxRequestBytes",
        'Invalid value: "0Mi": spec.gateway.maxRequestBytes in body should match',
    ),
)


@dataclass(frozen=True)
class Good:
    """One value at the edge of what is let in."""

    sentence: str
    change: Callable[[Spec], object]

    def policy(self) -> dict[str, Any]:
        policy = readme_policy()
        self.change(policy["spec"])
        return policy


GOOD = (
    Good("fewest and most replicas are one", _scaling(minReplicas=1, maxReplicas=1)),
    Good("most replicas are ten thousand", _scaling(minReplicas=10000, maxReplicas=10000)),
    Good(
        "what a replica carries is left to be learned", _without("scaling", "capacityPerReplica")
    ),
    Good("and so said", _scaling(capacityPerReplica="Auto")),
    Good("a replica carries very little", _scaling(capacityPerReplica="0.001")),
    Good(
        "nothing is left of an idle target",
        _scaling(minReplicas=0, scaleToZero={"enabled": True}),
    ),
    Good("demand is in tokens", _scaling(demand={"signal": "TokensPerSecond"})),
    Good(
        "lost demand falls back",
        lambda s: s.update(metrics={"onLost": "Fallback", "fallbackReplicas": 3}),
    ),
    Good("a schedule ends at midnight", _schedule(end="24:00", days=["Weekdays", "Sat"])),
    Good("a schedule goes over midnight", _schedule(start="22:00", end="06:00")),
    Good("a schedule only expects", _schedule(minReplicas=None, expectFactor="3")),
    Good("the horizon is the shortest", _scaling(forecast={"horizon": "2m"})),
    Good("the horizon is the longest", _scaling(forecast={"horizon": "60m"})),
    Good("the horizon is left to itself", _scaling(forecast={"horizon": "Auto"})),
    Good("growth is exactly none", _scaling(behavior={"scaleUp": {"maxFactor": "1.0"}})),
    Good("all replicas may go at once", _scaling(behavior={"scaleDown": {"maxPercent": "100%"}})),
    Good("nothing is tolerated", _scaling(behavior={"tolerance": "0%"})),
    Good("a trigger trips at all requests", _trigger(enter="100%", exit="99.9%")),
    Good("a trigger lets go at nothing", _trigger(enter="1%", exit="0%")),
    Good("an action stands at the limit", _action(at="100.0%")),
    Good("the first wait is the longest", _degrade(recovery={"backoff": {"initial": "1h"}})),
    Good("the first token may come at the end", _timeouts(firstToken="10m", total="600s")),
    Good("a duration is given in milliseconds", _timeouts(connect="250ms")),
    Good("a budget allows one token", _budget(limit={"tokens": 1})),
    Good("there are no budgets", _without("budgets")),
    Good("replicas are left alone", _without("scaling")),
    Good("the target is a StatefulSet", lambda s: s["targetRef"].update(kind="StatefulSet")),
    Good(
        "there are sixteen models",
        lambda s: s["models"].extend(
            {"name": f"m{i}", "upstream": "http://m:80"} for i in range(14)
        ),
    ),
    Good("a name is as long as may be", lambda s: s["targetRef"].update(name="n" * 253)),
)
