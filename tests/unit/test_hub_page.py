"""The status page: says what is going on, escapes everything, breaks on nothing."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_samples import NOW, history, lively_status, policy, recent
from tidegate_operator.hub import svg
from tidegate_operator.hub.board import Board
from tidegate_operator.hub.cards import charts, share_of
from tidegate_operator.hub.page import Page
from tidegate_operator.hub.telling import (
    amount,
    duration_s,
    figure,
    headline,
    spell_s,
    time_of,
)
from tidegate_operator.hub.trail import Point, joined, pack, read_checkpoint, read_point
from tidegate_wire.clock import Clock

KEY = ("shop", "chat")


class StoppedClock(Clock):
    """Always the samples' moment."""

    def __init__(self, at: float = NOW) -> None:
        super().__init__()
        self.at = at

    def now(self) -> float:
        return self.at


class Site:
    def __init__(self, board: Board, client: TestClient[Any, Any], clock: StoppedClock) -> None:
        self.board, self.client, self.clock = board, client, clock
        self.problem = ""

    async def text(self, path: str, code: int = 200) -> str:
        answer = await self.client.get(path)
        assert answer.status == code
        found: str = await answer.text()
        return found


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    clock = StoppedClock()
    board = Board(clock)
    app = web.Application()
    made: list[Site] = []
    Page(board, clock, lambda: made[0].problem).add_routes(app)
    async with TestClient(TestServer(app)) as client:
        made.append(Site(board, client, clock))
        yield made[0]


def drawings(html: str) -> list[ElementTree.Element]:
    found = re.findall(r"<svg.*?</svg>", html, re.S)
    return [ElementTree.fromstring(drawing) for drawing in found]


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    void = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def well_formed(html: str) -> None:
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []


async def test_a_policy_in_full() -> None:
    async with site() as page:
        page.board.on_history(("shop", "tidegate-history-chat"), history())
        page.board.on_policy(KEY, policy())
        html = await page.text("/p/shop/chat")
        well_formed(html)
        for words in (
            "Tenant research is blocked, search is warned; the rest is normal.",
            "2,004,118 of 2,000,000 tokens",
            "211.42 of 900",
            "in 13 h 36 min",
            "3 min 30 s",
            "error rate of llama-70b was 11.2% for 60s, above 5%",
            "held by ScaleUpLimit 8 → 7",
            "Tenants off normal",
            "ScalingLimited",
        ):
            assert words in html, words
        assert len(drawings(html)) == 6 + 4  # three charts, wide and narrow, and four bars
        for drawing in drawings(html):
            assert drawing.get("role") == "img"
            assert drawing[0].tag == "title"
            assert drawing[1].text


async def test_the_overview_has_a_card_for_each() -> None:
    async with site() as page:
        for name in ("chat", "search"):
            page.board.on_policy(("shop", name), policy(name))
        html = await page.text("/")
        well_formed(html)
        assert html.count('<article class="card">') == 2
        assert '<a href="/p/shop/search">' in html
        page.board.on_policy(("shop", "search"), None)
        assert (await page.text("/")).count('<article class="card">') == 1


async def test_empty_states_say_what_to_do_next() -> None:
    async with site() as page:
        assert "kubectl apply -f -" in await page.text("/")
        page.board.on_policy(KEY, policy(status={}))
        html = await page.text("/p/shop/chat")
        well_formed(html)
        assert "The operator has not looked at this policy yet" in html
        assert "kubectl -n tidegate-system get deploy" in html
        assert "Nothing has had to change yet" in html
        page.board.on_policy(KEY, policy(status={"phase": "Normal"}))
        page.clock.at += 7 * 3600.0
        steps = "kubectl -n shop annotate deployment llama tidegate.io/inject=true"
        assert steps in await page.text("/p/shop/chat?h=1")
        assert "No such policy" in await page.text("/p/shop/none", 404)


EVIL = "<script>alert(1)</script>\"'&"


def poisoned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return EVIL if isinstance(value, str) else value


async def test_nothing_foreign_reaches_the_page_unescaped() -> None:
    async with site() as page:
        evil = poisoned({"spec": policy()["spec"], "status": lively_status()})
        page.board.on_policy((EVIL, EVIL), {"metadata": {}, **evil})
        bad = [{**point, "model": EVIL} for point in recent()]
        page.board.on_history(KEY, history(recent=bad))
        page.board.on_policy(KEY, {**policy(), **evil, "metadata": {}})
        for path in ("/", "/p/shop/chat", "/p/%3Cscript%3E/x"):
            answer = await page.client.get(path)
            html = await answer.text()
            well_formed(html)
            assert html.count("<script") == 1, path
            assert "alert(1)</script>" not in html.replace("&lt;/script&gt;", "")


