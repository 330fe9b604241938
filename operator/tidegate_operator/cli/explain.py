"""``tidegate explain``: why the last decisions were what they were.

Law: asks once, prints, ends; shows what the operator wrote down, and works nothing out anew.
"""

from typing import Annotated

import typer

from tidegate_operator.cli import options, screens
from tidegate_operator.cli.kube import Access, Policies
from tidegate_operator.hub.telling import items, part
from tidegate_wire.clock import Clock


def explain(
    name: Annotated[str, typer.Argument(help="A policy.")],
    namespace: options.Namespace = None,
    output: options.Output = options.Format.TEXT,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """The last decisions: what was seen, forecast and wanted, and every limit that bound."""
    policies = Policies(Access(kubeconfig=kubeconfig, context=context))
    policy = policies.get(namespace or policies.namespace, name)
    if output is options.Format.JSON:
        found = items(part(policy, "status"), "decisions")
        typer.echo(options.as_json({"policy": screens.twin(policy)["policy"], "decisions": found}))
        return
    options.console().print(screens.explanation(policy, Clock().now()))
