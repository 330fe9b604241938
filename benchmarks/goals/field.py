"""Which traces are played, against whom, and what one replay comes to.

Law: every trace is scaled alike (its 99.5th-percentile minute needs 20 pods at 70 %), every
controller meets the same arrivals, and Tidegate has the same defaults on all: what differs between
its rows is the strictness alone. The first two days of a trace are history and are not judged.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tidegate_operator.demo
from tidegate_operator.decide.margins import keeping, under
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.trial import Margin
from tidegate_operator.decide.words import LEAD_MARGIN_S, Mode, Rules, ScalingRules
from tidegate_operator.forecast.calibrate import peak_after
from tidegate_operator.forecast.series import clean
from tidegate_operator.replay.ahead import ForecastSource, Rolled, no_forecast, rolled
from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.control import Controller, Static
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.keda import Keda, KedaRules
from tidegate_operator.replay.kpa import Kpa, KpaRules
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.oracle import best_oracle
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.result import Result
from tidegate_operator.replay.seasonal import SeasonalNaive
from tidegate_operator.replay.trace import DAY_S, MINUTE_S, Trace, read_trace

FOLDER = Path("../shared/data/traces")
SHIPPED = Path(tidegate_operator.demo.__file__).parent / "data"
DAILY = "nasa_http_1995_d00-27_1min"
"""The clear daily pattern of goal 3, which is played at a long cold start, too."""
START_S, LONG_START_S = 180.0, 900.0
PEAK_PODS, PEAK_UTILIZATION = 20, 0.7
HISTORY_DAYS = 2
MAX_PODS = 400
LATE = {
    "strict": 0.001,
    "0.2%": 0.002,
    "0.35%": 0.0035,
    "balanced": 0.005,
    "0.7%": 0.007,
    "lean": 0.01,
    "1.5%": 0.015,
    "2.5%": 0.025,
}
"""Tidegate's rows: ``scaling.strictness``, as the share of requests that may be late.
``balanced`` is the default."""
FIXED = Margin(0.9, 0.95, 0.95)
"""The margin that the default begins with, kept for ever: what choosing it is worth."""
HPA_STEP = 5
HPA_SHARES = tuple(percent / 100 for percent in range(20, 100, HPA_STEP))
"""Targets of the HPA on request rate, as shares of a pod's capacity."""
ALLOWED = (0.005, 0.01, 0.02)
COVERED = (0.9, 0.95, 0.98)
LONGEST_DAYS = 30
"""Of a longer trace its end is played."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One replay."""

    trace: str
    controller: str
    setting: str
    pod_hours: float
    violations: float
    wait_p99_s: float
    days: tuple[tuple[float, float, float], ...]
    """(pod-hours, requests, violations in requests) of each whole day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """All of one trace at one cold start."""

    trace: str
    cold_start_s: float
    days: float
    """That were judged."""
    trusted: float | None
    """Share of the minutes with a trusted forecast; ``None``: the trace is too short for one."""
    coverage: dict[float, float]
    """By quantile: share of the forecasts that held."""
    rows: tuple[Row, ...]


def find_traces(folder: Path | None = None, only: Sequence[str] = ()) -> list[Path]:
    """Those in whose names one of the parts ``only`` is.

    Args:
        folder: ``None``: of the traces that lie beside the project, or else that ship with it.
    Raises:
        FileNotFoundError: there are none; says where.
    """
    folder = folder or (FOLDER if FOLDER.is_dir() else SHIPPED)
    found = sorted(folder.glob("*.csv.gz"))
    paths = [path for path in found if not only or any(part in path.name for part in only)]
    if not paths:
        raise FileNotFoundError(f"{folder}: must have *.csv.gz files, has none that was asked for")
    return paths


def jobs_of(paths: Sequence[Path]) -> list[tuple[Path, float]]:
    """Each trace with the seconds that pods take to start."""
    jobs = [(path, START_S) for path in paths]
    return jobs + [(path, LONG_START_S) for path in paths if path.name.startswith(DAILY)]


def play(path: Path, cold_start_s: float = START_S) -> Played:
    """Everybody on one trace."""
    minutes, judged, plant = part_of(path, cold_start_s)
    begin, long = judged.start, judged.start > minutes.start
    horizon = -(-int(cold_start_s + LEAD_MARGIN_S) // MINUTE_S)
    ahead = rolled(minutes, horizon, begin_minute=int(begin // 60)) if long else no_forecast
    name = path.name.removesuffix(".csv.gz")
    before = minutes.between(minutes.start, begin) if long else None
    rows = [
        row_of(name, controller, setting, replay(judged, plant, _met(player, before, plant)))
        for controller, setting, player in _players(minutes, plant, ahead)
    ]
    rows += _finer(name, judged, plant, rows)
    for allowed in ALLOWED:
        foreseen = best_oracle(judged, plant, allowed)
        if foreseen is not None:
            rows.append(row_of(name, "oracle", f"{allowed:.1%}", foreseen))
    return Played(
        trace=name,
        cold_start_s=cold_start_s,
        days=(judged.end - judged.start) / DAY_S,
        trusted=_trusted(ahead),
        coverage=_coverage(minutes, ahead, horizon),
        rows=tuple(rows),
    )


def part_of(path: Path, cold_start_s: float) -> tuple[Trace, Trace, PlantRules]:
    """The scaled minutes, those of them that are judged, and the plant that all play on. Where the
    two begin alike the trace is too short for a history."""
    plant = PlantRules(cold_start_s=cold_start_s, by_tokens=False)
    minutes = read_trace(path).minutes()
    minutes = minutes.scale_to(PEAK_PODS * PEAK_UTILIZATION * plant.pod_rps)
    if minutes.end - minutes.start > LONGEST_DAYS * DAY_S:
        minutes = minutes.between(minutes.end - LONGEST_DAYS * DAY_S, minutes.end)
    long = minutes.end - minutes.start >= (HISTORY_DAYS + 1) * DAY_S
    begin = minutes.start + (HISTORY_DAYS * DAY_S if long else 0)
    return minutes, minutes.between(begin, minutes.end), plant


def _players(
    minutes: Trace, plant: PlantRules, ahead: ForecastSource
) -> Iterator[tuple[str, str, Controller]]:
    lead_s = plant.cold_start_p90_s + LEAD_MARGIN_S
    for setting, late in LATE.items():
        rules = rules_for(plant, late)
        yield "tidegate", setting, Tidegate(rules, ahead, lead_s=lead_s)
    alone = rules_for(plant, LATE["balanced"])
    fixed = replace(alone, scaling=under(replace(alone.scaling, allowed_late=None), FIXED))
    yield "tidegate-fixed", "q0.95", Tidegate(fixed, ahead, lead_s=lead_s)
    yield "tidegate-reactive", "balanced", Tidegate(alone, no_forecast, lead_s=lead_s)
    for share in HPA_SHARES:
        rate = HpaRules(target_rps=share * plant.pod_rps, max_replicas=MAX_PODS)
        yield "hpa", f"{share:.0%}", Hpa(rate)
    busy = HpaRules(target_utilization=0.7, max_replicas=MAX_PODS)
    yield "hpa-utilization", "70%", Hpa(busy)
    threshold = KedaRules(threshold_rps=0.7 * plant.pod_rps, min_replicas=1, max_replicas=MAX_PODS)
    yield "keda", "70%", Keda(threshold)
    for delay_s in (0.0, 300.0):
        kpa = KpaRules(
            slots_per_pod=plant.slots_per_pod, max_replicas=MAX_PODS, scale_down_delay_s=delay_s
        )
        yield "kpa", f"70%, down after {delay_s:.0f} s", Kpa(kpa)
    yield "seasonal-naive", "80%", SeasonalNaive(trace=minutes, plant=plant)
    yield "static", "peak", Static(_peak_pods(minutes, plant))


def _met(player: Controller, before: Trace | None, plant: PlantRules) -> Controller:
    """Whoever learns from what comes has lived through the days before those that are judged."""
    if before is None or not isinstance(player, Tidegate):
        return player
    replay(before, plant, player)
    return player.going_on()


def _finer(trace: str, judged: Trace, plant: PlantRules, rows: Sequence[Row]) -> Iterator[Row]:
    """What lies between HPA's targets where it matters."""
    for percent in finer({round(100 * share): row.violations for share, row in _swept(rows)}):
        rate = HpaRules(target_rps=percent / 100 * plant.pod_rps, max_replicas=MAX_PODS)
        yield row_of(trace, "hpa", f"{percent}%", replay(judged, plant, Hpa(rate)))


