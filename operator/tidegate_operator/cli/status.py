"""``tidegate status``: how policies stand, once or again and again.

Law: asks, prints, ends; while it watches, a cluster that goes away is told and waited for.
"""

import threading
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tidegate_operator.cli import options, screens
from tidegate_operator.cli.faults import ClusterError
from tidegate_operator.cli.kube import Access, Object, Policies
from tidegate_wire.clock import Clock

WATCH_S = 2.0
"""Between two looks; real seconds, for a person's eye."""


def status(
    name: Annotated[str | None, typer.Argument(help="A policy; all where none is named.")] = None,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again every 2 s until Ctrl-C.")
    ] = False,
    output: options.Output = options.Format.TEXT,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """How policies stand: phase, model, demand, forecast, replicas, budgets."""
    if name is not None and all_namespaces:
        raise typer.BadParameter("a NAME and --all-namespaces exclude each other")
    if watch and output is options.Format.JSON:
        raise typer.BadParameter("--watch and -o json exclude each other")
    policies = Policies(Access(kubeconfig=kubeconfig, context=context))
    where = None if all_namespaces else (namespace or policies.namespace)
    clock = Clock()

    def look() -> RenderableType | str:
        if name is not None:
            policy = policies.get(where or "", name)
            return _one(policy, clock, output)
        return _many(policies.list(where), where, output)

    if watch:
        try:
            watch_until(threading.Event(), look, options.console())
        except KeyboardInterrupt:
            pass  # how a watch is ended
        return
    shown = look()
    if isinstance(shown, str):
        typer.echo(shown)
    else:
        options.console().print(shown)


def _one(policy: Object, clock: Clock, output: options.Format) -> RenderableType | str:
    if output is options.Format.JSON:
        return options.as_json(screens.twin(policy))
    return screens.detail(policy, clock.now())


def _many(
    policies: list[Object], where: str | None, output: options.Format
) -> RenderableType | str:
    if output is options.Format.JSON:
        return options.as_json({"policies": [screens.twin(policy) for policy in policies]})
    if not policies:
        place = "in any namespace" if where is None else f"in namespace {where}"
        hint = "" if where is None else "; -A looks in all"
        return Text(f"No LLMQualityPolicy {place}{hint}.")
    return screens.overview(policies, namespaces=where is None)


def watch_until(
    stop: threading.Event,
    look: Callable[[], RenderableType],
    console: Console,
    every_s: float = WATCH_S,
) -> None:
    """Show what ``look`` gives, again and again; only a fault of the first look is raised."""
    shown = look()
    with Live(shown, console=console, auto_refresh=False) as live:
        while not stop.wait(every_s):
            try:
                shown = look()
                live.update(shown, refresh=True)
            except ClusterError as error:
                live.update(Group(shown, Text(""), screens.fault(str(error))), refresh=True)
