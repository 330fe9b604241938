"""What each margin would have done with the load that came: one small plant for each of them.

Law: a plant is fed what was measured, minute by minute, and the forecast as it stood; it knows
nothing that a decision at that time could not have known. Load is a fluid within a minute. Nothing
is decided here and nothing of it reaches the target: these pods exist on paper.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from tidegate_operator.decide.limits import near_enough
from tidegate_operator.decide.load import Load
from tidegate_operator.decide.margins import (
    ALONE,
    HALF_LIFE_S,
    LEAST_MINUTES,
    MARGINS,
    WITH_FORECAST,
    cheapest,
    under,
)
from tidegate_operator.decide.need import at_quantile, usable_forecast
from tidegate_operator.decide.queueing import settling_s
from tidegate_operator.decide.trial import Book, Margin, Plant, Trial
from tidegate_operator.decide.words import LEAD_MARGIN_S, Forecast, Inputs, ScalingRules

MINUTE_S = 60.0
LONGEST_STEP_S = 180.0
"""After a longer silence the plants begin anew, with the pods that are there: nobody knows what
came meanwhile."""
CHOOSE_EVERY_S = 3600.0
HAIR = 1e-9
QUEUE_CAP_S = 30.0
"""Seconds of work that a plant lets wait; what comes beyond counts as dropped."""


def step(rules: ScalingRules, inputs: Inputs, load: Load, trial: Trial) -> Trial:
    """Let the minute that ended now happen to every plant, if one has ended, and choose anew if
    an hour has."""
    now, rps = inputs.now, load.rps
    past_s = None if trial.stepped_at is None else now - trial.stepped_at
    if past_s is not None and 0 <= past_s < MINUTE_S:
        return trial
    forecast, _ = usable_forecast(rules, inputs)
    plants = trial.plants
    if past_s is None or not 0 <= past_s <= LONGEST_STEP_S or len(plants) != len(MARGINS):
        plants = tuple(Plant(pods=max(1, inputs.current)) for _ in MARGINS)
    else:
        happened = [_serve(load, plant, now - past_s, now) for plant in plants]
        trial = _booked(trial, plants, [late for _, late in happened], rps, past_s, forecast)
        plants = tuple(plant for plant, _ in happened)
    cold_start_s = max(0.0, inputs.lead_s - LEAD_MARGIN_S)
    wanted = _wanted(rules, load, forecast, [plant.pods for plant in plants])
    plants = tuple(
        _scaled(rules, plant, need, now, cold_start_s)
        for plant, need in zip(plants, wanted, strict=True)
    )
    return _chosen(rules, replace(trial, stepped_at=now, plants=plants), now, forecast is not None)


def margin_in_use(rules: ScalingRules, trial: Trial, trusted: bool) -> Margin:
    """The margin that counts at this moment; ``trusted``: whether there is a forecast to lean
    on."""
    chosen = None if trial.chosen is None else MARGINS[trial.chosen]
    if chosen is not None and (trusted or chosen.quantile is None):
        return chosen
    return MARGINS[_own(rules, trusted)]


def _own(rules: ScalingRules, trusted: bool) -> int:
    """Index of what a policy begins with: its strictness's quantile, filling no more than the
    capacity; without a forecast the utilisation that stands alone."""
    if not trusted:
        shares = [margin.reactive_utilization for margin in ALONE]
        fit = [k for k, share in enumerate(shares) if share <= rules.reactive_alone_utilization]
        return len(WITH_FORECAST) + (fit[0] if fit else len(ALONE) - 1)
    fit = [
        k
        for k, margin in enumerate(WITH_FORECAST)
        if margin.quantile == rules.quantile and margin.forecast_utilization <= 1.0
    ]
    return fit[0] if fit else len(WITH_FORECAST) - 1


def _booked(
    trial: Trial,
    plants: tuple[Plant, ...],
    late: list[float],
    rps: float,
    past_s: float,
    forecast: Forecast | None,
) -> Trial:
    pod_s = [plant.pods * past_s for plant in plants]
    first = len(WITH_FORECAST)
    alone = _added(trial.alone, rps * past_s, late[first:], pod_s[first:], past_s)
    if forecast is None:
        return replace(trial, alone=alone)
    return replace(
        trial, alone=alone, ahead=_added(trial.ahead, rps * past_s, late, pod_s, past_s)
    )


def _added(
    book: Book, arrived: float, late: list[float], pod_s: list[float], past_s: float
) -> Book:
    kept = 0.5 ** (past_s / HALF_LIFE_S)
    known = len(book.late) == len(late)
    before_late = book.late if known else (0.0,) * len(late)
    before_pod_s = book.pod_s if known else (0.0,) * len(late)
    return Book(
        minutes=(book.minutes if known else 0.0) + past_s / MINUTE_S,
        arrived=(book.arrived if known else 0.0) * kept + arrived,
        late=tuple(b * kept + a for b, a in zip(before_late, late, strict=True)),
        pod_s=tuple(b * kept + a for b, a in zip(before_pod_s, pod_s, strict=True)),
    )


def _chosen(rules: ScalingRules, trial: Trial, now: float, trusted: bool) -> Trial:
    if trial.trusted == trusted and 0 <= now - trial.chosen_at < CHOOSE_EVERY_S:
        return trial
    book, first = (trial.ahead, 0) if trusted else (trial.alone, len(WITH_FORECAST))
    chosen: int | None = None
    if rules.allowed_late is not None and book.minutes >= LEAST_MINUTES:
        standing = None if trial.chosen is None else trial.chosen - first
        own = _own(rules, trusted) - first
        chosen = first + cheapest(book, rules.allowed_late, own, standing)
    return replace(trial, chosen=chosen, chosen_at=now, trusted=trusted)


def _wanted(
    rules: ScalingRules, load: Load, forecast: Forecast | None, counts: Sequence[int]
) -> list[int]:
    """Pods that each margin calls for now, where it has so many; its own count where the
    difference is not worth a step."""
    reactive = {
        share: load.pods(load.rps, share)
        for share in {margin.reactive_utilization for margin in MARGINS}
    }
    wanted = []
    for margin, current in zip(MARGINS, counts, strict=True):
        share, ahead, asked_for = margin.reactive_utilization, None, 0
        if margin.quantile is not None and forecast is not None:
            ahead = at_quantile(forecast, margin.quantile) or 0.0
            asked_for = load.pods(ahead / margin.forecast_utilization, 1.0)
        need = min(max(reactive[share], asked_for, rules.min_replicas, 1), rules.max_replicas)
        if need != current:
            roomy = replace(load, rules=under(rules, margin))
            if near_enough(roomy, current, need, share, asked_for, ahead):
                need = min(max(current, rules.min_replicas), rules.max_replicas)
        wanted.append(need)
    return wanted


def _serve(load: Load, plant: Plant, began: float, now: float) -> tuple[Plant, float]:
    """The plant after the time from ``began`` to ``now``, and how many requests of it were
    late."""
    rps, past_s = load.rps, now - began
    unready_s = sum(count * min(past_s, max(0.0, at - began)) for at, count in plant.starting)
    rate = max(0.0, plant.pods - unready_s / past_s) * load.capacity_rps
    arrived = rps * past_s
    after = max(0.0, plant.waiting + (rps - rate) * past_s)
    room = max(rate, load.capacity_rps) * QUEUE_CAP_S
    dropped = min(arrived, max(0.0, after - room))
    late = late_of(plant.waiting, rps, rate, past_s, load.rules.wait_target_s)
    by_chance = plant.by_chance
    if rps < rate:
        steady = load.late_share(int(rate / load.capacity_rps + HAIR))
        settled = 1.0 - math.exp(-past_s / settling_s(rps, rate))
        by_chance += (steady - by_chance) * settled
        late = max(late, arrived * by_chance)
    served = Plant(
        pods=plant.pods,
        starting=tuple(entry for entry in plant.starting if entry[0] > now),
        waiting=min(after, room),
        by_chance=by_chance,
        wanted=plant.wanted,
    )
    return served, min(arrived, max(late, dropped))


def late_of(waiting: float, rps: float, rate: float, past_s: float, target_s: float) -> float:
    """Of the requests that came within ``past_s`` at ``rps``, those that wait longer than
    ``target_s`` behind ``waiting`` others for servers that take ``rate`` a second.

    Exact for a fluid: who comes at t waits (waiting + (rps - rate) t) / rate.
    """
    if rate <= 0:
        return rps * past_s
    limit = rate * target_s
    end = waiting + (rps - rate) * past_s
    if waiting > limit and end > limit:
        return rps * past_s
    if waiting <= limit and end <= limit:
        return 0.0
    crossed_s = (limit - waiting) / (rps - rate)
    return rps * (crossed_s if waiting > limit else past_s - crossed_s)


def _scaled(
    rules: ScalingRules, plant: Plant, need: int, now: float, cold_start_s: float
) -> Plant:
    """As the policy scales: up at once within a period's limit, down to the highest need of the
    window, and not while pods start."""
    since = now - rules.stabilization_s
    higher = tuple(w for w in plant.wanted if w[0] > since and w[1] > need)
    wanted = (*higher, (now, need))
    pods, starting = plant.pods, plant.starting
    if need > pods:
        limit = max(int(pods * rules.up_max_factor), pods + rules.up_max_pods)
        added = min(need, limit) - pods
        pods += added
        starting = (*starting, (now + cold_start_s, added))
    elif need < pods and not starting:
        held = min(wanted[0][1], pods)
        pods = max(held, pods - max(1, int(pods * rules.down_max_share)))
    return Plant(
        pods=pods,
        starting=starting,
        waiting=plant.waiting,
        by_chance=plant.by_chance,
        wanted=wanted,
    )
