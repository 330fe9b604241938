"""``tidegate backtest`` on small histories: what it prints, and the exit code that CI goes by."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from backtest_runs import POLICY, run


def daily(minute: int) -> int:
    """Requests: three a second at night, 13 in the middle of the day."""
    return round(60 * (8 - 5 * math.cos(2 * math.pi * minute / 1440)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backtest")
    for name, minutes in (("short", 240), ("days", 2 * 1440 + 30)):
        rows = (f"{60 * minute},{daily(minute)}" for minute in range(minutes))
        (folder / f"{name}.csv").write_text("\n".join(("timestamp,requests", *rows)) + "\n")
    jump = (f"{60 * minute},{120 if minute < 120 else 2400}" for minute in range(180))
    (folder / "jump.csv").write_text("\n".join(("timestamp,requests", *jump)) + "\n")
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    return folder


@pytest.fixture(scope="module")
def judged(folder: Path) -> dict[str, Any]:
    """A day to learn from and a day to be judged by, as JSON."""
    code, out, err = run(
        *("-f", folder / "policy.yaml", "--trace", folder / "days.csv", "-o", "json"),
        *("--price-per-pod-hour", "2.5", "--cold-start", "3m"),
    )
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def test_json_has_the_documented_names(judged: dict[str, Any]) -> None:
    assert {row["controller"] for row in judged["results"]} == {
        *("tidegate", "tidegate-reactive", "hpa-best", "hpa", "keda", "static", "oracle")
    }
    text = (Path(__file__).parents[2] / "docs" / "backtest.md").read_text()
    row = judged["results"][0]
    assert [key for key in (*judged, *row, *judged["verdict"]) if f"`{key}`" not in text] == []


def test_figures_fit_together(judged: dict[str, Any]) -> None:
    rows = {row["controller"]: row for row in judged["results"]}
    for row in rows.values():
        assert row["cost"] == pytest.approx(2.5 * row["pod_hours"], rel=1e-3)
        assert row["slo_attained"] == pytest.approx(1 - row["violations"], abs=1e-5)
        assert row["saving"] == pytest.approx(
            1 - row["pod_hours"] / rows["hpa"]["pod_hours"], abs=1e-3
        )
        assert row["requests"] == rows["hpa"]["requests"], "all meet the same requests"
    assert rows["static"]["scale_ups"] <= 1
    assert rows["oracle"]["pod_hours"] <= min(
        row["pod_hours"] for row in rows.values() if row["violations"] <= 0.005
    )
    assert judged["judged"]["days"] == pytest.approx(1 + 30 / 1440, abs=1e-3)


def test_every_figure_that_is_taken_for_granted_says_who_said_so(judged: dict[str, Any]) -> None:
    told = {line["name"]: (line["value"], line["source"]) for line in judged["assumptions"]}
    assert told["requests/s a pod"] == ("2", "capacityPerReplica")
    assert told["a pod starts within"] == ("3 min", "--cold-start")
    assert told["replicas"] == ("1 to 20", "policy")


def test_the_learning_period_is_told_apart(judged: dict[str, Any]) -> None:
    rows = {row["controller"]: row for row in judged["learning"]}
    assert set(rows) == {"tidegate", "tidegate-reactive", "hpa"}
    assert rows["tidegate"] == {
        **rows["tidegate-reactive"],
        "controller": "tidegate",
        "label": "Tidegate",
    }, "without a history there is no forecast"


def test_the_same_seed_gives_the_same_figures(folder: Path) -> None:
    asked = ("--trace", folder / "short.csv", "-o", "json", "--seed", "3")
    assert run(*asked) == run(*asked)


def test_too_little_history_is_said_first_and_all_are_replayed_without_a_forecast(
    folder: Path,
) -> None:
    code, out, err = run("--trace", folder / "short.csv")
    assert (code, err) == (0, "")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0].startswith("Whether forecasting pays can't be told from 0.2 days of history")
    for start in ("CONTROLLER", "Tidegate", "HPA at 70%", "oracle", "Assumed:"):
        assert any(line.startswith(start) for line in lines), start
    assert "On a fresh install" not in out, "there is no learning period apart"


@pytest.mark.parametrize(
    ("asked", "code", "told"),
    [
        pytest.param(("--max-violations", "100%"), 0, "", id="met"),
        pytest.param(
            ("--max-violations", "100%", "--min-saving", "95%"),
            1,
            "tidegate backtest: --min-saving 95.0% is not met: ",
            id="a saving that is not reached",
        ),
        pytest.param(
            ("--max-violations", "0.5%"),
            1,
            "tidegate backtest: --max-violations 0.50% is not met: ",
            id="more violations than allowed",
        ),
    ],
)
def test_exit_codes_for_ci(folder: Path, asked: tuple[str, ...], code: int, told: str) -> None:
    found, out, err = run("--trace", folder / "jump.csv", *asked)
    assert (found, err[: len(told)]) == (code, told)
    assert out, "the table is there all the same"


BAD_TRACES = {
    "columns": "time,n\n0,1\n60,2\n",
    "text": "timestamp,requests\n0,1\n60,many\n",
    "unsorted": "timestamp,requests\n60,1\n0,1\n",
    "one": "timestamp,requests\n60,1\n",
}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("columns", ":1: must have the columns timestamp and requests", id="header"),
        pytest.param("text", ":3: requests must be a number, was: 'many'", id="no number"),
        pytest.param("unsorted", ":3: timestamp must be later than the line before", id="order"),
        pytest.param("one", ": must have at least two rows, was: 1", id="one row"),
        pytest.param("none", ": cannot be read: No such file or directory", id="no file"),
    ],
)
def test_a_bad_history_is_the_line_and_the_rule(tmp_path: Path, name: str, told: str) -> None:
    path = tmp_path / f"{name}.csv"
    if name in BAD_TRACES:
        path.write_text(BAD_TRACES[name])
    code, out, err = run("--trace", path)
    assert (code, out) == (2, "")
    assert f"--trace {path}{told}" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param(
            (), "one of --trace, --prometheus, --policy is needed, was: none", id="no history"
        ),
        pytest.param(
            ("--policy", "chat"),
            "one of --trace, --prometheus, --policy is needed, was: --trace and --policy",
            id="two histories",
        ),
        pytest.param(
            ("--cold-start", "soon"), "--cold-start must be a duration such as 180s", id="a"
        ),
        pytest.param(("--service-time", "0"), "--service-time must be a duration", id="zero"),
        pytest.param(("--hpa-target", "170%"), "--hpa-target must be a utilization", id="170 %"),
        pytest.param(("--hpa-target", "-1"), "--hpa-target must be a utilization", id="negative"),
        pytest.param(
            ("--max-violations", "0.5"), "--max-violations must be a percentage", id="no sign"
        ),
        pytest.param(("--min-saving", "x%"), "--min-saving must be a percentage", id="no number"),
        pytest.param(
            ("--html", "/none/x.html"), "--html /none/x.html: there is no folder", id="html"
        ),
        pytest.param(
            ("-f", "/none.yaml"), "-f /none.yaml: cannot be read: No such file", id="policy"
        ),
    ],
)
def test_bad_options_are_refused_before_anything_is_computed(
    folder: Path, asked: tuple[str, ...], told: str
) -> None:
    history = ("--trace", folder / "short.csv") if asked else ()
    code, out, err = run(*history, *asked)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("kind: Deployment", "must hold one LLMQualityPolicy, was: 0", id="none"),
        pytest.param(
            yaml.safe_dump_all([POLICY, POLICY]),
            "must hold one LLMQualityPolicy, was: 2",
            id="two",
        ),
        pytest.param("a: [", "is no YAML: ", id="no YAML"),
        pytest.param(
            yaml.safe_dump(POLICY | {"spec": POLICY["spec"] | {"models": []}}),
            "spec.models must name at least one model",
            id="a rule of the policy broken",
        ),
        pytest.param(
            yaml.safe_dump(
                POLICY | {"spec": {k: v for k, v in POLICY["spec"].items() if k != "scaling"}}
            ),
            "spec.scaling is required for a backtest",
            id="a policy that scales nothing",
        ),
    ],
)
def test_a_bad_policy_is_named(folder: Path, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    code, out, err = run("-f", path, "--trace", folder / "short.csv")
    assert (code, out) == (2, "")
    assert told in err


def test_help_names_what_there_is() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for option in ("--trace", "--policy", "--cold-start", "--max-violations", "--html"):
        assert option in out
