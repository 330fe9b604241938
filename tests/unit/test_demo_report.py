"""From what was recorded to figures, a report and the words on the terminal."""

import io
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

from tidegate_operator.demo.pods_view import PodsView, is_ready, url_of
from tidegate_operator.demo.report import Report, headline, render
from tidegate_operator.demo.story import (
    Figures,
    Hpa,
    Measured,
    Story,
    figures,
    scaled_ahead,
    tokens_of,
)
from tidegate_operator.demo.terminal import PlainLines, View, decision_line
from tidegate_operator.demo.terminal import render as render_screen
from tidegate_operator.demo.world import load_policy, read_tokens
from tidegate_operator.hub.trail import Point

START = 1_778_911_200.0


def decision(action: str, reason: str, minute: int, **more: Any) -> dict[str, Any]:
    time = f"2026-05-16T06:{minute:02d}:00Z"
    return {"time": time, "action": action, "reason": reason, "message": "so", **more}


def status(*decisions: dict[str, Any], rps: str = "1.2") -> dict[str, Any]:
    return {
        "phase": "Normal",
        "activeModel": "llama-70b",
        "demand": {"rps": rps, "state": "Present"},
        "replicas": {"current": 3, "ready": 3, "desired": 4},
        "forecast": {
            "horizon": "11m0s",
            "demandAhead": "1.8",
            "quantiles": {"0.5": "1.3", "0.95": "1.8"},
        },
        "budgets": [
            {
                "name": "tenant-hour",
                "scope": "Tenant",
                "used": "90",
                "limit": "100",
                "utilization": "90%",
                "windowEnd": "2026-05-16T07:00:00Z",
                "top": [{"key": "acme<&>", "used": "90", "utilization": "90%", "rung": "Switch"}],
            }
        ],
        "decisions": list(decisions)[::-1],
    }


UP_AHEAD = decision(
    "ScaleUp",
    "ForecastAboveCapacity",
    1,
    **{"from": "3", "to": "5", "applied": True},
    inputs={"reactive": "3", "current": "3", "forecast": "5"},
)
UP_LATE = decision(
    "ScaleUp",
    "DemandAboveCapacity",
    2,
    **{"from": "5", "to": "6", "applied": True},
    inputs={"reactive": "6", "current": "5", "forecast": "6"},
)
ALL = (
    UP_AHEAD,
    UP_LATE,
    decision("Switch", "ErrorRateHigh", 3, applied=True),
    decision("Recover", "RecoveredOnEvidence", 4, applied=True),
    decision("Warn", "BudgetWarn", 5, applied=True, subject="tenant-hour/acme"),
    decision("Switch", "BudgetSwitch", 6, applied=True, subject="tenant-hour/acme"),
    decision("Block", "BudgetExhausted", 7, applied=True, subject="tenant-hour/acme"),
    decision("Recover", "BudgetWindowReset", 8, applied=True),
)
TALLY = {
    "sent": 100,
    "ok": 90,
    "failed": 2,
    "blocked": 8,
    "timed": 80,
    "in_time": 78,
    "ttft_s": 96.0,
    "retried": 1,
    "models": {"llama-70b": 70, "llama-8b": 20},
    "errors": {"status_500": 2},
    "in_flight": 0,
}


def measured(**more: Any) -> Measured:
    values: dict[str, Any] = {
        "traffic": TALLY,
        "pod_minutes": 12.34,
        "tokens_in": 60,
        "tokens_out": 40,
        "model_servers": [
            {"prompt_tokens": 60, "generation_tokens": 30},
            {"generation_tokens": 10},
        ],
        "hpa": Hpa(pod_minutes=15.0, slo_attained=0.98, pods=((START, 2), (START + 60, 4))),
        "history_days": 12.0,
        "minutes": 10,
        "speed": 60.0,
        "capacity_rps": 0.4,
    }
    return Measured(**(values | more))


def told() -> Story:
    story = Story()
    for minute in range(len(ALL)):
        story.take(status(*ALL[: minute + 1]), START + minute * 60)
    return story


def summed(**more: Any) -> Figures:
    return figures(told(), measured(**more))