async def test_the_policy_of_the_content_admits_what_stands_in_the_page_and_no_more() -> None:
    async with site() as page:
        page.board.on_policy(KEY, policy())
        page.board.on_history(KEY, history())
        answer = await page.client.get("/p/shop/chat")
        html = await answer.text()
        rules = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in rules
        assert "unsafe" not in rules
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"\sstyle=", html)
        assert not re.search(r"\son[a-z]+=", html)
        assert not re.search(r"(src|href)=\"(https?:)?//", html)


async def test_json_twin() -> None:
    async with site() as page:
        page.board.on_policy(KEY, policy())
        page.board.on_history(("shop", "tidegate-history-chat"), history())
        listed = json.loads(await page.text("/api/policies"))
        assert listed["policies"][0]["policy"]["name"] == "chat"
        one = json.loads(await page.text("/api/policies/shop/chat"))
        assert one["status"]["phase"] == "Blocked"
        assert one["recent"][0] == recent()[0]
        assert {"t", "rps", "q50", "q95", "wanted", "ready", "hpa", "model"} == set(
            one["recent"][0]
        )
        assert json.loads(await page.text("/api/policies/shop/no", 404)) == {
            "error": "no policy shop/no"
        }


async def test_figures_that_are_behind_are_called_so() -> None:
    async with site() as page:
        page.board.on_policy(KEY, policy())
        page.board.on_history(KEY, history())
        assert 'class="banner"' not in await page.text("/p/shop/chat")
        page.clock.at += 3600.0
        assert "The last figures are 1 h old: is the reconciler running?" in await page.text(
            "/p/shop/chat"
        )
        page.problem = "the API server is away"
        assert "the API server is away" in await page.text("/")


def test_between_checkpoints_statuses_draw_the_newest_end() -> None:
    clock = StoppedClock()
    board = Board(clock)
    board.on_history(("shop", "tidegate-history-chat"), history())
    past = len(board.points(KEY))
    for _ in range(12):
        clock.at += 15.0
        board.on_policy(KEY, policy())
    points = board.points(KEY)
    assert len(points) == past + 3
    assert points[-1].q95 == 16.8
    steps = [b.t - a.t for a, b in pairwise(points)]
    assert min(steps) > 30
    later = history(recent=[*recent(), *({"t": p.t} for p in points[-3:])])
    later["metadata"]["resourceVersion"] = "8"
    board.on_history(("shop", "tidegate-history-chat"), later)
    assert board.points(KEY)[-1].rps is None


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        pytest.param({}, "The operator has not looked at this policy yet", id="no status"),
        pytest.param(
            {
                "phase": "Normal",
                "conditions": [{"type": "Ready", "status": "False", "message": "no Deployment x"}],
            },
            "no Deployment x",
            id="not in force: the condition's own words",
        ),
        pytest.param(
            {
                "phase": "Degraded",
                "activeModel": "llama-8b",
                "decisions": [{"action": "ScaleUp"}, {"action": "Switch", "message": "errors"}],
            },
            "llama-8b answers in place of llama-70b. errors",
            id="degraded: which model, and why",
        ),
        pytest.param(
            {"phase": "Blocked", "decisions": [{"action": "Block", "message": "b"}]},
            "Requests are refused. b",
            id="blocked for everyone",
        ),
        pytest.param(
            {"phase": "Blocked", "tenants": [{"name": "a", "rung": "Block"}]},
            "Tenant a is blocked; the rest is normal.",
            id="blocked for one",
        ),
        pytest.param(
            {
                "phase": "Blocked",
                "activeModel": "llama-8b",
                "tenants": [{"name": "a", "rung": "Block"}],
                "decisions": [
                    {"action": "Block", "subject": "team-day/a", "message": "of a"},
                    {
                        "action": "Switch",
                        "subject": "errors",
                        "message": "10% failed: llama-8b answers",
                    },
                ],
            },
            "llama-8b answers in place of llama-70b. 10% failed. Tenant a is blocked.",
            id="switched for everyone, and one blocked besides",
        ),
        pytest.param(
            {
                "phase": "Blocked",
                "activeModel": "llama-70b",
                "tenants": [{"name": "a", "rung": "Block"}],
                "conditions": [
                    {"type": "Degraded", "status": "True", "reason": "BudgetExhausted"}
                ],
            },
            "Requests are refused. Tenant a is blocked.",
            id="blocked for everyone, and one by its own budget",
        ),
        pytest.param(
            {
                "phase": "Blocked",
                "activeModel": "llama-70b",
                "tenants": [{"name": "a", "rung": "Block"}, {"name": "", "rung": "Switch"}],
                "conditions": [{"type": "Degraded", "status": "False", "reason": "Normal"}],
            },
            "Tenant a is blocked, (no tenant) is moved to another model; the rest is normal.",
            id="requests without a tenant have a word of their own",
        ),
        pytest.param(
            {"phase": "Normal", "demand": {"rps": "2", "state": "Present"}},
            "2 requests/s now.",
            id="no forecast",
        ),
        pytest.param(
            {"phase": "Normal", "demand": {"state": "Stale"}},
            "too old to act on; replicas are held",
            id="stale data is not zero",
        ),
    ],
)
def test_headline(status: dict[str, Any], sentence: str) -> None:
    assert sentence in headline(policy(status=status)).sentence


