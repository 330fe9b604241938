"""Beside the wanted pods the page shows what a plain HPA would have wanted, and what both come to;
where that isn't known it draws nothing and says why."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_samples import NOW, policy, recent
from tidegate_operator.hub import cards, svg
from tidegate_operator.hub.rival import bill, target, why_unknown
from tidegate_operator.hub.trail import Point, point_of_status, read_point

HOUR_S = 3600.0
POINTS = [point for item in recent() if (point := read_point(item))]


def knowing(capacity: Any) -> dict[str, Any]:
    return policy(status={"phase": "Normal", "capacity": capacity})


@pytest.mark.parametrize(
    ("capacity", "words"),
    [
        pytest.param(
            {"perReplica": "1", "signal": "RequestsPerSecond"}, "0.70 requests/s", id="requests"
        ),
        pytest.param(
            {"perReplica": "1800", "signal": "TokensPerSecond"}, "1,260 tokens/s", id="tokens"
        ),
        pytest.param(
            {"perReplica": "8", "signal": "Concurrency"}, "5.6 requests at once", id="concurrency"
        ),
        pytest.param({"perReplica": "1"}, "", id="in no unit"),
        pytest.param({"signal": "Concurrency"}, "", id="no figure"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_its_target_in_the_unit_in_which_a_replicas_capacity_is_known(
    capacity: Any, words: str
) -> None:
    assert target(knowing(capacity)) == words


@pytest.mark.parametrize(
    ("capacity", "why"),
    [
        pytest.param({"source": "Unknown"}, "what one replica carries is not known", id="unknown"),
        pytest.param(
            {"source": "Learning", "perReplica": "1", "signal": "RequestsPerSecond"},
            "no more than a lower bound",
            id="a lower bound so far",
        ),
    ],
)
def test_without_anything_to_aim_at_nothing_is_drawn_and_why_is_said(
    capacity: Any, why: str
) -> None:
    found = knowing(capacity)
    assert why in why_unknown(found)
    points = [Point(t=NOW - 60.0 * i, rps=2.0, wanted=2, ready=2) for i in range(9, -1, -1)]
    html = cards.charts(found, points, NOW, 1)
    assert f"What an HPA would want is not known: {why_unknown(found)}" in html
    assert "hpa" not in html
    assert "pod-hours" not in html


@pytest.mark.parametrize(
    "capacity",
    [
        pytest.param(None, id="nothing is scaled"),
        pytest.param({"source": "Declared", "perReplica": "1"}, id="its first minute"),
    ],
)
def test_where_it_has_nothing_to_say_it_says_nothing(capacity: Any) -> None:
    html = cards.charts(knowing(capacity), [Point(t=NOW, rps=2.0, wanted=2)], NOW, 1)
    assert "HPA" not in html


# --- what both come to ---------------------------------------------------------------------------


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
def test_what_both_come_to(
    points: list[Point], length_s: float, wanted: float, hpa: float
) -> None:
    found = bill(points)
    assert found.length_s == pytest.approx(length_s)
    assert found.wanted_pod_hours == pytest.approx(wanted)
    assert found.hpa_pod_hours == pytest.approx(hpa)


counts = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 50)), st.one_of(st.none(), st.integers(1, 50))),
    max_size=30,
)


@given(counts=counts)
def test_both_are_told_of_the_same_minutes(counts: list[tuple[int | None, int | None]]) -> None:
    points = [Point(t=60.0 * i, wanted=w, hpa=h) for i, (w, h) in enumerate(counts)]
    found = bill(points)
    even = bill([Point(t=p.t, wanted=p.wanted, hpa=p.hpa and p.wanted) for p in points])
    assert found.length_s <= 60.0 * max(0, len(points) - 1)
    assert found.wanted_pod_hours == even.wanted_pod_hours == even.hpa_pod_hours


# --- on the page ---------------------------------------------------------------------------------


def drawn(html: str) -> list[ElementTree.Element]:
    found = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.S)]
    return [drawing for drawing in found if drawing[0].text == "Replicas"]


def test_the_page_draws_it_names_it_and_says_what_both_come_to() -> None:
    html = cards.charts(policy(), POINTS, NOW, 6)
    assert '<span class="key k-hpa">an HPA at 70% would want</span>' in html
    shown = [point for point in POINTS if point.t >= NOW - 6 * HOUR_S]
    hpa = [point.hpa or 0 for point in shown]
    for drawing in drawn(html):
        assert [e.tag for e in drawing.iter() if e.get("class") == "line-hpa"] == ["polyline"]
        words = f"A plain HPA would have wanted from {min(hpa)} to {max(hpa)}, last {hpa[-1]}."
        assert words in (drawing[1].text or ""), "for who can't see it"
    assert len(drawn(html)) == 2, "wide and narrow"
    told = re.search(r"Wanted in these (.*?): <b>(.*?)</b> pod-hours; .*?<b>(.*?)</b>", html)
    assert told is not None
    assert told[1] == "5 h 59 min"
    assert float(told[2]) == pytest.approx(sum(p.wanted or 0 for p in shown[:-1]) / 60, abs=0.05)
    assert float(told[3]) == pytest.approx(sum(hpa[:-1]) / 60, abs=0.05)
    assert "at 70% (1.8 requests/s), on the demand alone" in html
    assert "How late its requests would have been, <code>tidegate backtest</code> tells." in html


def test_between_checkpoints_the_status_tells_it() -> None:
    assert point_of_status({"replicas": {"desired": 7, "ready": 5, "hpa": 6}}, NOW).hpa == 6
    assert point_of_status({"replicas": {"desired": 7, "ready": 5}}, NOW).hpa is None


def test_the_chart_is_high_enough_for_an_hpa_that_wants_more() -> None:
    span = svg.Span(start=NOW - HOUR_S, now=NOW, end=NOW + 360.0)
    points = [Point(t=NOW - 60.0 * i, wanted=2, ready=2, hpa=9) for i in range(5, -1, -1)]
    root = ElementTree.fromstring(svg.replica_chart(points, span, svg.WIDE, "r"))
    line = next(e for e in root.iter() if e.get("class") == "line-hpa").get("points", "")
    assert 14 < min(float(place.split(",")[1]) for place in line.split()) < 30