def test_each_figure_is_what_was_recorded() -> None:
    total = summed()
    assert (total.requests, total.failed_requests, total.blocked_requests) == (100, 2, 8)
    assert (total.scale_ups, total.scale_ups_ahead_of_load) == (2, 1)
    assert (total.switches, total.recoveries) == (1, 1)
    assert (total.budget_warnings, total.budget_switches, total.budget_blocks) == (1, 1, 1)
    assert total.slo_attained == pytest.approx(78 / 82, abs=1e-4)
    assert total.tokens_in + total.tokens_out == total.tokens_reported_by_model_server == 100
    assert (total.hpa_pod_minutes, total.hpa_slo_attained) == (15.0, 0.98)
    assert total.forecast_used


def test_json_holds_every_figure_that_is_promised() -> None:
    promised = {
        "requests", "failed_requests", "slo_attained", "pod_minutes", "hpa_pod_minutes",
        "hpa_slo_attained", "scale_ups", "scale_ups_ahead_of_load", "switches", "recoveries",
        "budget_warnings", "budget_blocks", "tokens_in", "tokens_out",
        "tokens_reported_by_model_server",
    }  # fmt: skip
    assert promised <= set(summed().to_json())


def test_a_decision_that_is_told_again_is_counted_once() -> None:
    story = Story()
    assert len(story.take(status(UP_AHEAD), START)) == 1
    assert story.take(status(UP_AHEAD), START + 5) == []
    assert [d["time"] for d in story.take(status(UP_AHEAD, UP_LATE), START + 10)] == [
        UP_LATE["time"]
    ]
    assert len(story.points) == 1


def test_what_shadow_would_have_done_is_no_switch() -> None:
    story = Story()
    story.take(status(decision("Switch", "ErrorRateHigh", 1, applied=False)), START)
    assert figures(story, measured()).switches == 0


@pytest.mark.parametrize(
    ("inputs", "later", "ahead"),
    [
        pytest.param({"reactive": "3", "current": "3"}, (1, 2.5), True, id="the load then came"),
        pytest.param({"reactive": "3", "current": "3"}, (1, 2.3), False, id="it never came"),
        pytest.param({"reactive": "3", "current": "3"}, (31, 2.5), False, id="it came too late"),
        pytest.param({"reactive": "3", "current": "3"}, (0, 2.5), False, id="it was there before"),
        pytest.param({"reactive": "4", "current": "3"}, (1, 2.5), False, id="it was called for"),
        pytest.param({}, (1, 2.5), False, id="nothing known"),
    ],
)
def test_what_counts_as_ahead_of_the_load(
    inputs: dict[str, str], later: tuple[float, float], ahead: bool
) -> None:
    minute, rps = later
    up = decision("ScaleUp", "ForecastAboveCapacity", 0, inputs=inputs)
    points = [Point(t=START + minute * 60, rps=rps)]
    assert scaled_ahead(up, points, 1.0) is ahead
    full = decision("ScaleUp", "KVCacheNearlyFull", 0, inputs=inputs)
    assert not scaled_ahead(full, points, 1.0), "a full cache is no foresight"


def test_no_calls_at_all_are_no_division_by_zero() -> None:
    quiet = {**TALLY, "timed": 0, "failed": 0, "in_time": 0, "sent": 0}
    total = figures(Story(), measured(traffic=quiet, hpa=None))
    assert (total.slo_attained, total.mean_ttft_s, total.hpa_pod_minutes) == (1.0, None, None)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "srcset")]
        if tag in ("script", "link", "iframe"):
            self.loads.append(tag)


def report(**more: Any) -> Report:
    story = told()
    values: dict[str, Any] = {
        "figures": summed(),
        "policy": {"spec": load_policy("http://127.0.1.2:8000")["spec"], "status": status(*ALL)},
        "points": story.points,
        "decisions": story.decisions,
        "budgets": story.budgets,
        "hpa": measured().hpa,
        "minutes": {"0": TALLY, "1": TALLY},
        "start": START,
        "end": START + 600,
        "trace": "trace<x>.csv",
    }
    return Report(**(values | more))


def test_the_report_loads_nothing_and_escapes_what_is_foreign() -> None:
    html = render(report())
    links = _Links()
    links.feed(html)
    assert links.loads == []
    assert "acme&lt;&amp;&gt;" in html and "trace&lt;x&gt;.csv" in html
    assert "acme<&>" not in html


