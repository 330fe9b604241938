"""A request for a backtest, answered: history and policy found, replayed, told.

Law: all that can be refused is refused before anything is computed.
"""

from pathlib import Path

from rich.console import Console

from tidegate_operator.backtest.assume import Asked, AssumptionError, Assumptions, Measured, assume
from tidegate_operator.backtest.compete import Backtest
from tidegate_operator.backtest.document import document
from tidegate_operator.backtest.field import Kind
from tidegate_operator.backtest.history import split, token_service_s
from tidegate_operator.backtest.verdict import unmet
from tidegate_operator.cli import backtest_options as given
from tidegate_operator.cli import options
from tidegate_operator.cli.backtest_history import Source, from_cluster, from_file
from tidegate_operator.cli.backtest_options import Request
from tidegate_operator.cli.backtest_run import run
from tidegate_operator.cli.backtest_screen import screen
from tidegate_operator.cli.faults import InputError
from tidegate_operator.replay.trace import TraceError

ALLOWED = 0.005
"""Violations that the best HPA is chosen for unless ``--max-violations`` says otherwise: the bar
of docs/forecasting.md."""


def answer(request: Request, out: Console, err: Console) -> bool:
    """Print the answer; whether what was asked for is met.

    Raises:
        InputError, ClusterError: what was given can't be used.
    """
    max_violations = given.share("--max-violations", request.max_violations)
    min_saving = given.share("--min-saving", request.min_saving)
    _check_writable(request.html)
    source = _source(request)
    assumed = _assumed(request, source)
    try:
        history = split(source.trace, assumed.forecast.min_history_s)
    except TraceError as error:
        raise InputError(str(error)) from error
    played = run(
        history,
        assumed,
        allowed=ALLOWED if max_violations is None else max_violations,
        seed=request.seed,
        console=err,
    )
    outcomes = played.found.outcomes
    faults = unmet(
        outcomes[Kind.TIDEGATE],
        outcomes[Kind.HPA],
        max_violations=max_violations,
        min_saving=min_saving,
    )
    _tell(played, request, faults, out, err)
    return not faults


def _source(request: Request) -> Source:
    named = [n for n, v in (("--trace", request.trace), ("--policy", request.policy)) if v]
    if len(named) != 1:
        was = " and ".join(named) or "none"
        raise InputError(f"a history is needed from one of --trace and --policy, was: {was}")
    if request.trace is not None:
        return from_file(request.trace)
    return from_cluster(request.access, request.namespace, request.policy or "")


def _assumed(request: Request, source: Source) -> Assumptions:
    policy = None
    if request.file is not None:
        policy = given.read_policy(request.file)
    elif source.policy is not None:
        policy = given.spec_of(source.policy, f"--policy {request.policy}")
    asked = Asked(
        slots=request.slots,
        service_s=given.seconds("--service-time", request.service_time),
        cold_start_s=given.seconds("--cold-start", request.cold_start),
    )
    measured = Measured(
        token_service_s=token_service_s(source.trace),
        cold_starts=source.cold_starts,
        hpa=given.hpa_target(request.hpa_target) or source.hpa,
    )
    try:
        return assume(asked, policy, measured)
    except AssumptionError as error:
        raise InputError(str(error)) from error


def _check_writable(path: Path | None) -> None:
    if path is not None and not path.parent.is_dir():
        raise InputError(f"--html {path}: there is no folder {path.parent}")


def _tell(
    played: Backtest, request: Request, faults: tuple[str, ...], out: Console, err: Console
) -> None:
    if request.json:
        text = options.as_json(document(played, price=request.price, unmet=faults))
        out.print(text, soft_wrap=True, markup=False, highlight=False)
    else:
        out.print(screen(played, request.price))
    for fault in faults:
        err.print(f"tidegate backtest: {fault}", soft_wrap=True, markup=False, highlight=False)
