"""Goals are scored from what was played: best in hindsight, ratios, and honest about what can't be
told."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from benchmarks.goals import picture, score, table
from benchmarks.goals.field import DAILY, Played, Row, find_traces, finer, jobs_of, part_of
from benchmarks.goals.results import read_run, result_of, with_results


def row(controller: str, setting: str, pod_hours: float, late: float, wait: float = 0.0) -> Row:
    return Row(
        trace="t",
        controller=controller,
        setting=setting,
        pod_hours=pod_hours,
        violations=late,
        wait_p99_s=wait,
        days=((pod_hours / 2, 500.0, 500.0 * late), (pod_hours / 2, 500.0, 500.0 * late)),
    )


def played(
    *rows: Row,
    trace: str = "t",
    trusted: float | None = 0.9,
    coverage: dict[float, float] | None = None,
    cold_start_s: float = 180.0,
) -> Played:
    return Played(
        trace=trace,
        cold_start_s=cold_start_s,
        days=2.0,
        trusted=trusted,
        coverage=coverage or {},
        rows=rows,
    )


USUAL = (
    row("tidegate", "balanced", 80, 0.004, 1.0),
    row("tidegate", "lean", 70, 0.009, 2.0),
    row("hpa", "60%", 100, 0.003, 2.0),
    row("hpa", "70%", 85, 0.008, 4.0),
    row("hpa", "80%", 75, 0.03, 6.0),
    row("oracle", "0.5%", 76, 0.0),
    row("oracle", "2.0%", 60, 0.019),
)


def test_the_best_keeps_to_the_share_and_costs_least() -> None:
    found = score.best(USUAL, "hpa", 0.01)
    assert found is not None
    assert found.setting == "70%"
    assert score.best(USUAL, "hpa", 0.001) is None


def test_goal_1_is_the_mean_ratio_over_the_best_hpa_and_names_whom_it_leaves_out() -> None:
    never = played(row("tidegate", "balanced", 50, 0.004), row("hpa", "60%", 9, 0.2), trace="n")
    goal = score.g1([played(*USUAL), never])
    assert goal.value == pytest.approx(0.8)
    assert goal.met
    assert "no HPA keeps 0.5 % on n" in goal.note


def test_goal_1_is_resampled_by_days() -> None:
    low, high = score._resampled([played(*USUAL)], 0.005)
    assert low == high == pytest.approx(0.8)
    assert all(math.isnan(end) for end in score._resampled([], 0.005))


@pytest.mark.parametrize(
    ("late", "oracle", "met"),
    [
        pytest.param(0.004, 76, True, id="late seldom and near the oracle"),
        pytest.param(0.006, 76, False, id="late too often on the mean"),
        pytest.param(0.004, 70, False, id="too dear"),
    ],
)
def test_goal_2_is_the_default_alone(late: float, oracle: float, met: bool) -> None:
    one = played(row("tidegate", "balanced", 80, late), row("oracle", "0.5%", oracle, 0.0))
    assert score.g2([one]).met is met


def test_goal_2_asks_for_the_worst_trace_too() -> None:
    fine = [
        played(row("tidegate", "balanced", 80, 0.0), row("oracle", "0.5%", 79, 0.0), trace=f"t{k}")
        for k in range(9)
    ]
    bad = played(row("tidegate", "balanced", 80, 0.02), row("oracle", "0.5%", 79, 0.0), trace="b")
    goal = score.g2([*fine, bad])
    assert goal.value["mean_violations"] == pytest.approx(0.002)
    assert not goal.met


def test_goal_3_is_what_the_daily_pattern_saves_at_either_cold_start() -> None:
    quick = played(*USUAL, trace=DAILY)
    slow = played(
        row("tidegate", "balanced", 40, 0.004),
        row("hpa", "40%", 100, 0.004),
        trace=DAILY,
        cold_start_s=900.0,
    )
    goal = score.g3(quick, slow)
    assert goal.value == {"3min": 0.2, "15min": 0.6}
    assert not goal.met
    assert score.g3(None, slow).value["3min"] is None


def test_goal_4_allows_a_bursty_trace_more() -> None:
    goal = score.g4([played(*USUAL)])
    assert goal.value == pytest.approx(70 / 60, abs=1e-4)
    assert goal.met
    assert not score.g4([]).met


def test_goal_5_is_the_worst_trace_at_either_share() -> None:
    dearer = played(row("tidegate", "balanced", 90, 0.0), row("hpa", "60%", 80, 0.0), trace="d")
    goal = score.g5([played(*USUAL), dearer])
    assert goal.value == pytest.approx(1.125)
    assert not goal.met


def test_goal_5_is_missed_where_only_the_hpa_keeps_the_share() -> None:
    lost = played(row("tidegate", "balanced", 50, 0.02), row("hpa", "60%", 80, 0.0), trace="d")
    goal = score.g5([played(*USUAL), lost])
    assert not goal.met
    assert "keeps no such share on d at 1.0%" in goal.note


@pytest.mark.parametrize(
    ("held", "met"),
    [
        pytest.param(0.955, True, id="half a point above"),
        pytest.param(0.938, False, id="more than a point below"),
        pytest.param(0.962, False, id="more than a point above: that costs"),
    ],
)
def test_goal_6_is_coverage_on_both_sides(held: float, met: bool) -> None:
    assert score.g6([played(*USUAL, coverage={0.95: held})]).met is met


def test_goal_7_has_two_bars() -> None:
    assert score.g7(0.3, 4.0).met
    assert not score.g7(0.3, 6.0).met
    assert not score.g7(0.6, 4.0).met


def test_goal_8_compares_with_the_hpa_that_would_cost_as_much() -> None:
    """80 pod-hours lie half-way between the targets 70 % and 80 %: 5 s and 1.9 %."""
    goal = score.g8([played(*USUAL)])
    assert goal.value["p99_lower"] == pytest.approx(0.8)
    assert goal.value["violations_lower"] == pytest.approx(1 - 0.004 / 0.019, abs=1e-4)
    assert goal.met


def test_goal_8_nothing_is_not_lower_than_nothing_but_as_good() -> None:
    calm = played(row("tidegate", "balanced", 80, 0.0), row("hpa", "60%", 80, 0.0))
    assert score.g8([calm]).value == {"p99_lower": 1.0, "violations_lower": 1.0}


def test_nothing_played_meets_no_goal() -> None:
    empty = (score.g1([]), score.g2([]), score.g4([]), score.g5([]), score.g6([]), score.g8([]))
    assert not any(goal.met for goal in empty)


def test_the_picture_has_a_panel_for_each_trace_and_every_mark_has_its_words(
    tmp_path: Path,
) -> None:
    picture.draw(
        [played(*USUAL, trace="one"), played(*USUAL, trace="two", trusted=None)], tmp_path
    )
    drawn = (tmp_path / "goals.svg").read_text()
    assert "one, 3 min to start" in drawn
    assert "two" not in drawn
    assert "tidegate balanced: 80 pod-hours, 0.40% late" in drawn


def told(*rows: Row) -> dict[str, Any]:
    """What a run writes."""
    return {
        "goals": {"G1": {"value": 0.8, "bar": "<= 0.87", "met": True}},
        "results": [result_of(each, 180.0) for each in rows],
    }


def test_the_tables_of_the_docs_have_a_dash_for_what_is_not_there() -> None:
    lines = list(table.lines_of(told(*USUAL)))
    assert lines[2] == "| G1 | 0.8 | <= 0.87 | yes |"
    assert lines[-1] == "| t, 3 min | 80 | 0.40% | 80 | 100 | - | 76 |"


@pytest.mark.parametrize(
    ("late", "cell"),
    [
        pytest.param(0.004, "| 100 | 90 | - |", id="pod-hours where a share keeps it"),
        pytest.param(0.006, "| 100 | - | - |", id="a dash where none does"),
    ],
)
def test_the_lstm_has_a_column_where_it_was_played(late: float, cell: str) -> None:
    lines = list(table.lines_of(told(*USUAL, row("lstm", "70%", 90, late))))
    assert "| best HPA at <= 0.5 % | best LSTM at <= 0.5 % |" in lines[4]
    assert cell in lines[-1]
    assert not any("LSTM" in line for line in table.lines_of(told(*USUAL)))


def test_results_that_are_added_replace_those_of_their_controller_on_their_traces() -> None:
    old, elsewhere = row("lstm", "70%", 90, 0.1), result_of(row("lstm", "75%", 85, 0.2), 900.0)
    run = told(*USUAL, old)
    run["results"].append(elsewhere)
    new = [result_of(row("lstm", "60%", 95, 0.004), 180.0)]
    twice = with_results(with_results(run, new), new)
    assert twice == {**told(*USUAL), "results": [*told(*USUAL)["results"], elsewhere, *new]}


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "F"
    path.write_text(json.dumps(told(*USUAL)))
    assert read_run(path) == told(*USUAL)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("goals", "F: must be JSON", id="another kind of file"),
        pytest.param("{}", "F: must be what make bench-forecast wrote", id="other JSON"),
        pytest.param("[1]", "F: must be what make bench-forecast wrote", id="a list"),
    ],
)
def test_what_is_no_run_is_refused_with_its_name(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "F"
    path.write_text(text)
    with pytest.raises(ValueError, match=rule):
        read_run(path)


@pytest.mark.parametrize(
    ("late", "wanted"),
    [
        pytest.param({60: 0.003, 65: 0.03}, [61, 62, 63, 64], id="where it crosses every share"),
        pytest.param(
            {60: 0.003, 65: 0.008, 70: 0.03},
            [61, 62, 63, 64, 66, 67, 68, 69],
            id="where it crosses one share, and where another",
        ),
        pytest.param({60: 0.03, 65: 0.05}, [], id="nowhere, if every target is late too often"),
    ],
)
def test_targets_are_played_by_1_percent_where_a_share_is_crossed(
    late: dict[int, float], wanted: list[int]
) -> None:
    assert finer(late) == wanted


def test_traces_are_found_by_parts_of_their_names_and_the_daily_one_is_played_twice(
    tmp_path: Path,
) -> None:
    for name in (DAILY, "other"):
        (tmp_path / f"{name}.csv.gz").touch()
    both = find_traces(tmp_path)
    assert [(path.name, start_s) for path, start_s in jobs_of(both)] == [
        (f"{DAILY}.csv.gz", 180.0),
        ("other.csv.gz", 180.0),
        (f"{DAILY}.csv.gz", 900.0),
    ]
    assert find_traces(tmp_path, ["oth", "x"]) == both[1:]
    with pytest.raises(FileNotFoundError, match=r"must have \*\.csv\.gz files"):
        find_traces(tmp_path, ["x"])


@pytest.mark.parametrize(
    ("days", "played_days", "judged_days"),
    [
        pytest.param(2, 2, 2, id="two days are too short for a history"),
        pytest.param(5, 5, 3, id="the first two days are history"),
        pytest.param(33, 30, 28, id="the last thirty days of a longer one"),
    ],
)
def test_all_play_the_same_part_of_a_trace(
    tmp_path: Path, days: int, played_days: int, judged_days: int
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "timestamp,requests\n" + "".join(f"{60 * k},{1 + k % 9}\n" for k in range(1440 * days))
    )
    minutes, judged, plant = part_of(path, 900.0)
    assert (minutes.end - minutes.start) / 86400 == played_days
    assert (judged.end - judged.start) / 86400 == judged_days
    assert judged.end == minutes.end == 86400 * days
    assert max(count or 0 for count in minutes.requests) == pytest.approx(60 * 14 * plant.pod_rps)
    assert plant.cold_start_s == 900.0