def test_the_report_shows_pictures_decisions_and_the_rival() -> None:
    html = render(report())
    assert html.count("<svg") >= 8
    for words in ("Beside a plain HPA", "What callers saw", "BudgetExhausted", "(equal)"):
        assert words in html


def test_a_report_of_an_empty_run_can_be_drawn() -> None:
    html = render(report(points=[], decisions=[], budgets=[], hpa=None, minutes={}, policy={}))
    assert "What happened" in html and "Beside a plain HPA" not in html


def test_the_headline_says_what_was_lost_and_what_was_foreseen() -> None:
    text = headline(summed())
    assert text.startswith("100 requests, 2 failed; 95.1% of answers began in time.")
    assert "1 of 2 scale-ups came before the load" in text
    assert "scale-ups" not in headline(replace(summed(), scale_ups=0))


def test_plain_lines_tell_each_change_once() -> None:
    out = io.StringIO()
    lines = PlainLines(Console(file=out, width=200))
    view = View(now=START, speed=60.0, page="http://x", end=START + 600, stage="starting")
    lines.show(view)
    lines.show(view)
    view.stage, view.status, view.decisions = "", status(), ALL[:2]
    lines.show(view)
    lines.show(view)
    said = out.getvalue().splitlines()
    assert said[0] == "demo: starting" and len(said) == 4
    assert "ScaleUp" in said[1] and "3 -> 5" in said[1]
    assert "demand 1.2 req/s" in said[3]


def test_the_screen_holds_what_matters() -> None:
    out = io.StringIO()
    view = View(now=START, speed=60.0, page="http://127.0.0.1:8080/p/shop/chat", end=START + 600)
    view.stage, view.status, view.decisions, view.traffic, view.fault = (
        "",
        status(),
        ALL,
        TALLY,
        "errors",
    )
    Console(file=out, width=110).print(render_screen(view))
    said = out.getvalue()
    for words in (view.page, "3 ready of 4", "acme<&>", "BudgetExhausted", "errors", "97.5%"):
        assert words in said


def test_a_decision_without_much_to_say_is_still_a_line() -> None:
    assert decision_line({"action": "Hold"}).startswith("Hold")


# --- pods and tokens ---------------------------------------------------------------------------


def pod(name: str, *, ready: bool = True, leaving: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "uid": name,
        "labels": {"app": "llama"},
        "creationTimestamp": "2026-05-16T06:00:00Z",
    }
    if leaving:
        metadata["deletionTimestamp"] = "2026-05-16T06:01:00Z"
    side = {"name": "tidegate", "ports": [{"name": "http", "containerPort": 14100}]}
    return {
        "metadata": metadata,
        "spec": {"initContainers": [side], "containers": [{"name": "app", "ports": []}]},
        "status": {
            "podIP": "127.0.1.7",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def test_a_service_follows_the_port_name_to_the_sidecar_and_leaves_out_the_leaving() -> None:
    assert url_of(pod("a"), "http") == "http://127.0.1.7:14100"
    assert url_of(pod("a"), "other") is None
    assert is_ready(pod("a"))
    assert not is_ready(pod("a", ready=False))
    assert not is_ready(pod("a", leaving=True))


def test_a_pod_is_paid_from_its_creation_to_its_end() -> None:
    view = PodsView()
    created = START
    view.take("ADDED", pod("a"), created)
    view.take("ADDED", pod("b"), created)
    view.take("DELETED", pod("b"), created + 300)
    assert view.pod_minutes("llama", created, created + 600) == pytest.approx(15.0)
    assert view.pod_minutes("llama", created + 240, created + 600) == pytest.approx(7.0)
    assert view.ready_urls("llama") == ["http://127.0.1.7:14100"]


def test_tokens_are_read_off_the_operators_metrics() -> None:
    text = (
        "# TYPE tidegate_policy_tokens_total counter\n"
        'tidegate_policy_tokens_total{namespace="shop",policy="chat",type="input"} 60.0\n'
        'tidegate_policy_tokens_total{namespace="shop",policy="chat",type="output"} 4e+01\n'
        'tidegate_policy_tokens_created{namespace="shop",policy="chat",type="output"} 1.0\n'
    )
    assert read_tokens(text) == {"input": 60, "output": 40}
    assert tokens_of([{"prompt_tokens": 1}, {"generation_tokens": 2}, {}]) == 3
