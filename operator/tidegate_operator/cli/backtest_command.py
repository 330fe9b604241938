"""``tidegate backtest``: options in, exit code out.

Law: nothing is decided here. 0: what was asked for is met; 1: it is not; 2: what was given can't
be used.
"""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tidegate_operator.cli import options
from tidegate_operator.cli.backtest_options import Request
from tidegate_operator.cli.faults import InputError, UserError
from tidegate_operator.cli.kube import Access
from tidegate_operator.forecast.worker import SINGLE_THREADED

for _variable in SINGLE_THREADED:
    os.environ.setdefault(_variable, "1")  # for the processes side by side, too

from tidegate_operator.cli import backtest_answer  # noqa: E402  # loads what reads those variables

_HISTORY, _PODS, _ASK = "The history, one of these", "Pods and HPA", "What is told"

File = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="The policy (YAML). Default: the cluster's, or defaults."),
]
Trace = Annotated[
    Path | None,
    typer.Option(
        help="CSV, plain or .gz, with timestamp,requests[,prompt_tokens,output_tokens]: ISO times"
        " or seconds, steps of 1 s to 1 h.",
        rich_help_panel=_HISTORY,
    ),
]
PrometheusUrl = Annotated[
    str | None,
    typer.Option(
        "--prometheus", help="URL of a server with Prometheus' API.", rich_help_panel=_HISTORY
    ),
]
Query = Annotated[
    str | None,
    typer.Option(
        help="PromQL: requests per second, one series. Default: the policy's, else what the"
        " target's sidecars count.",
        rich_help_panel=_HISTORY,
    ),
]
Days = Annotated[
    float, typer.Option(min=0.1, help="How far back, with --prometheus.", rich_help_panel=_HISTORY)
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE, sent to Prometheus; may be repeated.", rich_help_panel=_HISTORY
    ),
]
BearerTokenFile = Annotated[
    Path | None,
    typer.Option(help="Its content is sent as a bearer token.", rich_help_panel=_HISTORY),
]
Policy = Annotated[
    str | None,
    typer.Option(
        help="A policy in the cluster: what its operator has counted.", rich_help_panel=_HISTORY
    ),
]
ColdStart = Annotated[
    str | None,
    typer.Option(
        help="From a pod's creation to Ready, 9 of 10 times. Default: as measured, else 180s.",
        rich_help_panel=_PODS,
    ),
]
ServiceTime = Annotated[
    str | None,
    typer.Option(
        help="How long a request holds a slot. Default: slots / capacityPerReplica, else 4s.",
        rich_help_panel=_PODS,
    ),
]
Slots = Annotated[
    int | None,
    typer.Option(
        min=1, help="Requests that a pod answers at once. Default: 8.", rich_help_panel=_PODS
    ),
]
HpaTarget = Annotated[
    str | None,
    typer.Option(
        help="Of the HPA that you have: 70% utilization, or 1.4 requests/s a pod."
        " Default: as in the cluster with --policy, else 70%.",
        rich_help_panel=_PODS,
    ),
]
Price = Annotated[
    float | None,
    typer.Option(
        "--price-per-pod-hour", min=0, help="In any currency; adds a column.", rich_help_panel=_ASK
    ),
]
Html = Annotated[
    Path | None, typer.Option(help="Write a report with pictures.", rich_help_panel=_ASK)
]
MaxViolations = Annotated[
    str | None,
    typer.Option(
        help="Exit with 1 if more requests than this (0.5%) are late or lost. Also what the best"
        " HPA target is chosen for; without it 0.5%.",
        rich_help_panel=_ASK,
    ),
]
MinSaving = Annotated[
    str | None,
    typer.Option(
        help="Exit with 1 if Tidegate takes less than this (5%) off your HPA's pod-hours.",
        rich_help_panel=_ASK,
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, help="Of what is drawn by chance.", rich_help_panel=_ASK)
]


def backtest(
    file: File = None,
    trace: Trace = None,
    prometheus: PrometheusUrl = None,
    query: Query = None,
    days: Days = 14.0,
    header: Header = None,
    bearer_token_file: BearerTokenFile = None,
    policy: Policy = None,
    namespace: options.Namespace = None,
    cold_start: ColdStart = None,
    service_time: ServiceTime = None,
    slots: Slots = None,
    hpa_target: HpaTarget = None,
    price: Price = None,
    html: Html = None,
    output: options.Output = options.Format.TEXT,
    max_violations: MaxViolations = None,
    min_saving: MinSaving = None,
    seed: Seed = 0,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Replay your own history: what this policy would have done, beside HPA and others."""
    request = Request(
        file=file,
        trace=trace,
        prometheus=prometheus,
        query=query,
        days=days,
        headers=tuple(header or ()),
        bearer_token_file=bearer_token_file,
        policy=policy,
        namespace=namespace,
        access=Access(kubeconfig=kubeconfig, context=context),
        cold_start=cold_start,
        service_time=service_time,
        slots=slots,
        hpa_target=hpa_target,
        price=price,
        html=html,
        json=output is options.Format.JSON,
        max_violations=max_violations,
        min_saving=min_saving,
        seed=seed,
    )
    try:
        met = backtest_answer.answer(request, options.console(), Console(stderr=True))
    except InputError:
        raise
    except UserError as error:
        raise InputError(str(error)) from error  # 1 is kept for an answer that is no
    raise typer.Exit(0 if met else 1)