def finer(late: Mapping[int, float]) -> list[int]:
    """Targets between the fullest that keeps a share of violations and the next, by 1 %: a coarse
    best would flatter everybody else.

    Args:
        late: violations by the targets that were played, in percent of a pod's capacity.
    """
    wanted: set[int] = set()
    for allowed in ALLOWED:
        fit = [percent for percent, violations in late.items() if violations <= allowed]
        if fit:
            wanted |= {max(fit) + k for k in range(1, HPA_STEP)} - set(late)
    return sorted(wanted)


def _swept(rows: Sequence[Row]) -> Iterator[tuple[float, Row]]:
    hpas = [row for row in rows if row.controller == "hpa"]
    return zip(HPA_SHARES, hpas, strict=True)


def rules_for(plant: PlantRules, late: float) -> Rules:
    scaling = ScalingRules(
        max_replicas=MAX_PODS,
        capacity_rps=plant.pod_rps,
        wait_target_s=plant.slo_wait_s,
    )
    return Rules(mode=Mode.ENFORCE, models=(ModelRule(name="m"),), scaling=keeping(late, scaling))


def _peak_pods(minutes: Trace, plant: PlantRules) -> int:
    most = max(count for count in minutes.requests if count is not None) / MINUTE_S
    return max(1, -int(-most // plant.pod_rps))


def row_of(trace: str, controller: str, setting: str, result: Result) -> Row:
    return Row(
        trace=trace,
        controller=controller,
        setting=setting,
        pod_hours=result.pod_hours,
        violations=result.violations,
        wait_p99_s=result.wait_p99_s,
        days=tuple(_days(result)),
    )


def _days(result: Result) -> Iterator[tuple[float, float, float]]:
    minutes, day = result.minutes, DAY_S // MINUTE_S
    for begin in range(0, len(minutes.load) - day + 1, day):
        part = slice(begin, begin + day)
        paid = sum(minutes.paid[part]) / 60.0
        yield paid, float(sum(minutes.load[part])), float(sum(minutes.violations[part]))


def _trusted(ahead: ForecastSource) -> float | None:
    if not isinstance(ahead, Rolled):
        return None
    reliable = [forecast is not None and forecast.reliable for forecast in ahead.forecasts]
    return sum(reliable) / len(reliable) if reliable else None


def _coverage(minutes: Trace, ahead: ForecastSource, horizon: int) -> dict[float, float]:
    """Share of the forecasts whose quantile the highest minute ahead did not exceed."""
    if not isinstance(ahead, Rolled):
        return {}
    series = clean(int(minutes.start // MINUTE_S), minutes.requests)
    held: dict[float, list[bool]] = {q: [] for q in COVERED}
    for forecast in ahead.forecasts:
        if forecast is None or not forecast.quantiles:
            continue
        peak = peak_after(series, int(forecast.made_at // MINUTE_S) - 1, horizon)
        if peak is not None:
            for quantile, each in held.items():
                each.append(peak / 60.0 <= forecast.quantiles[quantile])
    return {q: sum(each) / len(each) for q, each in held.items() if each}
