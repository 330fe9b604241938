"""One run: server, proxies and rounds of bursts, interleaved.

Law: every load of a round meets all proxies before the next begins, so that what disturbs the
machine disturbs them alike.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.children import Tools, child, free_port
from benchmarks.contestants import MODEL, Contestant, child_env
from benchmarks.cputime import tree_pss_mb
from benchmarks.loads import DIRECT, Burst, Load, Target, burst, warm_up


@dataclass(slots=True)
class Outcome:
    """What one run gave."""

    bursts: list[Burst] = field(default_factory=list)
    idle_mb: dict[str, float] = field(default_factory=dict)
    """Memory (PSS) of each proxy before the first request."""
    loaded_mb: dict[str, float] = field(default_factory=dict)
    """The most after any burst."""


def run(
    tools: Tools,
    contestants: Sequence[Contestant],
    loads: Sequence[Load],
    *,
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
) -> Outcome:
    """All bursts of all rounds. Raises ``BenchError``."""
    outcome = Outcome()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-")))
        port = free_port()
        server = [str(tools.server), str(port)]
        server_pid = stack.enter_context(
            child("the fake server", server, port, dict(os.environ), last=True)
        )
        targets = [started(stack, each, folder, port) for each in contestants]
        outcome.idle_mb = {t.name: tree_pss_mb(t.pid) for t in targets if t.pid is not None}
        for target in targets:
            warm_up(tools, target)
        direct = Target(name=DIRECT, port=port, pid=None, model=MODEL)
        asked = {each.name: each.loads for each in contestants}
        for number in range(1, rounds + 1):
            for load in loads:
                for target in [direct, *targets] if load.direct else targets:
                    only = asked.get(target.name)
                    if only is not None and load.name not in only:
                        continue
                    outcome.bursts.append(burst(tools, target, load, number, seconds, server_pid))
                    _note_memory(outcome, target)
            tell(f"round {number} of {rounds} done")
    return outcome


def started(stack: ExitStack, contestant: Contestant, folder: Path, server_port: int) -> Target:
    """A contestant that runs until the stack ends."""
    port, own = free_port(), folder / contestant.name.replace(" ", "-").replace(",", "")
    own.mkdir()
    command = contestant.command(own, port, server_port)
    pid = stack.enter_context(child(contestant.name, command, port, child_env(contestant)))
    return Target(
        name=contestant.name,
        port=port,
        pid=pid,
        model=contestant.model,
        path=contestant.path,
        headers=contestant.headers,
        least_s=contestant.least_s,
    )


def _note_memory(outcome: Outcome, target: Target) -> None:
    if target.pid is not None:
        now_mb = tree_pss_mb(target.pid)
        outcome.loaded_mb[target.name] = max(now_mb, outcome.loaded_mb.get(target.name, 0.0))
