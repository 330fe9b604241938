"""No decision sees the future: change what comes after a moment, and every decision until then
stays the same, for every controller but the oracle. And the books of a whole replay add up."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from request_series import DAY, daily
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.words import Mode, Rules, ScalingRules
from tidegate_operator.replay.ahead import rolled
from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.control import Controller, Seen, Static
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.keda import Keda, KedaRules
from tidegate_operator.replay.kpa import Kpa, KpaRules
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.oracle import Oracle
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.result import Result
from tidegate_operator.replay.seasonal import SeasonalNaive
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules(service_cv=0.5, cold_start_sigma=0.3, start_failure_share=0.1)
RULES = Rules(
    mode=Mode.ENFORCE,
    models=(ModelRule(name="m"),),
    scaling=ScalingRules(
        capacity_rps=PLANT.pod_rps, max_replicas=60, wait_target_s=4.0, allowed_late=0.005
    ),
)
Make = Callable[[Trace], Controller]


def foreseeing(trace: Trace) -> Tidegate:
    return Tidegate(RULES, rolled(trace, 7, begin_minute=2 * DAY - 60, refit_every_minutes=90))


MAKES: dict[str, Make] = {
    "static": lambda trace: Static(9),
    "HPA on request rate": lambda trace: Hpa(HpaRules(target_rps=1.4)),
    "HPA on utilization": lambda trace: Hpa(HpaRules(target_utilization=0.7)),
    "KEDA": lambda trace: Keda(KedaRules(threshold_rps=1.4)),
    "KPA": lambda trace: Kpa(KpaRules(slots_per_pod=8, scale_down_delay_s=60.0)),
    "seasonal naive": lambda trace: SeasonalNaive(trace=trace, plant=PLANT),
    "Tidegate, reactive": lambda trace: Tidegate(RULES),
    "Tidegate with its forecasts": foreseeing,
}


def trace(counts: list[float], *, start_minute: int = 0) -> Trace:
    return Trace(name="t", start=60.0 * start_minute, step_s=60, requests=tuple(counts))


@dataclass
class Recorder:
    """Writes down what another controller wanted, and when."""

    of: Controller
    said: list[tuple[float, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def period_s(self) -> float:
        return self.of.period_s

    def wanted(self, seen: Seen) -> int:
        count = self.of.wanted(seen)
        self.said.append((seen.now, count))
        return count


def decisions(make: Make, whole: Trace, begin: float) -> list[tuple[float, int]]:
    recorder = Recorder(make(whole))
    replay(whole.between(begin, whole.end), PLANT, recorder, seed=4)
    return recorder.said


@pytest.mark.parametrize("name", MAKES)
def test_what_comes_later_changes_no_decision_before_it(name: str) -> None:
    counts = [float(count) for count in daily(2.1, mean=700.0)]
    turn = 2 * DAY + 60
    changed = [*counts[:turn], *(4000.0 for _ in counts[turn:])]
    begin = 60.0 * (2 * DAY - 60)
    one, two = (decisions(MAKES[name], trace(made), begin) for made in (counts, changed))
    until = 60.0 * turn
    assert [said for said in one if said[0] <= until] == [said for said in two if said[0] <= until]
    assert sum(said[0] <= until for said in one) > 400
    assert name == "static" or one != two, "what comes then does matter, else this can't fail"


def test_the_oracle_does_see_it() -> None:
    """So the test above can tell."""
    counts = [600.0] * 120
    changed = [*counts[:60], *([4000.0] * 60)]

    def knowing(whole: Trace) -> Controller:
        return Oracle(trace=whole, plant=PLANT)

    one, two = (decisions(knowing, trace(made), 0.0) for made in (counts, changed))
    assert [said for said in one if said[0] < 3600] != [said for said in two if said[0] < 3600]


@settings(max_examples=25)
@given(
    counts=st.lists(st.one_of(st.none(), st.floats(0, 3000)), min_size=5, max_size=40),
    name=st.sampled_from([name for name in MAKES if name != "Tidegate with its forecasts"]),
    seed=st.integers(0, 3),
)
def test_the_books_add_up(counts: list[float | None], name: str, seed: int) -> None:
    whole = Trace(name="t", start=0.0, step_s=60, requests=tuple(counts))
    result = replay(whole, PLANT, MAKES[name](whole), seed=seed)
    check_books(result)
    assert result == replay(whole, PLANT, MAKES[name](whole), seed=seed), "the same by seed"


def check_books(result: Result) -> None:
    minutes = result.minutes
    assert result.requests == result.served + result.dropped + result.waiting
    assert sum(minutes.load) == result.requests
    assert sum(minutes.violations) == pytest.approx(result.late + result.dropped)
    assert all(v <= n + 1e-6 for v, n in zip(minutes.violations, minutes.load, strict=True))
    assert sum(minutes.paid) == pytest.approx(result.pod_minutes)
    assert all(r <= p + 1e-9 for r, p in zip(minutes.ready, minutes.paid, strict=True))
    assert 0 <= result.wait_p50_s <= result.wait_p95_s <= result.wait_p99_s
    assert 0 <= result.violations <= 1
    assert 0 <= result.slo_minutes <= len(minutes.load)
