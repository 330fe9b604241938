"""A benchmark's figures are what its bursts say: ratios inside rounds, medians over them, and a
recorded ratio that is worse by more than the slack is told.
"""

from xml.etree import ElementTree

import pytest
from benchmarks import figures, picture, recorded, report
from benchmarks.bench import Outcome
from benchmarks.contestants import Envoy, Nginx
from benchmarks.loads import CHUNK, DIRECT, LATENCY, LOADS, REQUEST, SHORT, USAGE_CHUNK, Burst
from benchmarks.sidecars import COMPILED, PURE


def burst(
    proxy: str, load: str, number: int, cpu_us: float | None, timed_us: float | None = None
) -> Burst:
    return Burst(
        proxy=proxy,
        load=load,
        round=number,
        done=100,
        cpu_us=cpu_us,
        per_s=50.0,
        timed_us=timed_us,
        foreign_cpu=0.01 * number,
    )


def rounds(proxy: str, load: str, *cpu_us: float | None) -> list[Burst]:
    return [burst(proxy, load, number, used) for number, used in enumerate(cpu_us, 1)]


def test_a_ratio_is_taken_inside_a_round_and_told_by_its_median() -> None:
    """A machine twice as slow in one round slows both: the ratio stays."""
    bursts = rounds("a", "x", 10, 20, 10) + rounds("b", "x", 20, 40, 25)
    assert figures.cpu_ratio(bursts, "a", "b", "x") == figures.Spread(0.5, 0.4, 0.5)


@pytest.mark.parametrize(
    "bursts",
    [
        pytest.param([], id="nothing was run"),
        pytest.param(rounds("a", "x", 10), id="the other was not run"),
        pytest.param(rounds("a", "x", 10) + rounds("b", "y", 10), id="the other ran another load"),
        pytest.param(rounds("a", "x", None) + rounds("b", "x", 10), id="one has no process"),
    ],
)
def test_what_was_not_measured_is_no_number(bursts: list[Burst]) -> None:
    assert figures.cpu_ratio(bursts, "a", "b", "x") is None


def test_what_a_proxy_adds_is_told_over_the_server_alone_in_the_same_round() -> None:
    bursts = [
        *(burst("a", "x", 1, None, 900.0), burst(DIRECT, "x", 1, None, 600.0)),
        *(burst("a", "x", 2, None, 500.0), burst(DIRECT, "x", 2, None, 400.0)),
    ]
    told = figures.added_ms(bursts, "a", "x")
    assert told is not None
    assert (told.low, told.high) == (pytest.approx(0.1), pytest.approx(0.3))


def test_a_difference_is_taken_inside_a_round_too() -> None:
    bursts = rounds("a", "x", 12, 33, 14) + rounds("b", "x", 10, 30, 10)
    told = figures.cpu_difference(bursts, ("a", "x"), ("b", "x"))
    assert told == figures.Spread(3, 2, 4)


@pytest.mark.parametrize(
    ("found", "good", "said"),
    [
        pytest.param(0.5, True, "r = 0.50, at most 0.65 (30 % above 0.5)", id="as before is well"),
        pytest.param(
            0.64, True, "r = 0.64, at most 0.65 (30 % above 0.5)", id="within the slack is well"
        ),
        pytest.param(
            0.66,
            False,
            "r must be at most 0.65 (30 % above 0.5), was: 0.66",
            id="above the slack is told",
        ),
        pytest.param(
            None,
            False,
            "r must be measured to be compared; it was not",
            id="not measured is told, never taken for well",
        ),
    ],
)
def test_a_ratio_is_held_to_the_recorded_one(found: float | None, good: bool, said: str) -> None:
    [compared] = recorded.compared({"r": found}, {"r": 0.5})
    assert (compared.good, compared.told()) == (good, said)


def test_each_recorded_ratio_is_told_beside_its_bound_also_where_all_is_well() -> None:
    told = [each.told() for each in recorded.compared({"a": 1.0, "b": 9.0}, {"a": 1.0, "b": 1.0})]
    assert told == [
        "a = 1.00, at most 1.30 (30 % above 1.0)",
        "b must be at most 1.30 (30 % above 1.0), was: 9.00",
    ]


def test_what_is_recorded_is_what_the_short_form_measures() -> None:
    loads = {load.name for load in SHORT}
    measured = {
        key
        for key, (_, other, load) in report.RATIOS.items()
        if other == Envoy.name and load in loads
    }
    assert set(recorded.read()) == measured


def some_outcome() -> Outcome:
    names = (Nginx.name, Envoy.name, COMPILED.name, PURE.name)
    loads = (REQUEST, CHUNK, USAGE_CHUNK)
    bursts = [
        one
        for place, name in enumerate(names, 1)
        for load in loads
        for one in rounds(name, load.name, 10.0 * place, 11.0 * place)
    ]
    bursts += [burst(COMPILED.name, LATENCY.name, 1, 9.0, 700.0)]
    bursts += [burst(DIRECT, LATENCY.name, 1, None, 500.0)]
    return Outcome(bursts, dict.fromkeys(names, 20.0), dict.fromkeys(names, 30.0))


def told_of(outcome: Outcome) -> dict[str, object]:
    names = dict.fromkeys(outcome.idle_mb, "1")
    return report.as_values(outcome, {"cpu": "a", "cores": 2}, names)


def test_the_values_have_what_others_read_by_name() -> None:
    told = told_of(some_outcome())
    assert told["cpu_ratio_envoy_1kb"] == pytest.approx(1.5)
    assert told["cpu_ratio_litellm_1kb"] is None
    assert told["added_p50_ms"] == pytest.approx(0.2)
    assert (told["pss_idle_mb"], told["pss_loaded_mb"]) == (20.0, 30.0)


def test_the_picture_is_svg_that_names_each_proxy_and_figure() -> None:
    drawn = ElementTree.fromstring(picture.drawn(told_of(some_outcome())))
    words = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert words.count(COMPILED.name) == 4, "three loads, and memory"
    assert "32" in words


def test_a_bar_a_hundred_times_the_others_is_cut_and_says_so() -> None:
    outcome = some_outcome()
    outcome.bursts += rounds("LiteLLM", REQUEST.name, 10_000.0)
    outcome.loaded_mb["LiteLLM"] = outcome.idle_mb["LiteLLM"] = 300.0
    assert "10,000 (cut)" in picture.drawn(told_of(outcome))


def test_loads_have_names_of_their_own() -> None:
    assert len({load.name for load in LOADS}) == len(LOADS)
