"""What the operator and its forecast worker say to each other: one JSON object a line, over the
worker's stdin and stdout.

Law: no numpy, so that the operator's side loads none. A request has an ``id``
that its answer repeats; answers may come in another order, since a training takes seconds and a
forecast milliseconds. Besides ``id``, ``op`` and ``key``:

- ``train`` takes ``start_minute``, ``counts`` (null: missing), ``known`` (``Known.to_json``, or
  nothing), ``horizon`` and ``state``; its answer has ``state``, ``fit_s`` and ``dropped``, the
  names of regressors that made it no better.
- ``predict`` takes ``start_minute``, ``known`` and the last ``PREDICT_MINUTES`` of ``counts``;
  its answer is ``engine.Prediction``, and ``state`` when that changed.
- ``forget`` takes nothing more and gives nothing back.

Every answer has ``ok``; where that is false, also a ``failure`` and a ``message``.
"""

from enum import StrEnum

from tidegate_operator.decide.words import Reason

PREDICT_MINUTES = 8 * 1440
"""Last week's same window, and what lies around it."""
MAX_LINE_BYTES = 32 * 1024 * 1024


VERDICTS = {
    "Good": Reason.FORECAST_GOOD,
    "TooFewScored": Reason.HISTORY_SHORT,
    "NoSkill": Reason.NO_SKILL,
}
"""``select.Verdict``, as decisions and status say it."""


class Op(StrEnum):
    TRAIN = "train"
    PREDICT = "predict"
    FORGET = "forget"


class Failure(StrEnum):
    TOO_SHORT = "TooShort"
    """Not enough counted history."""
    UNKNOWN_KEY = "UnknownKey"
    """Nothing trained for this key in this process."""
    BAD_INPUT = "BadInput"
    FAILED = "Failed"
    """A defect of ours or of a library."""
