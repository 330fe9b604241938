"""What the demo says in the terminal while it runs.

Law: it shows values that others measured. On a terminal one screen that renews itself; elsewhere a
line for each change and one for each quarter of an hour of the clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

LINE_EVERY_S = 900.0
DECISIONS_SHOWN = 8
_COLOURS = {
    "ScaleUp": "green",
    "ScaleDown": "cyan",
    "Warn": "yellow",
    "Switch": "dark_orange",
    "Block": "red",
    "Probe": "yellow",
    "Recover": "green",
}


@dataclass(slots=True)
class View:
    """The state of the world, as far as it is shown."""

    now: float
    speed: float
    page: str
    end: float
    stage: str = "starting"
    """What is being waited for; empty once traffic runs."""
    status: Mapping[str, Any] = field(default_factory=dict)
    traffic: Mapping[str, Any] = field(default_factory=dict)
    decisions: Sequence[Mapping[str, Any]] = ()
    """Oldest first."""
    fault: str = ""
    """What is played at the moment, empty for nothing."""
    notes: list[str] = field(default_factory=list)


def clock_text(t: float) -> str:
    return datetime.fromtimestamp(t, UTC).strftime("%H:%M")


class Terminal(Protocol):
    def show(self, view: View) -> None: ...

    def close(self) -> None: ...


def open_terminal(console: Console) -> Terminal:
    """A live screen on a terminal, plain lines elsewhere."""
    return LiveScreen(console) if console.is_terminal else PlainLines(console)


class PlainLines:
    """For logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._noted = 0
        self._last_at = 0.0
        self._stage = ""

    def show(self, view: View) -> None:
        if view.stage and view.stage != self._stage:
            self._say(f"demo: {view.stage}")
        self._stage = view.stage
        for note in view.notes[self._noted :]:
            self._say(f"{clock_text(view.now)} {note}")
        self._noted = len(view.notes)
        for decision in view.decisions[self._told :]:
            self._say(decision_line(decision))
        self._told = len(view.decisions)
        if view.status and view.now - self._last_at >= LINE_EVERY_S:
            self._last_at = view.now
            self._say(f"{clock_text(view.now)} {summary(view)}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        pass


class LiveScreen:
    """For people."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, auto_refresh=False)
        self._live.start()

    def show(self, view: View) -> None:
        self._live.update(render(view), refresh=True)

    def close(self) -> None:
        self._live.stop()


def summary(view: View) -> str:
    """One line of where things stand."""
    status, replicas = view.status, view.status.get("replicas") or {}
    forecast = (status.get("forecast") or {}).get("demandAhead") or "none"
    return (
        f"demand {(status.get('demand') or {}).get('rps', '?')} req/s, forecast {forecast}, "
        f"pods {replicas.get('ready', '?')}/{replicas.get('desired', '?')}, "
        f"model {status.get('activeModel', '?')}, "
        f"{view.traffic.get('sent', 0)} requests, {view.traffic.get('failed', 0)} failed"
    )


def decision_line(decision: Mapping[str, Any]) -> str:
    step = " -> ".join(str(decision[k]) for k in ("from", "to") if decision.get(k))
    parts = (
        str(decision.get("time", ""))[11:16],
        f"{decision.get('action', ''):9}",
        step,
        str(decision.get("subject") or ""),
        f"({decision.get('reason')})",
        str(decision.get("message") or ""),
    )
    return " ".join(part for part in parts if part)


def render(view: View) -> RenderableType:
    """The whole screen."""
    parts: list[RenderableType] = [_top(view)]
    if view.stage:
        parts.append(Text(f"  {view.stage} ...", style="yellow"))
        return Group(*parts)
    parts += [_figures(view), _budgets(view), _decisions(view)]
    return Group(*parts)


def _top(view: View) -> RenderableType:
    left = max(0.0, view.end - view.now) / view.speed
    rest = f"{int(left // 60)}:{int(left % 60):02d} to go"
    text = Text.assemble(
        ("Tidegate demo", "bold"),
        f"   clock {clock_text(view.now)} at {view.speed:g}x   {rest}\n",
        ("page  ", "dim"),
        (view.page, "bold underline"),
    )
    if view.fault:
        text.append(f"\nbeing played: {view.fault}", style="bold red")
    for note in view.notes[-2:]:
        text.append(f"\n{note}", style="yellow")
    return Panel(text, padding=(0, 1))


def _figures(view: View) -> RenderableType:
    status, traffic = view.status, view.traffic
    replicas, demand = status.get("replicas") or {}, status.get("demand") or {}
    forecast = status.get("forecast") or {}
    grid = Table.grid(padding=(0, 2))
    model = status.get("activeModel", "?")
    first = "" if status.get("phase") in (None, "Normal") else f"  ({status['phase']})"
    grid.add_row("demand", f"{demand.get('rps', '?')} req/s", bar(demand.get("rps")))
    ahead = forecast.get("demandAhead")
    why = forecast.get("reason", "")
    grid.add_row(
        "forecast", f"{ahead} req/s" if ahead else f"none {why}", bar(ahead, style="blue")
    )
    ready, wanted = replicas.get("ready", 0), replicas.get("desired", 0)
    pods = Text("#" * int(ready), style="green") + Text("-" * max(0, int(wanted) - int(ready)))
    grid.add_row("pods", f"{ready} ready of {wanted}", pods)
    grid.add_row("model", f"{model}{first}", "")
    timed = traffic.get("timed") or 0
    in_time = f"{traffic.get('in_time', 0) / timed:.1%} in time" if timed else ""
    grid.add_row(
        "callers",
        f"{traffic.get('sent', 0):,} requests",
        f"{traffic.get('failed', 0)} failed, {traffic.get('blocked', 0)} blocked, {in_time}",
    )
    return grid


def bar(value: object, scale: float = 12.0, style: str = "green") -> Text:
    try:
        number = float(str(value))
    except ValueError:
        return Text("")
    return Text("=" * min(48, round(number * scale)), style=style)


def _budgets(view: View) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for budget in view.status.get("budgets") or []:
        for top in (budget.get("top") or [])[:3]:
            rung = top.get("rung") or ""
            off = Text(rung, style="bold red") if rung not in ("", "None", "Normal") else Text("")
            share = str(top.get("utilization", ""))
            try:
                filled = min(40, round(float(share.rstrip("%")) * 0.3))
            except ValueError:
                filled = 0
            grid.add_row(f"budget {top.get('key')}", share, Text("=" * filled), off)
    return grid


def _decisions(view: View) -> RenderableType:
    lines = Table.grid(padding=(0, 1))
    for decision in list(view.decisions)[-DECISIONS_SHOWN:]:
        action = str(decision.get("action"))
        step = " -> ".join(str(decision[k]) for k in ("from", "to") if decision.get(k))
        lines.add_row(
            str(decision.get("time", ""))[11:16],
            Text(action, style=_COLOURS.get(action, "")),
            Text(f"{step} {decision.get('subject') or ''}"),
            Text(str(decision.get("reason")), style="dim"),
        )
    return Panel(lines, title="decisions", title_align="left", padding=(0, 1))