@pytest.mark.parametrize(
    ("spelled", "wanted"),
    [
        (figure("1610000"), "1,610,000"),
        (figure("12.14"), "12.1"),
        (figure("0.256"), "0.26"),
        (figure(None), "–"),
        (figure("NaN"), "–"),
        (figure(True), "–"),
        (amount("211.4"), "211.40"),
        (spell_s(0), "0 s"),
        (spell_s(-5), "0 s"),
        (spell_s(210), "3 min 30 s"),
        (spell_s(360), "6 min"),
        (spell_s(4320), "1 h 12 min"),
        (spell_s(183600), "2 d 3 h"),
        (duration_s("1h6m0s"), 3960.0),
        (duration_s("1.5s"), 1.5),
        (duration_s(""), None),
        (duration_s("5"), None),
        (duration_s("m"), None),
        (time_of("2026-01-06T09:00:00Z", NOW), "09:00:00"),
        (time_of("2026-02-01T00:00:00Z", NOW), "1 Feb 00:00"),
        (time_of("soon", NOW), "soon"),
        (share_of({"utilization": "81%"}), 0.81),
        (share_of({"used": "5", "limit": "10"}), 0.5),
        (share_of({"used": "5", "limit": "0"}), 0.0),
    ],
)
def test_figures_as_people_say_them(spelled: object, wanted: object) -> None:
    assert spelled == wanted


# --- charts --------------------------------------------------------------------------------------

SPAN = svg.Span(start=0.0, now=3600.0, end=3960.0)


def points_of(drawing: str, css: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(drawing)
    found = [e for e in root.iter() if e.get("class") == css]
    return [[tuple(map(float, p.split(","))) for p in e.get("points", "").split()] for e in found]  # type: ignore[misc]


def minute(i: int, **values: Any) -> Point:
    return Point(t=i * 60.0, **values)


def test_a_forecast_stands_where_its_window_ends() -> None:
    """The band made at minute 10 for six minutes is drawn at minute 16, under what came then."""
    points = [minute(i, rps=1.0 + i / 10, q50=2.0, q95=4.0) for i in range(61)]
    drawing = svg.demand_chart(points, SPAN, 920, "d")
    line, top = points_of(drawing, "line-came")[0], points_of(drawing, "band-top")[0]
    assert line[6][0] == pytest.approx(top[0][0], abs=0.2)
    assert top[-1][0] > line[-1][0]


def test_a_gap_is_not_bridged() -> None:
    points = [minute(i, rps=5.0) for i in (1, 2, 3, 20, 21, 22)]
    assert len(points_of(svg.demand_chart(points, SPAN, 920, "d"), "line-came")) == 2
    nothing = [minute(i, rps=None if i == 3 else 5.0) for i in range(1, 6)]
    assert len(points_of(svg.demand_chart(nothing, SPAN, 920, "d"), "line-came")) == 2


def test_the_ribbon_names_each_stretch_once() -> None:
    points = [minute(i, model="a" if i < 30 or i > 40 else "b") for i in range(60)]
    root = ElementTree.fromstring(svg.model_ribbon(points, SPAN, ["a", "b"], 920, "m"))
    kinds = [e.get("class") for e in root.iter("rect") if "model" in (e.get("class") or "")]
    assert kinds == ["model m0", "model m1", "model m0"]
    description = root[1].text or ""
    assert description == "a from 1 Jan; b from 00:30; a from 00:41" or description.count(";") == 2


def test_thinning_keeps_the_peaks() -> None:
    points = [minute(i, rps=99.0 if i == 777 else 1.0, q95=2.0) for i in range(1440)]
    thin = svg.thinned(points)
    assert len(thin) <= 360
    assert max(p.rps or 0 for p in thin) == 99.0


numbers = st.one_of(st.none(), st.floats(0, 1e9), st.integers(0, 10**6))
clouds = st.lists(
    st.builds(
        lambda t, rps, low, up, wanted, ready, hpa, model: Point(
            t=t, rps=rps, q50=low, q95=up, wanted=wanted, ready=ready, hpa=hpa, model=model
        ),
        st.floats(-1e4, 5e3),
        numbers,
        numbers,
        numbers,
        st.one_of(st.none(), st.integers(0, 1000)),
        st.one_of(st.none(), st.integers(0, 1000)),
        st.one_of(st.none(), st.integers(0, 1000)),
        st.sampled_from(["", "a", "b<", "c"]),
    ),
    max_size=30,
).map(lambda points: sorted(points, key=lambda p: p.t))


@settings(max_examples=80)
@given(clouds)
def test_every_drawing_is_good_xml_within_its_frame(points: list[Point]) -> None:
    for width in (svg.WIDE, svg.NARROW):
        for drawing in (
            svg.demand_chart(points, SPAN, width, "d"),
            svg.replica_chart(points, SPAN, width, "r"),
            svg.model_ribbon(points, SPAN, ["a"], width, "m"),
        ):
            root = ElementTree.fromstring(drawing)
            height = float(root.get("viewBox", "").split()[3])
            for element in root.iter():
                for pair in element.get("points", "").split():
                    x, y = map(float, pair.split(","))
                    assert 0 <= x <= width
                    assert 0 <= y <= height


@settings(max_examples=60)
@given(
    st.floats(0, 50),
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from(["Warn", "Block"])), max_size=4),
)
def test_every_bar_is_good_xml(share: float, marks: list[tuple[float, str]]) -> None:
    ElementTree.fromstring(svg.budget_bar(share, marks, "b", "words"))


