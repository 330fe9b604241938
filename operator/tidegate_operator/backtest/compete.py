"""One backtest: forecasts rolled over the history, every controller replayed on it, the verdict.

Law: pure but for the processes that the caller lends. Nothing of one replay reaches another, so
the order in which they are played is nobody's business.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from tidegate_operator.backtest import field
from tidegate_operator.backtest.assume import Assumptions
from tidegate_operator.backtest.field import Job, Kind, Outcome
from tidegate_operator.backtest.history import History, without
from tidegate_operator.backtest.load import describe, trust
from tidegate_operator.backtest.verdict import Findings, Verdict, judge
from tidegate_operator.forecast.beside import ALONE, Beside
from tidegate_operator.replay.ahead import ForecastSource, no_forecast, rolled
from tidegate_operator.replay.trace import MINUTE_S

Play = Callable[[Sequence[Job]], Iterable[Outcome]]
"""Begins to replay all jobs and gives their outcomes in order: here, or in other processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """All that is shown."""

    history: History
    assumed: Assumptions
    found: Findings
    verdict: Verdict
    forecasts: ForecastSource

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """In the order in which they are told."""
        return [self.found.outcomes[kind] for kind in Kind if kind in self.found.outcomes]


def backtest(
    history: History,
    assumed: Assumptions,
    play: Play,
    *,
    allowed: float,
    beside: Beside = ALONE,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Backtest:
    """Let Tidegate and its rivals compete.

    Args:
        allowed: violations, as a share of the requests, that the best HPA is chosen for.
        beside: what is known of the history but its counts (``beside_of``).
        on_progress: told the share of the forecasts that is done.
    """
    rounds = _rounds(history, assumed)
    playing = iter(play([job for jobs in rounds for job in jobs]))
    forecasts = _forecasts(history, assumed, beside, on_progress)
    entry = field.ours(assumed, forecasts)
    (ours,) = play([Job(entry=entry, trace=history.judged, before=history.learning)])
    single, hpas, oracles = ([*islice(playing, len(jobs))] for jobs in rounds)
    finer = field.hpa_sweep(assumed, field.finer_shares(hpas, allowed))
    hpas += play([Job(entry=entry, trace=history.judged) for entry in finer])
    chosen = (ours, *single, field.best(hpas, allowed), field.best(oracles, allowed))
    found = Findings(
        assumed=assumed,
        days=history.days,
        load=describe(history.whole, history.judged, most_rps=_most_rps(assumed)),
        trust=None if forecasts is no_forecast else trust(forecasts, history.judged),
        outcomes={outcome.kind: outcome for outcome in chosen},
        sweep=hpas,
        allowed=allowed,
    )
    verdict = judge(found)
    return Backtest(
        history=history, assumed=assumed, found=found, verdict=verdict, forecasts=forecasts
    )


def _rounds(history: History, assumed: Assumptions) -> tuple[list[Job], list[Job], list[Job]]:
    """All replays that need no forecast: of single controllers, of HPAs and of oracles to choose
    among."""
    judged, learned = history.judged, history.learning
    learners = (field.hpa(assumed), field.reactive(assumed))
    return (
        [
            *(Job(entry=entry, trace=judged, before=learned) for entry in learners),
            *(Job(entry=entry, trace=judged) for entry in field.rivals(judged, assumed)),
        ],
        [Job(entry=entry, trace=judged) for entry in field.hpa_sweep(assumed)],
        [Job(entry=entry, trace=judged) for entry in field.oracle_sweep(judged, assumed)],
    )


def _most_rps(assumed: Assumptions) -> float:
    return assumed.rules.scaling.max_replicas * assumed.plant.pod_rps


def _forecasts(
    history: History,
    assumed: Assumptions,
    beside: Beside,
    on_progress: Callable[[float], None],
) -> ForecastSource:
    """As the live loop would have had them since the history began."""
    if not history.forecasts or not assumed.forecast.enabled:
        return no_forecast
    return rolled(
        without(history.whole, assumed.forecast.exclude),
        math.ceil(assumed.horizon_s / MINUTE_S),
        begin_minute=int(history.judged.start // MINUTE_S),
        refit_every_minutes=round(assumed.refit_s / MINUTE_S),
        history_minutes=max(1, round(assumed.forecast.history_s / MINUTE_S)),
        min_history_minutes=max(1, round(assumed.forecast.min_history_s / MINUTE_S)),
        beside=beside,
        on_progress=on_progress,
    )
