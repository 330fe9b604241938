"""What a pod carried in a minute, and how many of its answers began late, from its counters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.ledger.carried import CarriedLoads, late_answers
from tidegate_wire.stats import TTFT_BOUNDS_S, Series, SidecarStats

START = 1_000_000.0
TARGET_S = 3.0
PLACES = len(TTFT_BOUNDS_S) + 1


def counts(**by_bound: int) -> tuple[int, ...]:
    """``le_2_5=3``: three answers within the bucket up to 2.5 s; ``more``: past all."""
    found = [0] * PLACES
    for name, count in by_bound.items():
        bound = name.removeprefix("le_").replace("_", ".")
        found[-1 if name == "more" else TTFT_BOUNDS_S.index(float(bound))] = count
    return tuple(found)


def look(
    arrived: int,
    *,
    tokens: int = 0,
    in_flight: int = 0,
    boot: str = "a",
    ttft: tuple[int, ...] = counts(),
) -> SidecarStats:
    series = (
        Series(model="m", tenant="", tokens_in=tokens // 2, tokens_out=tokens - tokens // 2),
    )
    return SidecarStats(
        pod_uid="p",
        boot=boot,
        arrived=arrived,
        in_flight=in_flight,
        series=series,
        ttft_counts=ttft,
    )


@pytest.mark.parametrize(
    ("seen", "target_s", "late"),
    [
        pytest.param(counts(le_2_5=10), 3.0, 0.0, id="all in time"),
        pytest.param(counts(le_7_5=10), 3.0, 10.0, id="all late"),
        pytest.param(counts(more=4), 3.0, 4.0, id="beyond all bounds is late"),
        pytest.param(counts(le_5_0=10), 3.0, 8.0, id="a bucket is shared out evenly"),
        pytest.param(counts(le_2_5=5, le_5_0=5), 2.5, 5.0, id="a bound is the end of its bucket"),
        pytest.param(counts(more=4), 90.0, 0.0, id="nobody knows of a target past all bounds"),
    ],
)
def test_late_answers(seen: tuple[int, ...], target_s: float, late: float) -> None:
    assert late_answers(seen, target_s) == pytest.approx(late)


@given(
    seen=st.lists(st.integers(0, 1000), min_size=PLACES, max_size=PLACES),
    target_s=st.floats(0.001, 59.0),
    later_s=st.floats(0.001, 59.0),
)
def test_no_more_are_late_than_were_seen_and_fewer_by_a_later_target(
    seen: list[int], target_s: float, later_s: float
) -> None:
    early, late = sorted((target_s, later_s))
    assert 0 <= late_answers(seen, late) <= late_answers(seen, early) + 1e-6
    assert late_answers(seen, early) <= sum(seen) + 1e-6


def test_a_minute_of_a_pod_is_one_sample() -> None:
    loads = CarriedLoads()
    for tick in range(4):
        seen = look(30 * tick, tokens=600 * tick, in_flight=tick)
        assert loads.look(START + 15 * tick, {"p": seen}, TARGET_S) == ()
    end = look(120, tokens=2400, in_flight=6, ttft=counts(le_1_0=90, le_7_5=30))
    (sample,) = loads.look(START + 60, {"p": end}, TARGET_S)
    assert (sample.rps, sample.tokens_per_s, sample.in_flight) == (2.0, 40.0, 3.0)
    assert (sample.answers, sample.late) == (120, 30.0)
    assert loads.look(START + 75, {"p": end}, TARGET_S) == (), "and the next minute begins"


@pytest.mark.parametrize(
    "between",
    [
        pytest.param({"p": None}, id="a look that failed"),
        pytest.param({}, id="a pod that was away"),
        pytest.param({"p": look(5, boot="b")}, id="another life"),
        pytest.param({"p": look(0)}, id="an older look that came late"),
    ],
)
def test_a_minute_that_was_not_seen_whole_is_none(between: dict[str, SidecarStats | None]) -> None:
    loads = CarriedLoads()
    loads.look(START, {"p": look(10)}, TARGET_S)
    loads.look(START + 30, between, TARGET_S)
    assert loads.look(START + 60, {"p": look(40)}, TARGET_S) == ()


def test_a_gap_too_long_to_say_what_the_load_was_is_none() -> None:
    loads = CarriedLoads()
    loads.look(START, {"p": look(10)}, TARGET_S)
    assert loads.look(START + 300, {"p": look(400)}, TARGET_S) == ()


def test_a_sidecar_that_tells_no_first_tokens_is_no_evidence_of_them() -> None:
    loads = CarriedLoads()
    loads.look(START, {"p": look(0, ttft=())}, TARGET_S)
    (sample,) = loads.look(START + 60, {"p": look(60, ttft=())}, TARGET_S)
    assert (sample.rps, sample.answers, sample.late) == (1.0, 0, 0.0)
