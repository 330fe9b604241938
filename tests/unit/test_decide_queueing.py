"""pods_needed: Erlang's C against published values and a slow, plain recursion."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.decide.queueing import late_share, pods_needed, waiting_share


def pods(
    rps: float,
    *,
    capacity_rps: float = 2.0,
    service_s: float | None = 4.0,
    wait_target_s: float = 4.0,
    wait_percentile: float = 0.90,
    utilization: float = 1.0,
) -> int:
    return pods_needed(
        rps,
        capacity_rps=capacity_rps,
        service_s=service_s,
        wait_target_s=wait_target_s,
        wait_percentile=wait_percentile,
        utilization=utilization,
    )


def plain_waiting_share(busy: float, slots: int) -> float:
    """Erlang C by its definition, in logarithms."""
    logs = [n * math.log(busy) - math.lgamma(n + 1) for n in range(slots + 1)]
    top = max(logs)
    last = math.exp(logs[-1] - top) / (1.0 - busy / slots)
    return last / (sum(math.exp(x - top) for x in logs[:-1]) + last)


@pytest.mark.parametrize(
    ("busy", "slots", "share"),
    [
        pytest.param(0.5, 1, 0.5, id="one slot waits as often as it is busy"),
        pytest.param(1.0, 2, 1 / 3, id="two slots at half load wait a third of the time"),
        pytest.param(8.0, 10, 0.4092, id="a textbook call centre"),
        pytest.param(0.0, 3, 0.0, id="no load never waits"),
        pytest.param(3.0, 3, 1.0, id="a full house always waits"),
        pytest.param(5.0, 3, 1.0, id="an overload always waits"),
    ],
)
def test_waiting_share(busy: float, slots: int, share: float) -> None:
    assert waiting_share(busy, slots) == pytest.approx(share, abs=5e-5)


@given(st.integers(1, 400), st.floats(0.01, 0.999))
def test_the_short_recursion_is_the_definition(slots: int, load: float) -> None:
    """Starting eight deviations below the load changes nothing that a float can tell."""
    expected = plain_waiting_share(slots * load, slots)
    assert waiting_share(slots * load, slots) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("rps", "rule", "expected"),
    [
        pytest.param(0.0, {}, 0, id="no demand needs no pod"),
        pytest.param(1e-9, {}, 1, id="any demand needs a pod"),
        pytest.param(
            5e-324,
            {"capacity_rps": 2.5, "service_s": 0.5},
            1,
            id="the least that a float can say, which busies nobody",
        ),
        pytest.param(1.5, {}, 1, id="one pod of eight slots carries 75 % of its capacity"),
        pytest.param(1.9, {}, 2, id="but not nineteen twentieths: too many would wait"),
        pytest.param(37.0, {}, 19, id="nineteen pods together do carry 97 %"),
        pytest.param(37.0, {"utilization": 0.8}, 24, id="with only 80 % planned for, more"),
        pytest.param(3.0, {"service_s": None}, 2, id="without a service time by capacity"),
        pytest.param(
            3.3, {"service_s": None, "utilization": 0.8}, 3, id="and the utilisation with it"
        ),
        pytest.param(
            4.8,
            {"service_s": None, "utilization": 0.8},
            3,
            id="an exact fit is not a pod more for a rounding error",
        ),
        pytest.param(1.9, {"wait_target_s": 60.0}, 1, id="who may wait a minute needs no spare"),
        pytest.param(
            1.5, {"wait_percentile": 0.99}, 2, id="a stricter percentile needs more of a small pod"
        ),
        pytest.param(1.0, {"wait_percentile": 1.0}, 2, id="all of them is read as nearly all"),
        pytest.param(
            3.0,
            {"capacity_rps": 1.0, "service_s": 0.1},
            4,
            id="a pod too slow for one slot still carries what was declared, not ten times that",
        ),
        pytest.param(1.0, {"service_s": 0.0}, 1, id="a service time of nothing is unknown"),
        pytest.param(1e5, {}, 50_001, id="a hundred thousand a second is counted, not given up"),
    ],
)
def test_pods_needed(rps: float, rule: dict[str, Any], expected: int) -> None:
    assert pods(rps, **rule) == expected


@pytest.mark.parametrize("rps", [math.nan, math.inf, -1.0])
def test_what_is_no_rate_is_refused(rps: float) -> None:
    with pytest.raises(ValueError, match="rps must be a number from 0 up, was: "):
        pods(rps)


@pytest.mark.parametrize("capacity_rps", [0.0, -1.0, math.nan])
def test_what_is_no_capacity_is_refused(capacity_rps: float) -> None:
    with pytest.raises(ValueError, match="capacity_rps must be above 0, was: "):
        pods(1.0, capacity_rps=capacity_rps)


RULES = st.fixed_dictionaries(
    {
        "capacity_rps": st.floats(0.1, 20),
        "service_s": st.none() | st.floats(0.05, 30),
        "wait_target_s": st.floats(0.1, 30),
        "wait_percentile": st.sampled_from([0.5, 0.9, 0.95, 0.99]),
        "utilization": st.sampled_from([0.6, 0.8, 0.95, 1.0]),
    }
)


@given(st.floats(0, 200), st.floats(0, 200), RULES)
def test_more_demand_never_needs_fewer_pods(
    one: float, other: float, rule: dict[str, Any]
) -> None:
    low, high = sorted((one, other))
    assert pods(low, **rule) <= pods(high, **rule)


@given(st.floats(0.01, 200), RULES)
def test_never_below_capacity_and_never_more_than_one_too_many(
    rps: float, rule: dict[str, Any]
) -> None:
    """The answer keeps its promise, and one pod fewer would break it."""
    count = pods(rps, **rule)
    capacity = rule["capacity_rps"]
    assert count >= rps / (capacity * rule["utilization"]) - 1e-6
    if rule["service_s"] is None or count == 1:
        return
    slots = max(1, round(capacity * rule["service_s"]))
    busy, slot_s = rps * slots / capacity, slots / capacity

    def late(pods: int) -> float:
        spare = max(0.0, pods * slots - busy)
        waits_long = math.exp(-spare * rule["wait_target_s"] / slot_s)
        return waiting_share(busy, pods * slots) * waits_long

    allowed = 1.0 - rule["wait_percentile"]
    assert late(count) <= allowed + 1e-9
    fewer = (count - 1) * capacity * rule["utilization"]
    assert fewer < rps * (1 + 1e-6) or late(count - 1) > allowed - 1e-9


# --- the share that waits too long ---------------------------------------------------------------


def late(rps: float, pods: int, *, service_s: float | None = 4.0) -> float:
    return late_share(rps, pods, capacity_rps=2.0, service_s=service_s, wait_target_s=4.0)


@pytest.mark.parametrize(
    ("rps", "pods", "service_s", "share"),
    [
        # A pod of one slot: M/M/1, where rho exp(-(mu - lambda) t) waits longer than t.
        pytest.param(1.0, 1, 0.5, 0.5 * math.exp(-4.0), id="one slot, half busy"),
        pytest.param(1.8, 1, 0.5, 0.9 * math.exp(-0.8), id="one slot, nearly always busy"),
        pytest.param(0.0, 1, 4.0, 0.0, id="nobody comes"),
        pytest.param(2.0, 1, 4.0, 1.0, id="as many come as can be served: the queue never ends"),
        pytest.param(5.0, 1, 4.0, 1.0, id="an overload"),
        pytest.param(1.0, 0, 4.0, 1.0, id="no pod"),
        pytest.param(1.9, 1, None, 0.0, id="below capacity, and no service time to tell from"),
    ],
)
def test_late_share(rps: float, pods: int, service_s: float | None, share: float) -> None:
    assert late(rps, pods, service_s=service_s) == pytest.approx(share, rel=1e-9)


@given(st.floats(0.1, 200), st.floats(0.5, 0.999))
def test_late_share_is_the_inverse_of_pods_needed(rps: float, percentile: float) -> None:
    """With as many pods as are needed the share holds, and with one less it does not."""
    enough = pods(rps, wait_percentile=percentile)
    assert late(rps, enough) <= (1.0 - percentile) * (1 + 1e-9)
    assert enough == 1 or late(rps, enough - 1) > (1.0 - percentile) * (1 - 1e-9)


def test_at_the_same_utilization_few_pods_make_more_wait_than_many() -> None:
    shares = [late(0.9 * 2.0 * count, count) for count in (1, 2, 5, 20)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.2
    assert shares[-1] < 0.001
