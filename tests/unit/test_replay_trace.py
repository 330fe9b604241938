"""Traces: what a file says, what it lacks, and what is wrong with it."""

import gzip
from pathlib import Path

import pytest

from tidegate_operator.demo.options import CITY_TRACE, LLM_TRACE
from tidegate_operator.replay.trace import Gap, Trace, TraceError, parse_trace, read_trace

HEAD = "timestamp,requests"


def parsed(*rows: str, head: str = HEAD) -> Trace:
    return parse_trace([head, *rows], "t.csv")


def test_seconds_and_iso_times_are_read() -> None:
    assert parsed("0,5", "60,7").requests == (5.0, 7.0)
    iso = parsed("1995-07-01 00:00:00,42", "1995-07-01T00:01:00Z,62")
    assert (iso.start, iso.step_s, iso.requests) == (804556800.0, 60, (42.0, 62.0))


def test_tokens_are_read_where_they_are() -> None:
    trace = parsed("0,1,100,10", "1,0,0,0", head="timestamp,requests,prompt_tokens,output_tokens")
    assert (trace.step_s, trace.prompt_tokens, trace.output_tokens) == (1, (100, 0), (10, 0))


def with_orders(*rows: str) -> Trace:
    return parse_trace(["timestamp,note,requests,orders", *rows], "t.csv", {"orders", "refunds"})


def test_other_columns_are_read_where_they_are_asked_for_and_there() -> None:
    trace = with_orders("0,a,1,7", "60,b,2,8", "180,c,3,9")
    assert trace.beside == (("orders", (7.0, 8.0, None, 9.0)),)
    assert trace.between(60.0, 180.0).beside == (("orders", (8.0, None)),)
    with pytest.raises(TraceError, match=r"t.csv:3: orders must be a number, was: 'x'"):
        with_orders("0,a,1,7", "60,b,2,x")


@pytest.mark.parametrize(
    ("rows", "minutes"),
    [
        pytest.param(["0,,1,4", "30,,1,8", "60,,1,2", "90,,1,2"], (6, 2), id="finer steps"),
        pytest.param(["0,,1,4", "120,,1,8"], (4, 4, 8, 8), id="coarser steps"),
        pytest.param(["0,,1,4", "90,,1,8"], (4, 6, 8), id="steps across minutes"),
    ],
)
def test_other_columns_are_levels_that_no_step_makes_more_of(
    rows: list[str], minutes: tuple[float, ...]
) -> None:
    assert dict(with_orders(*rows).minutes().beside)["orders"] == pytest.approx(minutes)


