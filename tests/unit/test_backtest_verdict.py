"""The verdict follows from what was measured; a saving that was had by lateness is none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests import DAILY, GOOD, assumptions, findings, outcome
from tidegate_operator.backtest.assume import Asked
from tidegate_operator.backtest.field import Kind
from tidegate_operator.backtest.load import Load, Trust
from tidegate_operator.backtest.verdict import judge, saving, unmet

Figures = dict[Kind, tuple[float, float]]
CLEAR: Figures = {
    Kind.TIDEGATE: (800.0, 0.002),
    Kind.REACTIVE: (750.0, 0.02),
    Kind.HPA_BEST: (1000.0, 0.004),
    Kind.HPA: (900.0, 0.03),
}


@pytest.mark.parametrize(
    ("figures", "trust", "pays", "sentence"),
    [
        pytest.param(
            CLEAR,
            GOOD,
            True,
            "Forecasting would pay: 800 pod-hours, 20% fewer than an HPA at 60% of capacity, the"
            " best target that hindsight finds; 0.20% of requests wait too long or are lost. Your"
            " HPA at 70% takes 900 pod-hours (11% more than Tidegate), and 3.00% of requests wait"
            " too long or are lost.",
            id="fewer pods than the best HPA, in time",
        ),
        pytest.param(
            CLEAR | {Kind.HPA_BEST: (1500.0, 0.01)},
            GOOD,
            True,
            "Forecasting would pay: with it 0.20% of requests wait too long or are lost, for 800"
            " pod-hours, and no HPA target keeps the allowed 0.50%.",
            id="in time where no HPA is",
        ),
        pytest.param(
            CLEAR | {Kind.REACTIVE: (790.0, 0.004)},
            GOOD,
            False,
            "Forecasting would not pay on this history: scaling on observed demand alone is in"
            " time as well (0.40% of requests wait too long or are lost), for 790 pod-hours"
            " instead of 800 pod-hours.",
            id="reacting is in time as well, for fewer pods",
        ),
        pytest.param(
            CLEAR | {Kind.HPA_BEST: (790.0, 0.005)},
            GOOD,
            False,
            "Forecasting would not pay on this history: an HPA at 60% takes 790"
            " pod-hours and Tidegate 800 pod-hours, both within the allowed 0.50%; but that"
            " target is known in hindsight only.",
            id="the best HPA takes fewer pods",
        ),
        pytest.param(
            CLEAR | {Kind.TIDEGATE: (700.0, 0.008)},
            GOOD,
            False,
            "Forecasting would not pay on this history: with it 0.80% of requests wait too long"
            " or are lost, and 0.50% are allowed; an HPA at 60% keeps that for 1,000"
            " pod-hours (Tidegate: 700 pod-hours).",
            id="fewer pods, had by lateness",
        ),
        pytest.param(
            CLEAR | {Kind.TIDEGATE: (1000.0, 0.02), Kind.HPA_BEST: (1000.0, 0.06)},
            GOOD,
            True,
            "Forecasting would pay: nobody keeps the allowed 0.50% here; with it 2.00% of requests"
            " wait too long or are lost for 1,000 pod-hours, with an HPA at 60% 6.00%"
            " for 1,000 pod-hours.",
            id="nobody is in time, and it is late least",
        ),
        pytest.param(
            CLEAR | {Kind.TIDEGATE: (1000.0, 0.055), Kind.HPA_BEST: (1000.0, 0.06)},
            GOOD,
            False,
            "Forecasting would not pay on this history: nobody keeps the allowed 0.50% here",
            id="nobody is in time, and it is late hardly less",
        ),
        pytest.param(
            CLEAR,
            Trust(share=0.0, doubt="forecast is 3% worse than last value"),
            False,
            "Forecasting would not pay on this history: it was never good enough to be used"
            " (forecast is 3% worse than last value).",
            id="no skill",
        ),
        pytest.param(
            CLEAR,
            None,
            None,
            "Whether forecasting pays can't be told from 12.0 days of history: it learns from 48"
            " hours and is judged on a day or more after them.",
            id="too little history",
        ),
    ],
)
def test_the_verdict(
    figures: Figures, trust: Trust | None, pays: bool | None, sentence: str
) -> None:
    verdict = judge(findings(figures, trust=trust))
    assert verdict.pays is pays
    assert verdict.sentence.startswith(sentence)


@pytest.mark.parametrize(
    ("load", "trust", "asked", "reason"),
    [
        pytest.param(
            replace(DAILY, above=0.25),
            GOOD,
            Asked(),
            "maxReplicas (10000) is too few: in 25.0% of the minutes there is more load than they"
            " carry (busiest minute: 25.0 requests/s, a pod: 2)",
            id="the policy's most pods are too few",
        ),
        pytest.param(
            replace(DAILY, busiest_rps=1.5, mean_rps=0.5),
            GOOD,
            Asked(),
            "minReplicas (1) carries the busiest minute (1.5 requests/s): there is nothing to"
            " scale",
            id="the policy's fewest pods are enough",
        ),
        pytest.param(
            DAILY,
            Trust(share=0.1, doubt="forecast is 3% worse than last value"),
            Asked(),
            "the forecast was good enough to be used in 10% of the minutes: forecast is 3% worse"
            " than last value",
            id="seldom trusted",
        ),
        pytest.param(
            replace(DAILY, daily=0.05),
            GOOD,
            Asked(),
            "no daily pattern: correlation with the day before is 0.05",
            id="no daily pattern",
        ),
        pytest.param(
            replace(DAILY, busiest_rps=11.0),
            GOOD,
            Asked(),
            "the load hardly varies: its busiest minute is 1.1 times the mean",
            id="flat",
        ),
        pytest.param(
            DAILY,
            GOOD,
            Asked(cold_start_s=20.0),
            "pods start within 20 s: reacting is mostly in time, and there is little to win by"
            " being ahead",
            id="a short cold start",
        ),
    ],
)
def test_what_decides_the_matter_is_named(
    load: Load, trust: Trust, asked: Asked, reason: str
) -> None:
    late = CLEAR | {Kind.TIDEGATE: (800.0, 0.02)}
    verdict = judge(findings(late, load=load, trust=trust, assumed=assumptions(asked)))
    assert (verdict.pays, verdict.because) == (False, (reason,))


def test_where_it_pays_only_the_policys_limits_are_worth_a_word() -> None:
    found = findings(CLEAR, load=replace(DAILY, daily=0.05, above=0.25))
    verdict = judge(found)
    assert verdict.pays
    (limit,) = verdict.because
    assert limit.startswith("maxReplicas (10000) is too few")


def test_a_policy_without_a_forecast_is_not_judged_by_one() -> None:
    assumed = assumptions()
    off = replace(assumed, forecast=replace(assumed.forecast, enabled=False))
    verdict = judge(findings(CLEAR, trust=None, assumed=off))
    assert (verdict.pays, verdict.because) == (None, ())
    assert verdict.sentence.startswith("The policy does not forecast (forecast.enabled: false)")


def test_a_clear_case_needs_no_excuse() -> None:
    assert judge(findings(CLEAR)).because == ()


SHARES = st.floats(0.0, 0.2)
HOURS = st.floats(1.0, 1e5)


@given(st.tuples(HOURS, SHARES), st.tuples(HOURS, SHARES), st.tuples(HOURS, SHARES))
def test_more_pods_and_more_lateness_than_the_best_hpa_never_pay(
    ours: tuple[float, float], best: tuple[float, float], alone: tuple[float, float]
) -> None:
    worse = (max(ours[0], best[0]), max(ours[1], best[1]))
    figures = {Kind.TIDEGATE: worse, Kind.REACTIVE: alone, Kind.HPA_BEST: best, Kind.HPA: best}
    assert judge(findings(figures)).pays is False


@pytest.mark.parametrize(
    ("max_violations", "min_saving", "faults"),
    [
        pytest.param(None, None, (), id="nothing was asked for"),
        pytest.param(0.002, 0.05, (), id="both are met, the bound included"),
        pytest.param(
            0.001,
            None,
            (
                "--max-violations 0.10% is not met: 0.20% of requests wait too long or are lost"
                " under this policy",
            ),
            id="too many violations",
        ),
        pytest.param(
            None,
            0.2,
            (
                "--min-saving 20.0% is not met: 800 pod-hours are 11.1% fewer than the 900"
                " pod-hours of HPA at 70%",
            ),
            id="too small a saving",
        ),
        pytest.param(0.0, 0.5, None, id="neither"),
    ],
)
def test_what_a_ci_run_asked_for(
    max_violations: float | None, min_saving: float | None, faults: tuple[str, ...] | None
) -> None:
    ours, own = outcome(Kind.TIDEGATE, 800.0, 0.002), outcome(Kind.HPA, 900.0, 0.03)
    found = unmet(ours, own, max_violations=max_violations, min_saving=min_saving)
    assert len(found) == 2 if faults is None else found == faults


def test_a_loss_is_told_as_one() -> None:
    ours, own = outcome(Kind.TIDEGATE, 990.0, 0.002), outcome(Kind.HPA, 900.0, 0.03)
    assert saving(ours, own) == pytest.approx(-0.1)
    (fault,) = unmet(ours, own, max_violations=None, min_saving=0.05)
    assert "990 pod-hours are 10.0% more than the 900 pod-hours" in fault
