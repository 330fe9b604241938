"""Entry point of ``tidegate``, and of ``kubectl tidegate``.

Law: a command's modules are imported when it is called, so that ``--help`` is quick; what goes
wrong in the user's world is one line and that fault's exit code.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from tidegate_operator.cli.faults import MissingPartError, UserError

try:
    import typer
    from rich.console import Console
except ModuleNotFoundError as missing:
    sys.exit(f'tidegate needs the package {missing.name}: pip install "tidegate[cli]"')

COMMANDS = {
    "status": "How policies stand: phase, model, demand, forecast, replicas, budgets.",
    "explain": "The last decisions: what was seen, forecast, wanted, and each limit that bound.",
    "backtest": "What a policy would have done on your own history, beside HPA and others.",
    "demo": "The whole path on this machine: a real trace, no cluster needed.",
}
_MODULES = {
    "status": "tidegate_operator.cli.status",
    "explain": "tidegate_operator.cli.explain",
    "backtest": "tidegate_operator.cli.backtest_command",
    "demo": "tidegate_operator.cli.demo_command",
}
_EXTRAS = {"demo": "demo", "backtest": "cli,operator"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command (``argv`` with the program's name first); exits with its code."""
    path, *arguments = sys.argv if argv is None else argv
    try:
        _application(arguments)(args=arguments, prog_name=program(path))
    except UserError as error:
        from tidegate_operator.cli.screens import fault

        Console(stderr=True, soft_wrap=True).print(fault(str(error)))
        sys.exit(error.exit_code)


def program(path: str) -> str:
    """How a person calls this: kubectl finds plugins by the name of the file."""
    return "kubectl tidegate" if Path(path).name == "kubectl-tidegate" else "tidegate"


def _application(arguments: list[str]) -> typer.Typer:
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Keeps LLM workloads on Kubernetes inside their latency, error and token budgets.",
    )
    # The callback's docstring would replace the application's help.
    app.callback(help=app.info.help)(_options)
    called = next((word for word in arguments if not word.startswith("-")), "")
    for name, summary in COMMANDS.items():
        function = _load(name) if name == called else _unloaded
        app.command(name, help=summary)(function)
    return app


def _unloaded() -> None:
    """Stands for a command that was not called."""


def _load(name: str) -> Callable[..., None]:
    try:
        command: Callable[..., None] = getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(name, "cli")
        raise MissingPartError(
            f'tidegate {name} needs the package {error.name}: pip install "tidegate[{extra}]"'
        ) from error
    return command


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tidegate {version('tidegate')}")
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print and exit."),
    ] = False,
) -> None:
    """Options before the command."""


if __name__ == "__main__":
    main()