def test_a_gap_is_missing_minutes_and_is_reported() -> None:
    trace = parsed("0,5", "60,5", "240,5", "300,5")
    assert trace.requests == (5.0, 5.0, None, None, 5.0, 5.0)
    assert trace.gaps == (Gap(120.0, 240.0),)
    assert str(trace.gaps[0]) == "day 0 00:02:00 to day 0 00:04:00"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(
            [], "t.csv:1: must have the columns timestamp and requests, was: ''", id="empty"
        ),
        pytest.param(
            ["time,n", "0,1"],
            "t.csv:1: must have the columns .*, was: 'time,n'",
            id="other columns",
        ),
        pytest.param([HEAD], "t.csv: must have at least two rows, was: 0", id="no rows"),
        pytest.param([HEAD, "0,1"], "t.csv: must have at least two rows, was: 1", id="one row"),
        pytest.param(
            [HEAD, "0,1", "60,-3"], "t.csv:3: requests must be at least 0, was: -3", id="negative"
        ),
        pytest.param(
            [HEAD, "0,1", "60,many"], "t.csv:3: requests must be a number, was: 'many'", id="text"
        ),
        pytest.param(
            [HEAD, "0,1", "60,"],
            "t.csv:3: requests must be a number, was: ''",
            id="an empty field",
        ),
        pytest.param(
            [HEAD, "0,1", "60,nan"],
            "t.csv:3: requests must be at least 0, was: nan",
            id="not a number",
        ),
        pytest.param(
            [HEAD, "0,1", "60,inf"],
            "t.csv:3: requests must be at least 0, was: inf",
            id="infinite",
        ),
        pytest.param(
            [HEAD, "0,1", "soon,1"],
            "t.csv:3: timestamp must be an ISO time or seconds, was: 'soon'",
            id="no time",
        ),
        pytest.param(
            [HEAD, "0,1", "60"], "t.csv:3: must have 2 fields, was: '60'", id="a field missing"
        ),
        pytest.param(
            [HEAD, "0,1", "60,1", "30,1"],
            r"t.csv:4: timestamp must be later than the line before \(day 0 00:01:00\),"
            " was: day 0 00:00:30",
            id="unsorted",
        ),
        pytest.param(
            [HEAD, "0,1", "0,1"], "t.csv:3: timestamp must be later", id="twice the same time"
        ),
        pytest.param(
            [HEAD, "0,1", "7200,1", "14400,1"],
            "the step between rows must be whole seconds from 1 s to 1 h, was: 7200 s",
            id="too coarse a step",
        ),
        pytest.param(
            [HEAD, "0,1", "0.5,1", "1,1"],
            "the step between rows must be whole seconds from 1 s to 1 h, was: 0.5 s",
            id="too fine a step",
        ),
        pytest.param(
            [HEAD, "0,1", "60,1", "1756000000000,1"],
            "t.csv:4: timestamp must be in seconds, not milliseconds, was: 1756000000000",
            id="milliseconds",
        ),
        pytest.param(
            [HEAD, "0,1", "1,1", "2,1", "9e10,1"],
            "t.csv: must span at most 10000000 steps",
            id="a stray timestamp",
        ),
    ],
)
def test_errors_name_file_line_rule_and_value(lines: list[str], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        parse_trace(lines, "t.csv")


def test_files_that_cannot_be_read_are_one_clear_line(tmp_path: Path) -> None:
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(gzip.compress(b"timestamp,requests\n0,1\n60,2\n" * 50)[:40])
    fake = tmp_path / "fake.csv.gz"
    fake.write_text("timestamp,requests\n")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01" * 50)
    for path in (torn, fake, binary, tmp_path / "none.csv", tmp_path):
        with pytest.raises(TraceError) as caught:
            read_trace(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_plain_and_gzip_say_the_same(tmp_path: Path) -> None:
    text = "timestamp,requests\n0,1\n60,2\n"
    plain, packed = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_trace(plain).requests == read_trace(packed).requests


def test_finer_steps_are_summed_into_minutes() -> None:
    trace = parsed(*(f"{30 + s},2" for s in range(120))).minutes()
    assert (trace.start, trace.step_s) == (0.0, 60)
    assert trace.requests == (120.0, 120.0, 120.0), "half-known minutes are scaled up"
    assert parsed(*(f"{45 + s},2" for s in range(75))).minutes().requests == (None, 120.0)


def test_coarser_steps_are_spread_and_none_is_lost() -> None:
    trace = parsed("0,600", "600,1200").minutes()
    assert trace.requests == (60.0,) * 10 + (120.0,) * 10


@pytest.mark.parametrize("step_s", [7, 40, 45, 90, 100, 3599])
@pytest.mark.parametrize("start", [0, 30, 119])
def test_any_step_from_a_second_to_an_hour_keeps_its_requests(step_s: int, start: int) -> None:
    """A steady 2 requests/s stays that, however the steps lie across the minutes."""
    trace = parsed(*(f"{start + step_s * i},{2 * step_s}" for i in range(200))).minutes()
    assert (trace.start % 60, trace.step_s) == (0, 60)
    known = [count for count in trace.requests if count is not None]
    assert known == pytest.approx([120.0] * len(known))
    assert len(trace) - len(known) <= 2, "the first and last minute may be hardly known"


def test_requests_of_a_step_across_minutes_are_shared_by_time() -> None:
    assert parsed("0,90", "90,0").minutes().requests == (60.0, 30.0, 0.0)


def test_a_minute_that_a_missing_step_covers_is_missing() -> None:
    trace = parsed("0,40", "40,40", "120,40", "160,40")
    assert trace.minutes().requests == (60.0, None, 60.0, None)


def test_scaling_sets_the_peak_and_keeps_gaps() -> None:
    trace = parsed("0,60", "60,120", "180,600").scale_to(5.0, quantile=1.0)
    assert trace.requests == (30.0, 60.0, None, 300.0)


@pytest.mark.parametrize("peak", [0.0, -1.0, float("nan")])
def test_a_peak_must_be_above_zero(peak: float) -> None:
    with pytest.raises(TraceError, match="peak must be above 0 requests/s, was: "):
        parsed("0,60", "60,120").scale_to(peak)


def test_a_trace_without_requests_cannot_be_scaled() -> None:
    with pytest.raises(TraceError, match="has no request to scale"):
        parsed("0,0", "60,0").scale_to(5.0)


def test_days_and_hours_are_cut_at_midnights() -> None:
    trace = parsed(*(f"{60 * m},{m}" for m in range(3 * 1440)))
    part = trace.day(2, from_hour=6, hours=2)
    assert (part.start, len(part), part.requests[0]) == (2 * 86400 + 21600, 120, 2 * 1440 + 360)
    assert (trace.days, len(trace.day(1))) == (3, 1440)
    assert len(trace.before(part.start)) == 2 * 1440 + 360
    with pytest.raises(TraceError, match="has nothing between day 7 00:00:00 and day 8"):
        trace.day(7)


@pytest.mark.parametrize(
    ("path", "step_s", "days", "licence"),
    [(CITY_TRACE, 1800, 18, "MIT"), (LLM_TRACE, 60, 14, "Apache")],
)
def test_a_shipped_trace_is_whole_and_its_origin_told(
    path: Path, step_s: int, days: int, licence: str
) -> None:
    trace = read_trace(path)
    assert (len(trace), trace.step_s, trace.gaps) == (days * 86400 // step_s, step_s, ())
    notice = (path.parent / "NOTICE.txt").read_text()
    _, _, told = notice.partition(path.name)
    assert licence in told.partition("Span")[0]
