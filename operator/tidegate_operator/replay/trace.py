"""A request trace as a value: how many requests came in each step.

Law: what a file does not say is never made up. A gap is a run of missing steps (``None``), said in
``gaps``; anything else that is wrong is an error with file, line, rule and value. ``read_trace``
opens the file; all else is pure.
"""

import csv
import gzip
import math
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Self

MINUTE_S = 60
DAY_S = 86400
REQUIRED = ("timestamp", "requests")
TOKENS = ("prompt_tokens", "output_tokens")
Counts = tuple[float | None, ...]
Convert = Callable[[Counts], Counts]
MAX_STEP_S = 3600
"""Coarser ones say too little of the minutes in them."""
MILLISECONDS_FROM = 1e11
"""Seconds of the year 5138; as milliseconds, of 1973."""
DATED_FROM_S = 365 * DAY_S
"""Times before 1971 are counted from a start."""
MAX_STEPS = 10_000_000
"""A stray timestamp must not become a list of a billion missing steps: 116 days of seconds."""


class TraceError(ValueError):
    """A trace that cannot be used; the message names file, line, rule and value."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of steps that the file does not have."""

    start: float
    end: float
    """Unix seconds (or seconds from the start, as in the file), end excluded."""

    def __str__(self) -> str:
        return f"{_time_text(self.start)} to {_time_text(self.end)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests per step; tokens where the source has them."""

    name: str
    start: float
    """Unix seconds of the first step, or 0 for a file that counts seconds from its start."""
    step_s: int
    requests: tuple[float | None, ...]
    """``None``: not known."""
    prompt_tokens: tuple[float | None, ...] = ()
    """As long as ``requests``, or empty."""
    output_tokens: tuple[float | None, ...] = ()
    beside: tuple[tuple[str, Counts], ...] = ()
    """Other columns that were asked for: what each step says at the mean, as long as
    ``requests``."""
    gaps: tuple[Gap, ...] = ()

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def end(self) -> float:
        return self.start + len(self.requests) * self.step_s

    @property
    def is_dated(self) -> bool:
        """Whether its seconds are unix seconds, not counted from its own start."""
        return self.start >= DATED_FROM_S

    @property
    def days(self) -> int:
        """Midnights to midnights that it touches."""
        return math.ceil((self.end - self._midnight()) / DAY_S)

    def minutes(self) -> Self:
        """The same in one-minute steps: finer ones summed, coarser ones spread evenly, none lost.

        A minute of which less than half is known is missing; of which more is known, scaled up.
        """
        if MINUTE_S % self.step_s == 0:
            return self.gathered(MINUTE_S)
        if self.step_s % MINUTE_S == 0:
            spread = partial(_spread, per=self.step_s // MINUTE_S)
            return self._converted(MINUTE_S, self.start, spread)
        first = self.start - self.start % MINUTE_S
        shared = partial(_shared_out, step_s=self.step_s, skip_s=self.start - first)
        return self._converted(MINUTE_S, first, shared)

    def gathered(self, step_s: int) -> Self:
        """In coarser steps, a multiple of its own; as with ``minutes``."""
        first = self.start - self.start % step_s
        skip = round((self.start - first) / self.step_s)
        return self._converted(
            step_s, first, partial(_gathered, per=step_s // self.step_s, skip=skip)
        )

    def _converted(self, step_s: int, start: float, convert: Convert) -> Self:
        if step_s == self.step_s:
            return self
        share = self.step_s / step_s  # what is converted as counts are is a mean again
        beside = ((name, tuple(_times(convert(v), share))) for name, v in self.beside)
        return replace(
            self,
            start=start,
            step_s=step_s,
            requests=convert(self.requests),
            prompt_tokens=convert(self.prompt_tokens),
            output_tokens=convert(self.output_tokens),
            beside=tuple(beside),
        )

    def scale_to(self, peak_rps: float, *, quantile: float = 0.995) -> Self:
        """Multiply so that the ``quantile`` step has ``peak_rps`` requests per second."""
        known = sorted(count for count in self.requests if count is not None)
        if not peak_rps > 0:
            raise TraceError(f"{self.name}: peak must be above 0 requests/s, was: {peak_rps}")
        at = known[min(len(known) - 1, int(quantile * len(known)))] / self.step_s
        if at == 0:
            raise TraceError(f"{self.name}: has no request to scale to {peak_rps} requests/s")
        factor = peak_rps / at
        return replace(
            self,
            requests=tuple(None if c is None else c * factor for c in self.requests),
            prompt_tokens=tuple(None if c is None else c * factor for c in self.prompt_tokens),
            output_tokens=tuple(None if c is None else c * factor for c in self.output_tokens),
        )

    def between(self, start: float, end: float) -> Self:
        """The steps that begin in [start, end), in the trace's own seconds.

        Raises:
            TraceError: there are none.
        """
        first = max(0, math.ceil((start - self.start) / self.step_s - 1e-9))
        last = min(len(self), math.ceil((end - self.start) / self.step_s - 1e-9))
        if last <= first:
            raise TraceError(
                f"{self.name}: has nothing between {_time_text(start)} and {_time_text(end)},"
                f" only from {_time_text(self.start)} to {_time_text(self.end)}"
            )
        inside = [g for g in self.gaps if g.end > start and g.start < end]
        return replace(
            self,
            start=self.start + first * self.step_s,
            requests=self.requests[first:last],
            prompt_tokens=self.prompt_tokens[first:last],
            output_tokens=self.output_tokens[first:last],
            beside=tuple((name, values[first:last]) for name, values in self.beside),
            gaps=tuple(inside),
        )

    def day(self, number: int, *, from_hour: float = 0.0, hours: float = 24.0) -> Self:
        """Part of one day; days are counted from 0 at the midnight before the first step."""
        start = self._midnight() + number * DAY_S + from_hour * 3600
        return self.between(start, start + hours * 3600)

    def before(self, end: float) -> Self:
        """All that a forecast may have learned from at ``end``."""
        return self.between(self.start, end)

    def _midnight(self) -> float:
        return self.start - self.start % DAY_S


def _times(counts: Counts, factor: float) -> Iterator[float | None]:
    return (None if count is None else count * factor for count in counts)


def _gathered(counts: Counts, *, per: int, skip: int) -> Counts:
    padded = [*([None] * skip), *counts] if counts else []
    out: list[float | None] = []
    for at in range(0, len(padded), per):
        known = [count for count in padded[at : at + per] if count is not None]
        out.append(sum(known) * per / len(known) if 2 * len(known) >= per else None)
    return tuple(out)


def _spread(counts: Counts, *, per: int) -> Counts:
    return tuple(None if count is None else count / per for count in counts for _ in range(per))


def _shared_out(counts: Counts, *, step_s: int, skip_s: float) -> Counts:
    """Of steps that lie across minutes, such as 45 s: each gives a minute its share by time."""
    size = math.ceil((skip_s + len(counts) * step_s) / MINUTE_S) if counts else 0
    sums, known_s = [0.0] * size, [0.0] * size
    for index, count in enumerate(counts):
        if count is None:
            continue
        begin = skip_s + index * step_s
        for minute in range(int(begin // MINUTE_S), math.ceil((begin + step_s) / MINUTE_S)):
            start = max(begin, minute * MINUTE_S)
            part_s = min(begin + step_s, (minute + 1) * MINUTE_S) - start
            sums[minute] += count * part_s / step_s
            known_s[minute] += part_s
    return tuple(
        total * MINUTE_S / known if 2 * known >= MINUTE_S else None
        for total, known in zip(sums, known_s, strict=True)
    )


def read_trace(path: Path, beside: Collection[str] = ()) -> Trace:
    """Read a CSV, plain or ``.gz``, with the columns ``timestamp`` (ISO time or seconds) and
    ``requests``, and maybe ``prompt_tokens``, ``output_tokens`` and those of ``beside``.

    Raises:
        TraceError: says where, which rule, what it was.
    """
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            return parse_trace(lines, str(path), beside)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise TraceError(f"{path}: cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: must be text (UTF-8): {error}") from error


def parse_trace(lines: Iterable[str], name: str, beside: Collection[str] = ()) -> Trace:
    """``read_trace`` for text that is already here."""
    reader = csv.reader(lines)
    header = [column.strip() for column in next(reader, [])]
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        raise TraceError(
            f"{name}:1: must have the columns timestamp and requests, was: {','.join(header)!r}"
        )
    others = sorted(set(beside) - {*REQUIRED, *TOKENS})
    columns = [column for column in (*REQUIRED, *TOKENS, *others) if column in header]
    places = [header.index(column) for column in columns]
    rows: list[list[float]] = []
    for row in reader:
        if not row:
            continue
        rows.append(_row(row, places, columns, f"{name}:{reader.line_num}"))
        if len(rows) > 1 and rows[-1][0] <= rows[-2][0]:
            raise TraceError(
                f"{name}:{reader.line_num}: timestamp must be later than the line before"
                f" ({_time_text(rows[-2][0])}), was: {_time_text(rows[-1][0])}"
            )
    if len(rows) < 2:
        raise TraceError(f"{name}: must have at least two rows, was: {len(rows)}")
    return _on_grid(rows, columns, name)


def _row(
    row: Sequence[str], places: Sequence[int], columns: Sequence[str], where: str
) -> list[float]:
    if len(row) <= max(places):
        raise TraceError(f"{where}: must have {max(places) + 1} fields, was: {','.join(row)!r}")
    values = [_timestamp(row[places[0]], where)]
    for place, column in zip(places[1:], columns[1:], strict=True):
        try:
            value = float(row[place])
        except ValueError:
            raise TraceError(f"{where}: {column} must be a number, was: {row[place]!r}") from None
        if not 0 <= value < math.inf:
            raise TraceError(f"{where}: {column} must be at least 0, was: {row[place]}")
        values.append(value)
    return values


def _timestamp(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise TraceError(
                f"{where}: timestamp must be an ISO time or seconds, was: {text!r}"
            ) from None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds < math.inf:
        raise TraceError(f"{where}: timestamp must be at least 0, was: {text}")
    if seconds >= MILLISECONDS_FROM:
        raise TraceError(f"{where}: timestamp must be in seconds, not milliseconds, was: {text}")
    return seconds


def _on_grid(rows: Sequence[Sequence[float]], columns: Sequence[str], name: str) -> Trace:
    """Rows on an even grid whose step is the commonest difference; what lies between is
    missing."""
    differences = [b[0] - a[0] for a, b in pairwise(rows)]
    often = Counter(differences)
    step = min(often, key=lambda difference: (-often[difference], difference))
    step_s = round(step)
    if not 1 <= step_s <= MAX_STEP_S or abs(step - step_s) > 1e-6:
        raise TraceError(
            f"{name}: the step between rows must be whole seconds from 1 s to 1 h, was: {step:g} s"
        )
    start = rows[0][0]
    size = round((rows[-1][0] - start) / step_s) + 1
    if size > MAX_STEPS:
        raise TraceError(f"{name}: must span at most {MAX_STEPS} steps of {step_s} s, was: {size}")
    series: list[list[float | None]] = [[None] * size for _ in columns[1:]]
    for row in rows:
        at = round((row[0] - start) / step_s)
        for values, value in zip(series, row[1:], strict=True):
            values[at] = (values[at] or 0.0) + value  # two rows nearer than a step share it
    by_name = dict(zip(columns[1:], map(tuple, series), strict=True))
    return Trace(
        name=name,
        start=start,
        step_s=step_s,
        requests=by_name["requests"],
        prompt_tokens=by_name.get("prompt_tokens", ()),
        output_tokens=by_name.get("output_tokens", ()),
        beside=tuple((c, by_name[c]) for c in columns if c not in {*REQUIRED, *TOKENS}),
        gaps=_gaps(by_name["requests"], start, step_s),
    )


def _gaps(requests: Sequence[float | None], start: float, step_s: int) -> tuple[Gap, ...]:
    out: list[Gap] = []
    for index, count in enumerate(requests):
        if count is not None:
            continue
        at = start + index * step_s
        if out and out[-1].end == at:
            out[-1] = Gap(out[-1].start, at + step_s)
        else:
            out.append(Gap(at, at + step_s))
    return tuple(out)


def _time_text(seconds: float) -> str:
    """ISO for unix times, days and hours for seconds from a start."""
    if seconds >= DATED_FROM_S:
        return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ").removesuffix("+00:00")
    day, rest = divmod(round(seconds), DAY_S)
    return f"day {day} {rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
