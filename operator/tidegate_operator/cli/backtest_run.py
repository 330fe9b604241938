"""Runs a backtest: replays side by side in processes, a bar meanwhile.

Law: what is computed does not depend on how many cores compute it; the bar is for people at a
terminal, on standard error.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tidegate_operator.backtest import field
from tidegate_operator.backtest.assume import Assumptions
from tidegate_operator.backtest.compete import Backtest, backtest
from tidegate_operator.backtest.field import Job, Outcome
from tidegate_operator.backtest.history import History
from tidegate_operator.cli.faults import UserError
from tidegate_operator.forecast.beside import Beside

MAX_PROCESSES = 8
"""There are some twenty replays."""
WORTH_DAYS = 2.0
"""A process takes half a second to start; shorter histories are replayed faster than that."""
FORECASTS_SHARE = 0.6
"""Of the bar: roughly what they take of the time on two cores."""


def run(
    history: History,
    assumed: Assumptions,
    beside: Beside,
    *,
    allowed: float,
    seed: int,
    console: Console,
) -> Backtest:
    """``console`` shows the bar where it is a terminal.

    Raises:
        UserError: a process was killed.
    """
    cores = len(os.sched_getaffinity(0))
    alone = cores == 1 or history.days < WORTH_DAYS
    with _bar(console) as bar, _players(0 if alone else min(cores, MAX_PROCESSES)) as pool:
        players = Players(pool, assumed, seed, bar)
        return backtest(
            history,
            assumed,
            players.play,
            allowed=allowed,
            beside=beside,
            on_progress=bar.forecasts,
        )


@dataclass(slots=True)
class Bar:
    """Progress of forecasts and replays together."""

    progress: Progress
    task: TaskID
    ahead: float = 0.0
    """Share of the forecasts that is done."""
    replays: int = 0
    replayed: int = 0

    def forecasts(self, share: float) -> None:
        self.ahead = share
        self._show()

    def more(self, replays: int) -> None:
        self.replays += replays

    def one(self) -> None:
        self.replayed += 1
        self._show()

    def _show(self) -> None:
        played = self.replayed / self.replays if self.replays else 0.0
        done = FORECASTS_SHARE * self.ahead + (1 - FORECASTS_SHARE) * played
        self.progress.update(self.task, completed=done)


@contextmanager
def _bar(console: Console) -> Iterator[Bar]:
    columns = (
        TextColumn("forecasts and replays"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        yield Bar(progress, progress.add_task("", total=1.0))


@contextmanager
def _players(processes: int) -> Iterator[ProcessPoolExecutor | None]:
    """One process fewer than asked for: this one makes the forecasts meanwhile."""
    if processes < 2:
        yield None
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the bar's thread
    ignored = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told once, here
    pool = ProcessPoolExecutor(processes - 1, context, signal.signal, ignored)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError("a replay's process was ended from outside: out of memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C nobody wants what has not begun


@dataclass(frozen=True, slots=True)
class Players:
    """Replays jobs: in the pool, or here."""

    pool: ProcessPoolExecutor | None
    assumed: Assumptions
    seed: int
    bar: Bar

    def play(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        self.bar.more(len(jobs))
        plant = self.assumed.plant
        if self.pool is None or len(jobs) == 1:
            return [self._here(job) for job in jobs]
        futures = [self.pool.submit(field.play, job, plant, self.seed) for job in jobs]
        for future in futures:
            future.add_done_callback(lambda _: self.bar.one())
        return (future.result() for future in futures)

    def _here(self, job: Job) -> Outcome:
        outcome = field.play(job, self.assumed.plant, self.seed)
        self.bar.one()
        return outcome
