"""Options and output that several commands share.

Law: an option has one name, one help text and one meaning in every command.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

PLAIN_WIDTH = 160
"""Columns where the output is no terminal: lines of a table must not break in a pipe."""


class Format(StrEnum):
    """How results are written."""

    TEXT = "text"
    JSON = "json"


Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Default: the namespace of the current context."),
]
AllNamespaces = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="Policies of all namespaces.")
]
Output = Annotated[Format, typer.Option("--output", "-o", help="text or json.")]
Kubeconfig = Annotated[
    str | None, typer.Option("--kubeconfig", help="Default: $KUBECONFIG, then ~/.kube/config.")
]
Context = Annotated[str | None, typer.Option("--context", help="Default: the current context.")]


def console() -> Console:
    """Standard output, coloured where it is a terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def as_json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
