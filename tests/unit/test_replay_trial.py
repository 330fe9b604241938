"""What the trial says on paper of a margin is what a replay makes of it, with few pods as with
many: no pods less, and no fewer requests late."""

import numpy as np
import pytest

from tidegate_operator.decide.margins import ALONE, keeping, under
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.trial import Margin
from tidegate_operator.decide.words import Mode, Rules, ScalingRules
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules(service_cv=1.0)
"""Erlang's formulas are of service times that vary so."""
SCALING = ScalingRules(max_replicas=100, capacity_rps=PLANT.pod_rps, wait_target_s=4.0)
FULL, USUAL = Margin(0.95), Margin(0.7)


def a_wave(pods: float) -> Trace:
    """A day's wave that keeps ``pods`` busy on average, with the noise of single minutes."""
    minutes = np.arange(1440)
    mean = 60.0 * PLANT.pod_rps * pods * (1.0 + 0.5 * np.sin(2 * np.pi * minutes / 1440))
    counts = np.random.default_rng(3).poisson(mean)
    return Trace(name="wave", start=0.0, step_s=60.0, requests=tuple(map(float, counts)))


def rules(scaling: ScalingRules) -> Rules:
    return Rules(mode=Mode.ENFORCE, models=(ModelRule(name="m"),), scaling=scaling)


@pytest.mark.parametrize("pods", [1.0, 3.0, 9.0], ids="{:g} pods busy".format)
def test_paper_is_near_and_seldom_too_kind(pods: float) -> None:
    trace = a_wave(pods)
    on_trial = Tidegate(rules(keeping(0.005, SCALING)))
    replay(trace, PLANT, on_trial)
    book = on_trial.memory.trial.alone
    for margin in (FULL, USUAL):
        came = replay(trace, PLANT, Tidegate(rules(under(SCALING, margin))))
        at = ALONE.index(margin)
        pod_s = came.pod_hours * 3600 / sum(count or 0 for count in trace.requests)
        assert book.pod_s[at] / book.arrived == pytest.approx(pod_s, rel=0.05)
        late = book.late[at] / book.arrived
        assert came.violations / 2 - 0.001 <= late <= 5 * came.violations + 0.005
        if margin is FULL:
            assert late > 0.003, "a fluid would have made nobody wait"
