"""A request for a backtest, answered: history and policy found, replayed, told.

Law: all that can be refused is refused before anything is computed.
"""

from pathlib import Path

from rich.console import Console

from tidegate_operator.backtest.assume import (
    Asked,
    AssumptionError,
    Assumptions,
    HpaTarget,
    Measured,
    assume,
)
from tidegate_operator.backtest.beside import beside_of
from tidegate_operator.backtest.compete import Backtest
from tidegate_operator.backtest.document import document
from tidegate_operator.backtest.field import Kind
from tidegate_operator.backtest.history import split, token_service_s, tokens_per_request
from tidegate_operator.backtest.report import render
from tidegate_operator.backtest.verdict import unmet
from tidegate_operator.cli import backtest_options as given
from tidegate_operator.cli import options
from tidegate_operator.cli.backtest_history import (
    Source,
    from_cluster,
    from_file,
    from_prometheus,
)
from tidegate_operator.cli.backtest_options import Request
from tidegate_operator.cli.backtest_run import run
from tidegate_operator.cli.backtest_screen import screen
from tidegate_operator.cli.faults import InputError
from tidegate_operator.cli.kube import Object, key_of
from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.replay.trace import TraceError
from tidegate_operator.sources.promql import sidecar_query
from tidegate_wire.clock import Clock

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
    source, assumed = _given(request)
    allowed = ALLOWED if max_violations is None else max_violations
    try:
        history = split(source.trace, assumed.forecast.min_history_s)
        beside = beside_of(source.trace, assumed)
    except (TraceError, AssumptionError) as error:
        raise InputError(str(error)) from error
    played = run(history, assumed, beside, allowed=allowed, seed=request.seed, console=err)
    faults = unmet(
        played.found.ours,
        played.found.outcomes[Kind.HPA],
        max_violations=max_violations,
        min_saving=min_saving,
    )
    _tell(played, request, faults, out, err)
    return not faults


def _given(request: Request) -> tuple[Source, Assumptions]:
    """The history, and all else that options, policy and cluster say."""
    asked = Asked(
        slots=request.slots,
        service_s=given.seconds("--service-time", request.service_time),
        cold_start_s=given.seconds("--cold-start", request.cold_start),
    )
    target = given.hpa_target(request.hpa_target)
    policy = None if request.file is None else given.read_policy(request.file)
    spec = None if policy is None else given.spec_of(policy, f"-f {request.file}")
    source = _source(request, policy, spec)
    if spec is None and source.policy is not None:
        spec = given.spec_of(source.policy, f"--policy {request.policy}")
    return source, _assumed(asked, spec, source, target)


def _source(request: Request, policy: Object | None, spec: PolicySpec | None) -> Source:
    histories = {
        "--trace": request.trace,
        "--prometheus": request.prometheus,
        "--policy": request.policy,
    }
    named = [option for option, value in histories.items() if value is not None]
    if len(named) != 1:
        among = ", ".join(histories)
        raise InputError(f"one of {among} is needed, was: {' and '.join(named) or 'none'}")
    if request.trace is not None:
        return from_file(request.trace, () if spec is None else spec.regressors)
    if request.policy is not None:
        return from_cluster(request.access, request.namespace, request.policy)
    return from_prometheus(
        request.prometheus or "",
        request.query or _query(request, policy, spec),
        request.days,
        given.headers(request.headers, request.bearer_token_file),
        Clock().now(),
        {} if spec is None else {name: s.query for name, s in spec.regressors.items()},
    )


def _query(request: Request, policy: Object | None, spec: PolicySpec | None) -> str:
    """The policy's own, or what its target's sidecars count."""
    if policy is None or spec is None:
        raise InputError("--prometheus needs a --query, or a policy (-f) whose target it is for")
    if spec.prometheus is not None and spec.prometheus.query:
        return spec.prometheus.query
    return sidecar_query(request.namespace or key_of(policy)[0] or "default", spec.target)


def _assumed(
    asked: Asked, spec: PolicySpec | None, source: Source, target: HpaTarget | None
) -> Assumptions:
    measured = Measured(
        token_service_s=token_service_s(source.trace),
        tokens_per_request=tokens_per_request(source.trace),
        cold_starts=source.cold_starts,
        hpa=target or source.hpa,
        dated=source.trace.is_dated,
        beside=[name for name, _ in source.trace.beside],
    )
    try:
        return assume(asked, spec, measured)
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
        out.print(screen(played, request.price, out.width))
    if request.html is not None:
        request.html.write_text(render(played, request.price), encoding="utf-8")
        said = f"tidegate backtest: wrote {request.html}"
        err.print(said, soft_wrap=True, markup=False, highlight=False)
    for fault in faults:
        err.print(f"tidegate backtest: {fault}", soft_wrap=True, markup=False, highlight=False)