@pytest.mark.parametrize("horizon", ["", "0s", "junk", "6m0s", "48h"])
def test_charts_stand_any_horizon(horizon: str) -> None:
    odd = policy()
    odd["status"]["forecast"]["horizon"] = horizon
    found = [p for p in map(read_point, recent()) if p is not None]
    assert "<svg" in charts(odd, found, NOW, 6)


# --- the past ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(None, id="nothing"),
        pytest.param("", id="empty"),
        pytest.param("junk", id="no base64"),
        pytest.param("e30=", id="not compressed"),
        pytest.param(pack({}), id="without points"),
        pytest.param(pack({"recent": 3}), id="points that are no list"),
        pytest.param(pack({"recent": [1, {}, {"t": "x"}]}), id="points that are none"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_no_past(packed: str | None) -> None:
    assert read_checkpoint({"binaryData": {"history": packed}}) == []


def test_a_checkpoint_is_read_as_written() -> None:
    assert [p.to_json() for p in read_checkpoint(history())] == recent()


def test_before_the_first_whole_point_the_counts_tell_the_demand() -> None:
    packed = pack(
        {"start_minute": 10, "counts": [60, None, 120], "recent": [{"t": 720, "rps": 9}]}
    )
    points = read_checkpoint({"binaryData": {"history": packed}})
    assert [(p.t, p.rps) for p in points] == [(600.0, 1.0), (660.0, None), (720.0, 9.0)]
    alone = pack({"start_minute": 10, "counts": [60, None, 120]})
    assert [p.rps for p in read_checkpoint({"binaryData": {"history": alone}})] == [1.0, None, 2.0]


def test_a_year_of_counts_gives_a_day_of_points() -> None:
    packed = pack({"start_minute": 0, "counts": [60] * 500_000, "recent": [{"t": 30e6}]})
    points = read_checkpoint({"binaryData": {"history": packed}})
    assert len(points) == 24 * 60
    assert points[-1].t == 30e6


def test_a_packed_bomb_does_not_fill_the_hub() -> None:
    assert read_checkpoint({"binaryData": {"history": pack({"x": " " * 40_000_000})}}) == []


def test_what_the_past_holds_is_not_told_twice() -> None:
    past = [minute(1), minute(2)]
    assert joined(past, [minute(2), minute(3)]) == [minute(1), minute(2), minute(3)]
    assert joined([], [minute(3)]) == [minute(3)]


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([*lively_status(), "name", "status", "rung", "at", "rps"]),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=15,
)


@settings(max_examples=100)
@given(anything, anything)
def test_odd_objects_break_nothing(status: Any, spec: Any) -> None:
    from tidegate_operator.hub import cards

    odd = {"metadata": {}, "status": status, "spec": spec}
    board = Board(StoppedClock())
    board.on_policy(KEY, odd)
    well_formed(cards.overview_card(KEY, odd))
    well_formed(cards.hero(KEY, odd))
    for part in (cards.budgets, cards.tenants, cards.decisions):
        well_formed(part(odd, NOW))
    well_formed(cards.conditions(odd))
    well_formed(cards.charts(odd, board.points(KEY), NOW, 6))
