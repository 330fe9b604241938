"""What comes in each step of a replay: all of the trace, whatever its step, the same for a seed,
and with tokens the work that they mean."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.replay.control import Static
from tidegate_operator.replay.load import busy_slots, load_of, mean_service_s
from tidegate_operator.replay.loop import replay, usual_pods
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules()
counts = st.lists(st.one_of(st.none(), st.floats(0, 500)), min_size=4, max_size=60)


def trace(
    requests: list[float | None],
    step_s: int = 60,
    *,
    start: float = 0.0,
    prompt: list[float | None] | None = None,
    output: list[float | None] | None = None,
) -> Trace:
    return Trace(
        name="t",
        start=start,
        step_s=step_s,
        requests=tuple(requests),
        prompt_tokens=tuple(prompt or ()),
        output_tokens=tuple(output or ()),
    )


@settings(max_examples=60)
@given(
    requests=st.lists(st.floats(0, 500), min_size=1, max_size=40),
    step_s=st.sampled_from([1, 5, 10, 15, 20, 30, 60, 300, 1800]),
)
def test_no_request_is_lost_whatever_the_step(requests: list[float], step_s: int) -> None:
    if step_s < 5:  # whole steps of the replay: what is known in part is scaled up
        requests = requests * 5
    load = load_of(trace([*requests], step_s), PLANT, 0)
    assert sum(load.requests) == pytest.approx(sum(requests), abs=0.51)
    assert len(load.requests) == len(requests) * step_s // 5
    assert min(load.requests) >= 0
    assert sum(load.work_s) == pytest.approx(sum(load.requests) * PLANT.service_s)


@pytest.mark.parametrize(
    ("step_s", "requests", "steps"),
    [
        pytest.param(1, [1.0, 2.0, 3.0, 4.0, 5.0] * 2, [15, 15], id="seconds are added up"),
        pytest.param(5, [7.0, 0.0, 3.0], [7, 0, 3], id="steps of 5 s are taken as they are"),
    ],
)
def test_fine_traces_keep_their_bursts(
    step_s: int, requests: list[float | None], steps: list[int]
) -> None:
    assert load_of(trace(requests, step_s), PLANT, 0).requests == steps


def test_a_few_requests_in_half_an_hour_are_not_rounded_away() -> None:
    load = load_of(trace([10.0, 10.0], 1800), PLANT, 0)
    assert sum(load.requests) == 20


def test_a_trace_that_begins_within_a_minute_is_played_from_that_minute_on() -> None:
    load = load_of(trace([5.0] * 6, 10, start=1030.0), PLANT, 0)
    assert load.start == 1020.0
    assert load.requests[:2] == [0, 0] and sum(load.requests) == 30


@pytest.mark.parametrize(
    ("requests", "pods"),
    [
        pytest.param([0.0] * 11 + [42.0] * 30, 6, id="the first minute is a part of one"),
        pytest.param([42.0] * 40, 6, id="8.4 a second for 4 s on 5.6 slots a pod"),
        pytest.param([0.0] * 40, 1, id="nothing: one"),
    ],
)
def test_the_pods_that_a_replay_finds(requests: list[float | None], pods: int) -> None:
    assert usual_pods(load_of(trace(requests, 5), PLANT, 0), PLANT) == pods


@settings(max_examples=40)
@given(past=counts, future=counts, other=counts, seed=st.integers(0, 5))
def test_what_comes_later_changes_nothing_of_what_came_before(
    past: list[float | None],
    future: list[float | None],
    other: list[float | None],
    seed: int,
) -> None:
    past = [100.0, *past]  # what begins unknown is as the first that is known
    plant = PlantRules(service_cv=0.7)
    one, two = (load_of(trace([*past, *rest]), plant, seed) for rest in (future, other))
    upto = 12 * len(past)
    assert one.requests[:upto] == two.requests[:upto]
    assert one.work_s[:upto] == two.work_s[:upto]


def test_service_times_spread_as_they_are_told_to() -> None:
    plant = PlantRules(service_cv=0.5)
    steady: list[float | None] = [1200.0] * 200
    load = load_of(trace(steady), plant, 1)
    means = [work / count for work, count in zip(load.work_s, load.requests, strict=True)]
    mean = sum(means) / len(means)
    spread = (sum((m - mean) ** 2 for m in means) / len(means)) ** 0.5
    assert mean == pytest.approx(4.0, rel=0.01)
    assert spread == pytest.approx(4.0 * 0.5 / 100**0.5, rel=0.1), "a hundred requests a step"
    assert load.requests == load_of(trace(steady), PLANT, 1).requests


def test_with_tokens_a_request_takes_what_its_tokens_take() -> None:
    told = trace(
        [60.0, 120.0, 0.0], prompt=[60_000.0, None, 0.0], output=[12_000.0, 48_000.0, 0.0]
    )
    first = 1000 * PLANT.prompt_token_s + 200 * PLANT.output_token_s
    load = load_of(told, PLANT, 0)
    assert sum(load.work_s[:12]) == pytest.approx(60 * first)
    assert sum(load.work_s[12:24]) == pytest.approx(120 * first), "unknown: as the minute before"
    assert mean_service_s(told, PLANT) == pytest.approx(first)
    assert busy_slots(told, PLANT)[0] == pytest.approx(first)


def test_tokens_can_be_left_out() -> None:
    told = trace([60.0], prompt=[1.0], output=[60_000.0])
    assert mean_service_s(told, PlantRules(by_tokens=False)) == 4.0
    assert mean_service_s(trace([60.0]), PLANT) == 4.0, "there are none"


def test_longer_answers_need_more_pods_at_the_same_rate() -> None:
    short, long = (
        trace([60.0] * 60, prompt=[30_000.0] * 60, output=[tokens * 60.0] * 60)
        for tokens in (100.0, 400.0)
    )
    assert replay(short, PLANT, Static(1), start_pods=1).violations == 0
    assert replay(long, PLANT, Static(1), start_pods=1).violations > 0.4
    assert replay(long, PLANT, Static(3), start_pods=3).violations == 0
