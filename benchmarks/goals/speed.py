"""How long a retraining and a forecast take, in CPU time of one core.

Law: the least of some fits on 28 days of minutes, and the median of some forecasts with their
features, through the very calls of the live worker.
"""

import time

import numpy as np

from tidegate_operator.forecast import engine
from tidegate_operator.forecast.engine import Engine
from tidegate_operator.forecast.series import DAY

DAYS, HORIZON = 28, 5
FITS, FORECASTS = 3, 15


def forecast_speed() -> tuple[float, float]:
    """Seconds of a full retrain, milliseconds of a forecast; on a made-up daily wave with noise,
    since what it takes depends on the number of minutes alone."""
    minutes = np.arange(DAYS * DAY)
    mean = 300 + 200 * np.sin(2 * np.pi * minutes / DAY)
    counts = [int(n) for n in np.random.default_rng(0).poisson(mean)]
    learner = Engine()
    learner.install("k", engine.learn(0, counts[: 4 * DAY], HORIZON, state=None))
    fits = []
    for _ in range(FITS):
        began = time.process_time()
        learned = engine.learn(0, counts, HORIZON, state=None, record=False)
        fits.append(time.process_time() - began)
    learner.install("k", learned)
    forecasts = []
    for k in range(FORECASTS):
        end = len(counts) - FORECASTS + k
        began = time.process_time()
        learner.predict("k", end - 9 * DAY, counts[end - 9 * DAY : end])
        forecasts.append(time.process_time() - began)
    return min(fits), 1000 * float(np.median(forecasts))
