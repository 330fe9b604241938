"""Outcomes and findings for tests of what is said about them."""

from collections.abc import Mapping

from tidegate_operator.backtest.assume import Asked, Assumptions, Measured, assume
from tidegate_operator.backtest.field import Kind, Outcome
from tidegate_operator.backtest.load import Load, Trust
from tidegate_operator.backtest.verdict import Findings
from tidegate_operator.replay.result import Minutes, Result

LABELS = {
    Kind.TIDEGATE: "Tidegate",
    Kind.REACTIVE: "Tidegate, reactive only",
    Kind.HPA_BEST: "HPA at 60%: best in hindsight",
    Kind.HPA: "HPA at 70%",
}
REQUESTS = 1_000_000


def outcome(kind: Kind, pod_hours: float, violations: float) -> Outcome:
    """What a replay of a million requests came to."""
    late = violations * REQUESTS
    result = Result(
        controller=str(kind),
        requests=REQUESTS,
        served=REQUESTS,
        dropped=0,
        late=late,
        waiting=0,
        pod_minutes=60 * pod_hours,
        wait_p50_s=0.0,
        wait_p95_s=1.0,
        wait_p99_s=3.0,
        slo_minutes=0,
        starts_failed=0,
        missing_minutes=0,
        events=(),
        decisions=(),
        minutes=Minutes(start=0.0, load=(), ready=(), paid=(), queue=(), violations=()),
    )
    return Outcome(kind=kind, label=LABELS.get(kind, str(kind)), result=result)


def assumptions(asked: Asked = Asked()) -> Assumptions:  # noqa: B008  # frozen
    return assume(asked, None, Measured())


DAILY = Load(mean_rps=10.0, busiest_rps=25.0, daily=0.9, above=0.0)
GOOD = Trust(share=0.97, doubt="")


def findings(
    figures: Mapping[Kind, tuple[float, float]],
    *,
    load: Load = DAILY,
    trust: Trust | None = GOOD,
    assumed: Assumptions | None = None,
    allowed: float = 0.005,
) -> Findings:
    """``figures`` are pod-hours and violations; the swept HPAs are the best one alone."""
    outcomes = {kind: outcome(kind, *figure) for kind, figure in figures.items()}
    return Findings(
        assumed=assumed or assumptions(),
        days=12.0,
        load=load,
        trust=trust,
        outcomes=outcomes,
        sweep=(outcomes[Kind.HPA_BEST],),
        allowed=allowed,
    )
