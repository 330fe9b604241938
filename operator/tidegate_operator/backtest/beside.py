"""What the policy knows beside the counts of a history: holidays, expected events, other series.

Law: as in operation; what the history can't tell is said (``assume``), never made up.
"""

from dataclasses import replace

from tidegate_operator.backtest.assume import AssumptionError, Assumptions
from tidegate_operator.crd.spec_scaling import known_of
from tidegate_operator.forecast.beside import Beside, HolidaysError, beside
from tidegate_operator.forecast.known import Regressor
from tidegate_operator.replay.trace import MINUTE_S, Trace


def beside_of(trace: Trace, assumed: Assumptions) -> Beside:
    """For the forecasts of ``trace``.

    Raises:
        AssumptionError: the holidays' country is not known.
    """
    minutes = trace.minutes()
    known = known_of(assumed.rules.scaling, assumed.forecast, minutes.start, minutes.end)
    first, last = (int(at // MINUTE_S) for at in (minutes.start, minutes.end))
    regressors = tuple(Regressor(name, first, values) for name, values in minutes.beside)
    if not trace.is_dated:
        known = replace(known, holidays=None)
    try:
        return beside(replace(known, regressors=regressors), first, last)
    except HolidaysError as error:
        raise AssumptionError(f"spec.scaling.forecast.holidays: {error}") from error
