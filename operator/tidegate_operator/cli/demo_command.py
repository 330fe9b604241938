"""``tidegate demo``: options in, exit code out.

Law: nothing is decided here. A package that the demo needs and that is not installed is met when
this module is imported, before anything has started.
"""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_operator.cli.options import console
from tidegate_operator.demo.options import (
    CITY_TRACE,
    DEFAULT_HOURS,
    DEFAULT_PORT,
    DEFAULT_SPEED,
    LAST_DAY,
    MORNING,
    DemoError,
    Options,
    read_time_of_day,
)
from tidegate_operator.demo.run import run

Trace = Annotated[
    Path | None,
    typer.Option(
        help="CSV with the columns timestamp, requests. Default: a city that comes along."
    ),
]
Speed = Annotated[float, typer.Option(help="Seconds of the clock in a real second, 1 to 120.")]
Day = Annotated[int, typer.Option(help="Of the trace, from 0; the days before it are history.")]
From = Annotated[str, typer.Option("--from", help="Time of day at which the day is entered.")]
Hours = Annotated[float, typer.Option(help="How much of the day is played, 0.25 to 24.")]
Port = Annotated[int, typer.Option("--port", "-p", help="Of the status page.")]
Faults = Annotated[bool, typer.Option("--faults/--no-faults", help="Play a burst of errors.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the status page.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
Report = Annotated[Path, typer.Option(help="Write the HTML report to this file.")]
Keep = Annotated[bool, typer.Option("--keep-logs", help="Leave the processes' logs behind.")]


def demo(
    trace: Trace = None,
    speed: Speed = DEFAULT_SPEED,
    day: Day = LAST_DAY,
    from_time: From = MORNING,
    hours: Hours = DEFAULT_HOURS,
    port: Port = DEFAULT_PORT,
    faults: Faults = True,
    browser: Browser = True,
    json_path: Json = None,
    report: Report = Path("tidegate-demo.html"),
    keep_logs: Keep = False,
) -> None:
    """Play a trace against the real operator, hub and sidecars on this machine."""
    try:
        from_minute = read_time_of_day(from_time)
    except DemoError as error:
        typer.echo(f"tidegate demo: {error}", err=True)
        raise typer.Exit(1) from error
    options = Options(
        trace=trace or CITY_TRACE,
        speed=speed,
        day=day,
        from_minute=from_minute,
        hours=hours,
        port=port,
        faults=faults,
        browser=browser,
        json_path=json_path,
        report_path=report,
        keep=keep_logs,
    )
    raise typer.Exit(run(options, console()))
