"""The report is one file that loads nothing, says what the terminal says, and escapes what it was
given."""

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tidegate_operator.backtest.assume import Asked, Measured, assume
from tidegate_operator.backtest.compete import Backtest, backtest
from tidegate_operator.backtest.field import Job, Kind, Outcome, play
from tidegate_operator.backtest.history import History, split
from tidegate_operator.backtest.picture import busiest_day, load_chart, moment, pods_chart, view
from tidegate_operator.backtest.report import render
from tidegate_operator.backtest.verdict import hours
from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.replay.trace import DAY_S, MINUTE_S, Trace

HOURS = 30


def history() -> History:
    """A night, a busy day, and the beginning of another night."""
    counts = [60.0 if minute < 360 or minute >= 1440 else 600.0 for minute in range(60 * HOURS)]
    name = "<b>mine</b> & yours.csv"
    return split(Trace(name=name, start=0.0, step_s=60, requests=tuple(counts)), 48 * 3600.0)


@pytest.fixture(scope="module")
def played() -> Backtest:
    assumed = assume(Asked(slots=8, service_s=4.0), None, Measured())

    def here(jobs: Sequence[Job]) -> list[Outcome]:
        return [play(job, assumed.plant, 0) for job in jobs]

    return backtest(history(), assumed, here, allowed=0.005)


class Seen(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "tags are closed in the order in which they were opened"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def test_it_loads_nothing_and_runs_nothing(played: Backtest) -> None:
    page = render(played, None)
    seen = Seen(page)
    assert seen.open == []
    assert {tag for tag, _ in seen.tags} & {"script", "link", "iframe", "img", "object"} == set()
    assert not re.search(r"url\((?!#)|@import|\bon\w+=", page)
    assert [a for _, attrs in seen.tags for a in ("src", "href") if attrs.get(a)] == []


def test_what_it_was_given_is_escaped(played: Backtest) -> None:
    page = render(played, None)
    assert "<b>mine" not in page
    assert "&lt;b&gt;mine&lt;/b&gt; &amp; yours.csv" in page


def test_the_answer_and_every_controllers_figures_are_there(played: Backtest) -> None:
    text = Seen(render(played, 3.0)).text
    assert played.verdict.sentence in text
    for outcome in played.outcomes:
        assert outcome.label in text
        assert hours(outcome) in text
        assert f"{3 * outcome.pod_hours:,.0f}" in text
        assert f"{outcome.violations:.2%}" in text
    for told in played.assumed.told:
        assert {told.name, told.value, told.source} <= set(text)


def test_money_is_told_only_where_there_is_a_price(played: Backtest) -> None:
    assert "Cost" in Seen(render(played, 3.0)).text
    assert "Cost" not in Seen(render(played, None)).text


def test_ids_of_drawings_are_unique(played: Backtest) -> None:
    ids = [attrs["id"] for _, attrs in Seen(render(played, None)).tags if "id" in attrs]
    assert len(ids) == len(set(ids)) > 8


def test_the_busiest_day_is_shown(played: Backtest) -> None:
    assert busiest_day(played) == (0.0, DAY_S)


def test_a_view_keeps_peaks_and_pays_no_pod_twice(played: Backtest) -> None:
    minutes = played.found.ours.result.minutes
    end = minutes.start + len(minutes.load) * MINUTE_S
    whole = view(played, minutes.start, end)
    assert max(v for v in whole.load if v is not None) == max(minutes.load) / MINUTE_S
    hours = sum(whole.pods[Kind.TIDEGATE]) * whole.group_s / 3600
    assert hours == pytest.approx(played.found.ours.pod_hours, rel=0.02)
    assert len(whole.load) <= 288


def test_a_forecast_stands_where_its_horizon_ends(played: Backtest) -> None:
    """Made at 01:00 for five minutes: drawn at 01:05."""
    horizon_s = played.assumed.horizon_s

    def once(now: float) -> Forecast | None:
        if now != 3600.0:
            return None
        return Forecast(
            made_at=now,
            horizon_s=horizon_s,
            quantiles={0.5: 1.5, 0.95: 2.5},
            reliable=True,
            reason=Reason.FORECAST_GOOD,
        )

    seen = view(replace(played, forecasts=once), 0.0, 7200.0)
    there = {t: band for t, band in zip(seen.times, seen.expected, strict=True) if band[1]}
    assert there == {3600.0 + horizon_s: (1.5, 2.5)}
    drawn = load_chart(seen, 900, "x")
    assert 'class="band"' in drawn


def test_without_a_trusted_forecast_there_is_no_band(played: Backtest) -> None:
    start, end = busiest_day(played)
    assert 'class="band' not in load_chart(view(played, start, end), 900, "x")


def test_whose_pods_are_whose_is_told_without_colour(played: Backtest) -> None:
    drawn = pods_chart(view(played, 0.0, 7200.0), 900, "x")
    assert "tidegate:" in drawn
    for css in ("p-ours", "p-hpa", "p-oracle"):
        assert f'class="{css}"' in drawn


@pytest.mark.parametrize(
    ("at", "words"),
    [
        pytest.param(3 * DAY_S, "day 3", id="midnight of a history without dates"),
        pytest.param(3 * DAY_S + 5400.0, "01:30", id="within a day"),
        pytest.param(804556800.0, "1 Jul", id="midnight of a dated one"),
    ],
)
def test_moments(at: float, words: str) -> None:
    assert moment(at) == words
