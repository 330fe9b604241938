"""A backtest knows what the policy knows beside the counts, as the operator does."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from backtest_runs import POLICY, run
from tidegate_operator.backtest.assume import Asked, AssumptionError, Measured, assume
from tidegate_operator.backtest.beside import beside_of
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.forecast.known import Event
from tidegate_operator.replay.trace import Trace

CHRISTMAS_EVE = 1_798_070_400.0
"""2026-12-24T00:00:00Z, a Thursday."""
RUSH = {"name": "rush", "days": ["Fri"], "start": "08:00", "end": "09:00", "expectFactor": "3"}


def spec(**forecast: Any) -> dict[str, Any]:
    scaling = POLICY["spec"]["scaling"] | {"schedules": [RUSH], "forecast": forecast}
    return {"spec": POLICY["spec"] | {"scaling": scaling}}


def two_days(start: float = CHRISTMAS_EVE, **beside: float) -> Trace:
    others = tuple((name, (value,) * 2880) for name, value in beside.items())
    return Trace(name="t", start=start, step_s=60, requests=(60.0,) * 2880, beside=others)


def found(trace: Trace, **forecast: Any) -> Any:
    return beside_of(trace, assume(Asked(), read_spec(spec(**forecast)), Measured()))


def test_schedules_holidays_and_other_columns_are_known() -> None:
    known = found(two_days(orders=4.0), holidays={"country": "DE"})
    eve = round(CHRISTMAS_EVE / 60)
    friday = eve + 1440
    assert known.events == (Event(friday + 480, friday + 540, 3.0),)
    assert (friday, friday + 1440) in known.holidays
    ((name, reading),) = known.regressors
    assert (name, reading.start_minute, reading.sums[-1]) == ("orders", eve, 4.0 * 2880)


def test_a_history_without_dates_has_no_holidays() -> None:
    assert found(two_days(start=0.0), holidays={"country": "DE"}).holidays == ()


def test_a_country_that_nobody_knows_is_refused() -> None:
    with pytest.raises(AssumptionError, match=r"spec.scaling.forecast.holidays: .* of XX"):
        found(two_days(), holidays={"country": "XX"})


@pytest.mark.parametrize(
    ("head", "words"),
    [
        pytest.param("timestamp,requests,orders", "looked at", id="a column of its name"),
        pytest.param("timestamp,requests,sales", "not in the history", id="no such column"),
    ],
)
def test_what_became_of_a_regressor_is_told(tmp_path: Path, head: str, words: str) -> None:
    trace, policy = tmp_path / "t.csv", tmp_path / "policy.yaml"
    trace.write_text("\n".join((head, *(f"{60 * m},60,5" for m in range(120)))))
    regressors = [{"name": "orders", "query": "sum(orders)"}]
    metrics = {"metrics": {"prometheus": {"url": "http://p"}}}
    manifest = POLICY | {"spec": spec(regressors=regressors)["spec"] | metrics}
    policy.write_text(yaml.safe_dump(manifest))
    code, out, err = run("-f", policy, "--trace", trace)
    assert (code, err) == (0, "")
    assert re.search(rf"series orders +{words}", out)
