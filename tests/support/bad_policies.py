"""Policies that must not be let in, and what the API server must say of each.

Law: every rule of the schema of the spec is broken here at least once; whoever lets a policy in
is asked about all of them, over HTTP and with ``kubectl apply``.
"""

from bad_scaling import BAD_SCALING
from policy_faults import (
    Bad,
    Good,
    action,
    budget,
    degrade,
    scaling,
    schedule,
    timeouts,
    trigger,
    without,
)

BAD = (
    *BAD_SCALING,
    Bad("it has no target", without("targetRef"), "spec.targetRef", "Required value"),
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
    Bad("it has no models", without("models"), "spec.models", "Required value"),
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
        without("models", "0", "name"),
        "spec.models[0].name",
        "Required value",
    ),
    Bad(
        "it switches to a second model and has none",
        without("models", "1"),
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
        without("models", "1", "upstream"),
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
        "a budget has no limit",
        budget(limit={}),
        "spec.budgets[0].limit",
        "must have tokens or cost",
    ),
    Bad(
        "a budget allows no tokens",
        budget(limit={"tokens": 0}),
        "spec.budgets[0].limit.tokens",
        "Invalid value: 0: spec.budgets[0].limit.tokens in body should be greater than or equal "
        "to 1",
    ),
    Bad(
        "a budget allows no cost",
        budget(limit={"cost": "0.00"}),
        "spec.budgets[0].limit.cost",
        "must be above 0, was: 0.00",
    ),
    Bad(
        "a budget limits a cost that nothing has",
        budget(limit={"cost": "5.00"}),
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
        budget(name="Per Day"),
        "spec.budgets[0].name",
        'Invalid value: "Per Day": spec.budgets[0].name in body should match',
    ),
    Bad(
        "a budget's scope is none",
        budget(scope="User"),
        "spec.budgets[0].scope",
        'Unsupported value: "User": supported values: "Policy", "Tenant", "Model"',
    ),
    Bad(
        "a budget does nothing",
        budget(actions=[]),
        "spec.budgets[0].actions",
        "should have at least 1 items",
    ),
    Bad(
        "a budget does one thing twice",
        budget(actions=[{"at": "50%", "do": "Warn"}, {"at": "60%", "do": "Warn"}]),
        "spec.budgets[0].actions[1]",
        'Duplicate value: {"do":"Warn"}',
    ),
    Bad(
        "an action comes after the limit",
        action(at="100.5%"),
        "spec.budgets[0].actions[0].at",
        'Invalid value: "100.5%": spec.budgets[0].actions[0].at in body should match',
    ),
    Bad(
        "an action is none",
        action(do="Delete"),
        "spec.budgets[0].actions[0].do",
        'Unsupported value: "Delete": supported values: "Warn", "Switch", "Block"',
    ),
    Bad(
        "nobody can tell its tenants apart",
        without("gateway"),
        "spec.gateway",
        "is needed by a budget of scope Tenant",
    ),
    Bad(
        "its ladder for errors has no rung",
        degrade(triggers=[]),
        "spec.degrade.triggers",
        "should have at least 1 items",
    ),
    Bad(
        "a trigger never lets go",
        trigger(exit="5%"),
        "spec.degrade.triggers[0].exit",
        "must be below enter (5%), was: 5%",
    ),
    Bad(
        "a trigger trips at more than all requests",
        trigger(enter="101%"),
        "spec.degrade.triggers[0].enter",
        'Invalid value: "101%": spec.degrade.triggers[0].enter in body should match',
    ),
    Bad(
        "a trigger watches what nobody measures",
        trigger(metric="quality"),
        "spec.degrade.triggers[0].metric",
        'Unsupported value: "quality": supported values: "errorRate"',
    ),
    Bad(
        "a trigger trips at once",
        trigger(**{"for": "0s"}),
        "spec.degrade.triggers[0].for",
        "must be above 0s, was: 0s",
    ),
    Bad(
        "a trigger judges by no request",
        trigger(minRequests=0),
        "spec.degrade.triggers[0].minRequests",
        "Invalid value: 0",
    ),
    Bad(
        "nothing probes for recovery",
        degrade(recovery={"probePercent": "0%"}),
        "spec.degrade.recovery.probePercent",
        'Invalid value: "0%"',
    ),
    Bad(
        "the first wait is longer than the longest",
        degrade(recovery={"backoff": {"initial": "2h"}}),
        "spec.degrade.recovery.backoff.initial",
        "must be at most max (1h), was: 2h",
    ),
    Bad(
        "the wait shrinks with each failure",
        degrade(recovery={"backoff": {"factor": "0.9"}}),
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
        timeouts(firstToken="20m"),
        "spec.gateway.timeouts.firstToken",
        "must be at most total (10m), was: 20m",
    ),
    Bad(
        "a time-out is a word",
        timeouts(firstToken="soon"),
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

GOOD = (
    Good("fewest and most replicas are one", scaling(minReplicas=1, maxReplicas=1)),
    Good("most replicas are ten thousand", scaling(minReplicas=10000, maxReplicas=10000)),
    Good("what a replica carries is left to be learned", without("scaling", "capacityPerReplica")),
    Good("and so said", scaling(capacityPerReplica="Auto")),
    Good("a replica carries very little", scaling(capacityPerReplica="0.001")),
    Good(
        "nothing is left of an idle target",
        scaling(minReplicas=0, scaleToZero={"enabled": True}),
    ),
    Good("demand is in tokens", scaling(demand={"signal": "TokensPerSecond"})),
    Good(
        "lost demand falls back",
        lambda s: s.update(metrics={"onLost": "Fallback", "fallbackReplicas": 3}),
    ),
    Good("a schedule ends at midnight", schedule(end="24:00", days=["Weekdays", "Sat"])),
    Good("a schedule goes over midnight", schedule(start="22:00", end="06:00")),
    Good("a schedule only expects", schedule(minReplicas=None, expectFactor="3")),
    Good("the horizon is the shortest", scaling(forecast={"horizon": "2m"})),
    Good("the horizon is the longest", scaling(forecast={"horizon": "60m"})),
    Good("the horizon is left to itself", scaling(forecast={"horizon": "Auto"})),
    Good("growth is exactly none", scaling(behavior={"scaleUp": {"maxFactor": "1.0"}})),
    Good("all replicas may go at once", scaling(behavior={"scaleDown": {"maxPercent": "100%"}})),
    Good("nothing is tolerated", scaling(behavior={"tolerance": "0%"})),
    Good("a trigger trips at all requests", trigger(enter="100%", exit="99.9%")),
    Good("a trigger lets go at nothing", trigger(enter="1%", exit="0%")),
    Good("an action stands at the limit", action(at="100.0%")),
    Good("the first wait is the longest", degrade(recovery={"backoff": {"initial": "1h"}})),
    Good("the first token may come at the end", timeouts(firstToken="10m", total="600s")),
    Good("a duration is given in milliseconds", timeouts(connect="250ms")),
    Good("a budget allows one token", budget(limit={"tokens": 1})),
    Good("there are no budgets", without("budgets")),
    Good("replicas are left alone", without("scaling")),
    Good("the target is a StatefulSet", lambda s: s["targetRef"].update(kind="StatefulSet")),
    Good(
        "there are sixteen models",
        lambda s: s["models"].extend(
            {"name": f"m{i}", "upstream": "http://m:80"} for i in range(14)
        ),
    ),
    Good("a name is as long as may be", lambda s: s["targetRef"].update(name="n" * 253)),
)
