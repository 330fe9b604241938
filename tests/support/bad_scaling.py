"""Faults in ``spec.scaling`` and ``spec.metrics``: each rule of the schema is broken once."""

from policy_faults import Bad, scaling, schedule

BAD_SCALING = (
    Bad(
        "its fewest replicas are more than its most",
        scaling(minReplicas=11),
        "spec.scaling.minReplicas",
        "must be at most maxReplicas (10), was: 11",
    ),
    Bad(
        "its fewest replicas are more than its most, by thousands",
        scaling(minReplicas=10000, maxReplicas=9999),
        "spec.scaling.minReplicas",
        "must be at most maxReplicas (9999), was: 10000",
    ),
    Bad(
        "its fewest replicas are none, and nobody asked for that",
        scaling(minReplicas=0),
        "spec.scaling.minReplicas",
        "must be at least 1 unless scaleToZero.enabled is true",
    ),
    Bad(
        "its strictness lets nobody ever be late",
        scaling(strictness="0.00%"),
        "spec.scaling.strictness",
        "must be Lean, Balanced, Strict, or a percentage above 0% and below 10% such as 0.25%, "
        "was: 0.00%",
    ),
    Bad(
        "its strictness lets many be late",
        scaling(strictness="10%"),
        "spec.scaling.strictness",
        "must be Lean, Balanced, Strict, or a percentage above 0% and below 10% such as 0.25%, "
        "was: 10%",
    ),
    Bad(
        "it scales to zero and keeps one",
        scaling(minReplicas=1, scaleToZero={"enabled": True}),
        "spec.scaling.minReplicas",
        "must be 0 where scaleToZero.enabled is true",
    ),
    Bad(
        "it scales to zero at once",
        scaling(minReplicas=0, scaleToZero={"enabled": True, "after": "0m"}),
        "spec.scaling.scaleToZero.after",
        "must be above 0s, was: 0m",
    ),
    Bad(
        "its scale to zero is neither on nor off",
        scaling(scaleToZero={"after": "1h"}),
        "spec.scaling.scaleToZero.enabled",
        "Required value",
    ),
    Bad(
        "its demand is measured in nothing that is known",
        scaling(demand={"signal": "Latency"}),
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
        schedule(minReplicas=None),
        "spec.scaling.schedules[0]",
        "must have minReplicas, maxReplicas or an expectFactor above 1",
    ),
    Bad(
        "a schedule's fewest are more than its most",
        schedule(maxReplicas=2),
        "spec.scaling.schedules[0].minReplicas",
        "must be at most maxReplicas",
    ),
    Bad(
        "a schedule asks for more than the policy allows",
        schedule(minReplicas=11),
        "spec.scaling.schedules",
        "must have no minReplicas or maxReplicas above spec.scaling.maxReplicas",
    ),
    Bad(
        "a schedule begins at no time of day",
        schedule(start="8:00"),
        "spec.scaling.schedules[0].start",
        'Invalid value: "8:00": spec.scaling.schedules[0].start in body should match',
    ),
    Bad(
        "a schedule ends at no time of day",
        schedule(end="25:00"),
        "spec.scaling.schedules[0].end",
        'Invalid value: "25:00": spec.scaling.schedules[0].end in body should match',
    ),
    Bad(
        "a schedule is for a day that no week has",
        schedule(days=["Someday"]),
        "spec.scaling.schedules[0].days[0]",
        'Unsupported value: "Someday"',
    ),
    Bad(
        "a schedule expects less than there is",
        schedule(expectFactor="0.5"),
        "spec.scaling.schedules[0].expectFactor",
        "must be at least 1, was: 0.5",
    ),
    Bad(
        "it forecasts by a series that nobody can be asked for",
        scaling(forecast={"regressors": [{"name": "orders", "query": "orders"}]}),
        "spec.metrics",
        "needs a prometheus, whom scaling.forecast.regressors are asked of",
    ),
    Bad(
        "it forecasts by a series without a query",
        scaling(forecast={"regressors": [{"name": "orders"}]}),
        "spec.scaling.forecast.regressors[0].query",
        "Required value",
    ),
    Bad(
        "a window that nothing is learned from ends before it begins",
        scaling(
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
        scaling(forecast={"holidays": {"country": "Germany"}}),
        "spec.scaling.forecast.holidays.country",
        'Invalid value: "Germany": spec.scaling.forecast.holidays.country in body should match',
    ),
    Bad(
        "holidays of no country at all",
        scaling(forecast={"holidays": {"timezone": "Europe/Berlin"}}),
        "spec.scaling.forecast.holidays.country",
        "Required value",
    ),
    Bad(
        "a window that nothing is learned from has no end",
        scaling(forecast={"excludeWindows": [{"start": "2026-11-27T09:00:00Z"}]}),
        "spec.scaling.forecast.excludeWindows[0].end",
        "Required value",
    ),
    Bad(
        "its most replicas are beyond reason",
        scaling(maxReplicas=10001),
        "spec.scaling.maxReplicas",
        "Invalid value: 10001: spec.scaling.maxReplicas in body should be less than or equal to "
        "10000",
    ),
    Bad(
        "its replicas are text",
        scaling(maxReplicas="ten"),
        "spec.scaling.maxReplicas",
        'must be of type integer: "string"',
    ),
    Bad(
        "what its replicas carry is a word",
        scaling(capacityPerReplica="Much"),
        "spec.scaling.capacityPerReplica",
        'Invalid value: "Much": spec.scaling.capacityPerReplica in body should match',
    ),
    Bad(
        "its replicas carry nothing",
        scaling(capacityPerReplica="0.00"),
        "spec.scaling.capacityPerReplica",
        "must be above 0, was: 0.00",
    ),
    Bad(
        "its replicas carry less than nothing",
        scaling(capacityPerReplica="-1"),
        "spec.scaling.capacityPerReplica",
        'Invalid value: "-1": spec.scaling.capacityPerReplica in body should match',
    ),
    Bad(
        "its actuator is none",
        scaling(actuator="HPA"),
        "spec.scaling.actuator",
        'Unsupported value: "HPA": supported values: "Scale", "KEDA", "ExternalMetric"',
    ),
    Bad(
        "its strictness is none",
        scaling(strictness="Loose"),
        "spec.scaling.strictness",
        "must be Lean, Balanced, Strict, or a percentage above 0% and below 10% such as 0.25%, "
        "was: Loose",
    ),
    Bad(
        "it looks ahead too short a time",
        scaling(forecast={"horizon": "90s"}),
        "spec.scaling.forecast.horizon",
        "must be Auto or between 2m and 1h, was: 90s",
    ),
    Bad(
        "it looks ahead too long a time",
        scaling(forecast={"horizon": "1h1s"}),
        "spec.scaling.forecast.horizon",
        "must be Auto or between 2m and 1h, was: 1h1s",
    ),
    Bad(
        "its horizon is a word",
        scaling(forecast={"horizon": "auto"}),
        "spec.scaling.forecast.horizon",
        'Invalid value: "auto": spec.scaling.forecast.horizon in body should match',
    ),
    Bad(
        "it keeps no history",
        scaling(forecast={"history": "0d"}),
        "spec.scaling.forecast.history",
        "must be above 0s, was: 0d",
    ),
    Bad(
        "its growth shrinks",
        scaling(behavior={"scaleUp": {"maxFactor": "0.5"}}),
        "spec.scaling.behavior.scaleUp.maxFactor",
        "must be at least 1, was: 0.5",
    ),
    Bad(
        "it may remove nothing at all",
        scaling(behavior={"scaleDown": {"maxPercent": "0%"}}),
        "spec.scaling.behavior.scaleDown.maxPercent",
        'Invalid value: "0%": spec.scaling.behavior.scaleDown.maxPercent in body should match',
    ),
    Bad(
        "its tolerance has no sign",
        scaling(behavior={"tolerance": "10"}),
        "spec.scaling.behavior.tolerance",
        'Invalid value: "10": spec.scaling.behavior.tolerance in body should match',
    ),
)
