"""Beside the wanted pods the page shows what a plain HPA would have wanted, by its real rules on
the same minutes; and where that can't be told it says why and draws nothing."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_samples import NOW, policy, recent
from tidegate_operator.hub import cards, svg
from tidegate_operator.hub.rival import Aim, bill, find_aim, with_hpa
from tidegate_operator.hub.trail import Point, read_point

HOUR_S = 3600.0
KNOWN = {"perReplica": "2", "signal": "RequestsPerSecond", "source": "Declared"}


def scaled(capacity: Any = KNOWN, **limits: Any) -> dict[str, Any]:
    """A policy of which ``capacity`` is known."""
    found = policy(status={"phase": "Normal", "capacity": capacity})
    found["spec"]["scaling"] = {"minReplicas": 1, "maxReplicas": 10, **limits}
    return found


def minutes(*rates: float | None, wanted: int | None = 3) -> list[Point]:
    """The newest of them now."""
    start = NOW - 60.0 * (len(rates) - 1)
    return [Point(t=start + 60.0 * i, rps=rps, wanted=wanted) for i, rps in enumerate(rates)]


def counts(found: dict[str, Any], points: list[Point]) -> list[int | None]:
    return [point.hpa for point in with_hpa(find_aim(found), points)]


# --- what it aims at -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "least", "most"),
    [
        pytest.param({}, 1, 10, id="the policy's own"),
        pytest.param({"minReplicas": 0}, 1, 10, id="an HPA does not go to zero"),
        pytest.param({"minReplicas": None}, 1, 10, id="without a minimum one"),
        pytest.param({"maxReplicas": 1e300}, 1, 10_000, id="no more than a policy may have"),
    ],
)
def test_its_limits(limits: dict[str, Any], least: int, most: int) -> None:
    rules = find_aim(scaled(**limits)).rules
    assert rules is not None
    assert (rules.min_replicas, rules.max_replicas) == (least, most)


@pytest.mark.parametrize("source", ["Declared", "Learned"])
def test_it_aims_at_seven_tenths_of_what_a_replica_carries(source: str) -> None:
    rules = find_aim(scaled({**KNOWN, "source": source})).rules
    assert rules is not None
    assert rules.target_rps == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("capacity", "why"),
    [
        pytest.param(None, "not known yet what one replica carries", id="no word of it"),
        pytest.param({"source": "Unknown"}, "not known yet", id="said to be unknown"),
        pytest.param({**KNOWN, "source": "Learning"}, "a lower bound", id="a lower bound so far"),
        pytest.param({**KNOWN, "perReplica": "0"}, "not known yet", id="nothing is no capacity"),
        pytest.param({**KNOWN, "perReplica": "NaN"}, "not known yet", id="no figure"),
        pytest.param(
            {**KNOWN, "signal": "TokensPerSecond"}, "in tokens per second", id="in tokens"
        ),
        pytest.param({**KNOWN, "signal": "Concurrency"}, "in requests at once", id="concurrency"),
    ],
)
def test_without_something_to_aim_at_nothing_is_drawn_and_why_is_said(
    capacity: Any, why: str
) -> None:
    found = scaled(capacity)
    points = minutes(*[2.0] * 10)
    assert why in find_aim(found).why_not
    assert counts(found, points) == [None] * 10
    html = cards.charts(found, points, NOW, 1)
    assert f"What an HPA would have done is not drawn: {find_aim(found).why_not}" in html
    assert "hpa" not in html
    assert "pod-hours" not in html


def test_a_policy_that_does_not_scale_needs_no_excuse() -> None:
    found = policy(status={"phase": "Normal"})
    del found["spec"]["scaling"]
    assert find_aim(found) == Aim(rules=None)
    assert "HPA" not in cards.charts(found, minutes(2.0, 2.0), NOW, 1)


# --- what it would have wanted -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "wanted"),
    [
        pytest.param((2.8, 2.8), [2, 2], id="2.8 requests/s are two pods at 70 % of 2"),
        pytest.param((2.8, 2.9, 3.0), [2, 2, 2], id="within its tolerance it stays"),
        pytest.param((2.8, 7.0, 7.0), [2, 4, 5], id="it follows a step"),
        pytest.param((2.8, 1e300, 1e300), [2, 10, 10], id="and stops at the maximum"),
        pytest.param((None, 2.8), [None, 2], id="before any demand is known, nothing"),
        pytest.param((7.0, None, None), [5, 5, 5], id="with its metric away, as before"),
    ],
)
def test_what_it_would_have_wanted(
    rates: tuple[float | None, ...], wanted: list[int | None]
) -> None:
    assert counts(scaled(), minutes(*rates)) == wanted


def test_it_is_told_only_beside_what_was_wanted_and_begins_with_all_that_is_known() -> None:
    """The demand before Tidegate ran is where its HPA comes from, and no line of its own."""
    before = minutes(*[7.0] * 6, wanted=None)
    after = [Point(t=before[-1].t + 60.0 * i, rps=1.0, wanted=2) for i in (1, 2)]
    assert counts(scaled(), [*before, *after]) == [None] * 6 + [5, 5]


@given(
    rates=st.lists(st.one_of(st.none(), st.floats(-1e300, 1e300)), max_size=12),
    carries=st.floats(0, 1e300).map(str),
    least=st.one_of(st.none(), st.floats(-1e300, 1e300)),
    most=st.floats(-1e300, 1e300),
)
def test_whatever_a_status_says_there_is_a_count_within_reach_or_none(
    rates: list[float | None], carries: str, least: float | None, most: float
) -> None:
    found = scaled({**KNOWN, "perReplica": carries}, minReplicas=least, maxReplicas=most)
    assert all(count is None or 1 <= count <= 10_000 for count in counts(found, minutes(*rates)))


# --- what both cost ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "length_s", "wanted", "hpa"),
    [
        pytest.param([], 0.0, 0.0, 0.0, id="of nothing, nothing"),
        pytest.param([Point(t=0.0, wanted=3, hpa=2)], 0.0, 0.0, 0.0, id="a moment costs nothing"),
        pytest.param(
            [Point(t=60.0 * i, wanted=3, hpa=2) for i in range(61)], HOUR_S, 3.0, 2.0, id="an hour"
        ),
        pytest.param(
            [Point(t=60.0 * i, wanted=3, hpa=2 if i >= 30 else None) for i in range(61)],
            HOUR_S / 2,
            1.5,
            1.0,
            id="minutes in which one is not known count for neither",
        ),
        pytest.param(
            [Point(t=t, wanted=60, hpa=120) for t in (0.0, 60.0, 3600.0, 3660.0)],
            120.0,
            2.0,
            4.0,
            id="nor does a time of which nothing is known",
        ),
    ],
)
def test_what_both_cost(points: list[Point], length_s: float, wanted: float, hpa: float) -> None:
    found = bill(points)
    assert found.length_s == pytest.approx(length_s)
    assert found.wanted_pod_hours == pytest.approx(wanted)
    assert found.hpa_pod_hours == pytest.approx(hpa)


# --- on the page ---------------------------------------------------------------------------------


def drawn(html: str) -> list[ElementTree.Element]:
    found = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.S)]
    return [drawing for drawing in found if drawing[0].text == "Replicas"]


def test_the_page_draws_it_names_it_and_says_what_both_cost() -> None:
    points = [point for item in recent() if (point := read_point(item))]
    html = cards.charts(policy(), points, NOW, 6)
    assert '<span class="key k-hpa">an HPA at 70% would want</span>' in html
    pods = [point for point in with_hpa(find_aim(policy()), points) if point.t >= NOW - 6 * HOUR_S]
    hpa = [point.hpa or 0 for point in pods]
    for drawing in drawn(html):
        assert [e.tag for e in drawing.iter() if e.get("class") == "line-hpa"] == ["polyline"]
        words = f"would have had from {min(hpa)} to {max(hpa)}, last {hpa[-1]}."
        assert words in (drawing[1].text or "")
    assert len(drawn(html)) == 2
    ours = sum(point.wanted or 0 for point in pods[:-1]) / 60
    told = re.search(r"Wanted in these (.*?): <b>(.*?)</b> pod-hours; .*?<b>(.*?)</b>", html)
    assert told is not None
    assert told[1] == "5 h 59 min"
    assert float(told[2]) == pytest.approx(ours, abs=0.05)
    assert float(told[3]) == pytest.approx(sum(hpa[:-1]) / 60, abs=0.05)
    assert "(1.8 requests/s)" in html
    assert "on the demand alone" in html
    assert "How late its requests would have been, <code>tidegate backtest</code> tells." in html


def test_one_line_in_every_tab() -> None:
    """What a minute's HPA was does not hang on how much of the past is looked at."""
    points = [point for item in recent() if (point := read_point(item))]
    last = []
    for hours in cards.HOURS:
        html = cards.charts(policy(), points, NOW, hours)
        last.append((drawn(html)[0][1].text or "").rpartition("last ")[2])
    assert len(set(last)) == 1


def test_the_chart_is_high_enough_for_an_hpa_that_wants_more() -> None:
    span = svg.Span(start=NOW - HOUR_S, now=NOW, end=NOW + 360.0)
    points = [Point(t=NOW - 60.0 * i, wanted=2, ready=2, hpa=9) for i in range(5, -1, -1)]
    root = ElementTree.fromstring(svg.replica_chart(points, span, svg.WIDE, "r"))
    line = next(e for e in root.iter() if e.get("class") == "line-hpa").get("points", "")
    assert 14 < min(float(place.split(",")[1]) for place in line.split()) < 30
