"""When errors put a policy on a rung, and how it earns its way back.

Law: up the ladder takes errors that last (``for``) and that are many enough to mean something;
down takes evidence. After a back-off a few probes go to the first model (half-open): enough good
ones bring everybody back, one bad one of a few sends everybody away again for longer. Nothing
stays switched for want of a way back (openclaw#64083).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tidegate_operator.decide.rungs import ModelCounts, Probing, Rung, Trigger, TriggerMemory
from tidegate_operator.decide.words import Change, Inputs, Memory, Reason, Rules

RATE_WINDOW_S = 60.0
"""Least time over which an error rate is taken; a trigger with a longer ``for`` looks that far
back."""
_NONE_YET = ModelCounts(ended=0, errors=0)
_AT_REST = TriggerMemory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the triggers ask for, for everyone, and what of it is news."""

    rung: Rung = Rung.NONE
    """``SWITCH`` or ``BLOCK`` while tripped, half-open or not."""
    half_open: bool = False
    message: str = ""
    warnings: tuple[str, ...] = ()
    """Messages of the triggers that only warn."""
    changes: tuple[Change, ...] = ()
    """``before`` and ``after`` are empty where they are models, which the ladder knows."""


@dataclass(slots=True)
class _Watch:
    """One tick of the triggers: memory on its way to the next, and the news."""

    rules: Rules
    inputs: Inputs
    memory: Memory
    changes: list[Change] = field(default_factory=list)

    def keep(self, **changed: object) -> None:
        self.memory = replace(self.memory, **changed)  # type: ignore[arg-type]

    def tell(self, action: str, reason: Reason, message: str, **more: object) -> None:
        told = {"before": "", "after": "", "subject": self.memory.rung_trigger} | more
        change = Change(action=action, reason=reason, message=message, **told)  # type: ignore[arg-type]
        self.changes.append(change)


def watch_errors(
    rules: Rules, inputs: Inputs, memory: Memory, *, answering: str, first_open: bool
) -> tuple[Verdict, Memory]:
    """Move the triggers and the probing on by one tick.

    ``answering`` is the model that requests have gone to since the last tick: its errors count.
    ``first_open`` says whether the first model may be probed at all; without that (its budget is
    spent) probing waits.
    """
    if not rules.triggers and memory.rung is Rung.NONE and not memory.counts:
        return Verdict(), memory
    watch = _Watch(rules, inputs, memory)
    _remember_counts(watch)
    tripped = _look_at_triggers(watch, answering)
    if tripped is not None and tripped.do.severity > memory.rung.severity:
        _open(watch, tripped, answering)
    elif memory.rung is not Rung.NONE:
        _earn_the_way_back(watch, first_open)
    return standing_verdict(rules, inputs, watch.memory, tuple(watch.changes)), watch.memory


def standing_verdict(
    rules: Rules, inputs: Inputs, memory: Memory, changes: tuple[Change, ...] = ()
) -> Verdict:
    """What ``memory`` says that triggers ask for, without moving anything on."""
    names = [trigger.name for trigger in rules.triggers if _warns(trigger, memory)]
    half_open = memory.probing is Probing.HALF_OPEN
    message = ""
    if memory.rung is not Rung.NONE:
        message = f"trigger {memory.rung_trigger} tripped"
        message += (
            ", the first model is being probed"
            if half_open
            else f", probes begin after {memory.backoff_s:.0f} s"
        )
    return Verdict(
        rung=memory.rung,
        half_open=half_open,
        message=message,
        warnings=tuple(f"error rate above the enter threshold of trigger {n}" for n in names),
        changes=changes,
    )


def _warns(trigger: Trigger, memory: Memory) -> bool:
    state = memory.triggers.get(trigger.name, _AT_REST)
    return trigger.do is Rung.WARN and state.active_since is not None


# --- error rates --------------------------------------------------------------------------------


def _window_s(trigger: Trigger) -> float:
    return max(trigger.for_s, RATE_WINDOW_S)


def _remember_counts(watch: _Watch) -> None:
    """Append this tick's counters; keep one entry from before the longest window, to take
    differences from."""
    now = watch.inputs.now
    window_s = max(map(_window_s, watch.rules.triggers), default=RATE_WINDOW_S)
    kept = [entry for entry in watch.memory.counts if entry[0] > now - 2 * window_s]
    while len(kept) > 1 and kept[1][0] <= now - window_s:
        kept.pop(0)
    watch.keep(counts=(*kept, (now, watch.inputs.counts)))


def _rate(watch: _Watch, model: str, window_s: float, enough: float = math.inf) -> tuple[int, int]:
    """Requests ended, and errors among them: the latest ``enough``, or all within the window."""
    last = _counts_of(watch.inputs.counts, model)
    ended = errors = 0
    for at, counts in reversed(watch.memory.counts):
        base = _counts_of(counts, model)
        # Counters of a ledger that was begun anew are lower: that is no evidence of anything.
        ended, errors = max(0, last.ended - base.ended), max(0, last.errors - base.errors)
        if ended >= enough or at <= watch.inputs.now - window_s:
            break
    return ended, errors


def _counts_of(counts: Mapping[str, ModelCounts], model: str) -> ModelCounts:
    """Of one model, or of all together where the policy names none."""
    if model:
        return counts.get(model, _NONE_YET)
    return ModelCounts(
        ended=sum(c.ended for c in counts.values()), errors=sum(c.errors for c in counts.values())
    )


# --- tripping -----------------------------------------------------------------------------------


def _look_at_triggers(watch: _Watch, answering: str) -> Trigger | None:
    """Move every trigger's memory on; the strictest of those that tripped."""
    states: dict[str, TriggerMemory] = {}
    tripped: list[Trigger] = []
    for trigger in watch.rules.triggers:
        state = watch.memory.triggers.get(trigger.name, _AT_REST)
        ended, errors = _rate(watch, answering, _window_s(trigger), max(1, trigger.min_requests))
        state = _above(trigger, state, ended, errors, watch.inputs.now)
        ended, errors = _rate(watch, answering, _window_s(trigger))
        lasted = (
            state.above_since is not None
            and watch.inputs.now - state.above_since >= trigger.for_s
            and errors > trigger.enter * ended
        )
        if trigger.do is Rung.WARN:
            state = _warn(watch, trigger, state, lasted, ended, errors)
        elif lasted:
            tripped.append(trigger)
        states[trigger.name] = state
    if states != watch.memory.triggers:
        watch.keep(triggers=states)
    return max(tripped, key=lambda trigger: trigger.do.severity, default=None)


def _above(
    trigger: Trigger, state: TriggerMemory, ended: int, errors: int, now: float
) -> TriggerMemory:
    """Since when the latest requests have failed too often.

    Of the latest, not of a whole minute: half a minute of errors lasts for a minute and a half in
    a minute's mean.
    """
    if ended < trigger.min_requests or errors <= trigger.exit * ended:
        return state if state.above_since is None else replace(state, above_since=None)
    if state.above_since is None and errors > trigger.enter * ended:
        return replace(state, above_since=now)
    return state


def _warn(
    watch: _Watch, trigger: Trigger, state: TriggerMemory, lasted: bool, ended: int, errors: int
) -> TriggerMemory:
    """A trigger that only warns: no probes, its own exit threshold and the dwell bring it back."""
    now = watch.inputs.now
    if state.active_since is None and lasted:
        text = f"{_percent(errors, ended)} (trigger {trigger.name})"
        watch.tell(
            "Warn",
            Reason.ERROR_RATE_HIGH,
            text,
            before="Normal",
            after="Warned",
            subject=trigger.name,
            warning=True,
        )
        return replace(state, active_since=now)
    dwelt = state.active_since is not None and now - state.active_since >= watch.rules.min_dwell_s
    if dwelt and ended > 0 and errors < trigger.exit * ended + (errors == 0):
        watch.tell(
            "Recover",
            Reason.ERROR_RATE_OK,
            f"{_percent(errors, ended)} (trigger {trigger.name})",
            before="Warned",
            after="Normal",
            subject=trigger.name,
        )
        return replace(state, active_since=None)
    return state


def _open(watch: _Watch, trigger: Trigger, answering: str) -> None:
    """Step up the ladder because of ``trigger``."""
    now, memory = watch.inputs.now, watch.memory
    ended, errors = _rate(watch, answering, _window_s(trigger))
    watch.keep(
        rung=trigger.do,
        rung_since=now,
        rung_trigger=trigger.name,
        probing=Probing.OPEN,
        probe_since=now,
        probe_base=None,
        backoff_s=_first_backoff_s(watch.rules, memory, now),
        triggers=_rested(memory),
    )
    watch.tell(
        str(trigger.do),
        Reason.ERROR_RATE_HIGH,
        f"{_percent(errors, ended, answering)}; above {100 * trigger.enter:g}% "
        f"for {trigger.for_s:.0f} s (trigger {trigger.name})",
        warning=True,
    )


def _first_backoff_s(rules: Rules, memory: Memory, now: float) -> float:
    """Back-off before the first probes; longer where the last recovery did not hold."""
    recovery = rules.recovery
    if memory.rung is not Rung.NONE:
        return max(memory.backoff_s, recovery.backoff_initial_s)
    if memory.backoff_s <= 0 or memory.rung_since is None:
        return recovery.backoff_initial_s
    held_s = now - memory.rung_since
    soon_s = memory.backoff_s * recovery.backoff_factor + rules.min_dwell_s
    return _longer_s(rules, memory) if held_s < soon_s else recovery.backoff_initial_s


def _longer_s(rules: Rules, memory: Memory) -> float:
    recovery = rules.recovery
    longer = max(memory.backoff_s, recovery.backoff_initial_s) * max(1.0, recovery.backoff_factor)
    return min(longer, recovery.backoff_max_s)


def _rested(memory: Memory) -> dict[str, TriggerMemory]:
    """Another model answers from now on: what the triggers saw of the one before does not count
    against it."""
    return {name: replace(state, above_since=None) for name, state in memory.triggers.items()}


# --- the way back -------------------------------------------------------------------------------


def _earn_the_way_back(watch: _Watch, first_open: bool) -> None:
    memory, now = watch.memory, watch.inputs.now
    trigger = next((t for t in watch.rules.triggers if t.name == memory.rung_trigger), None)
    if trigger is None:
        _close(watch, f"the policy has no trigger {memory.rung_trigger} any more")
    elif memory.probing is Probing.HALF_OPEN:
        _judge_probes(watch, trigger)
    else:
        waited_s = now - (now if memory.probe_since is None else memory.probe_since)
        dwelt_s = now - (now if memory.rung_since is None else memory.rung_since)
        if first_open and waited_s >= memory.backoff_s and dwelt_s >= watch.rules.min_dwell_s:
            _probe(watch)


def _first(rules: Rules) -> str:
    return rules.models[0].name if rules.models else ""


def _probe(watch: _Watch) -> None:
    """Begin to let a share of requests through to the first model again."""
    first = _first(watch.rules)
    watch.keep(
        probing=Probing.HALF_OPEN,
        probe_since=watch.inputs.now,
        probe_base=_counts_of(watch.inputs.counts, first),
    )
    share = watch.rules.recovery.probe_share if watch.memory.rung is Rung.SWITCH else 1.0
    watch.tell(
        "Probe",
        Reason.PROBE_STARTED,
        f"{share:.0%} of requests go to {first or 'the model server'} again; "
        f"{watch.rules.recovery.successes} good ones bring everybody back",
        before=str(Probing.OPEN),
        after=str(Probing.HALF_OPEN),
    )


def _judge_probes(watch: _Watch, trigger: Trigger) -> None:
    """One failure among few is above any exit threshold and sends everybody away; one of many need
    not be."""
    memory, recovery = watch.memory, watch.rules.recovery
    last = _counts_of(watch.inputs.counts, _first(watch.rules))
    base = memory.probe_base or last
    ended, errors = last.ended - base.ended, last.errors - base.errors
    if ended < 0 or errors < 0 or memory.probe_base is None:
        watch.keep(probe_base=last)  # counters that were begun anew say nothing of these probes
    elif errors > 0 and errors > trigger.exit * ended:
        backoff_s = _longer_s(watch.rules, memory)
        watch.keep(
            probing=Probing.OPEN,
            probe_since=watch.inputs.now,
            probe_base=None,
            backoff_s=backoff_s,
        )
        watch.tell(
            "Probe",
            Reason.PROBE_FAILED,
            f"{errors} of {ended} probes failed; next ones after {backoff_s:.0f} s",
            before=str(Probing.HALF_OPEN),
            after=str(Probing.OPEN),
            warning=True,
        )
    elif ended - errors >= recovery.successes:
        _close(watch, f"{ended - errors} of {ended} probes were good")


def _close(watch: _Watch, message: str) -> None:
    """Everybody goes back. The back-off is kept: should this not hold, the next one is longer."""
    watch.tell("Recover", Reason.RECOVERED, message)
    watch.keep(
        rung=Rung.NONE,
        rung_since=watch.inputs.now,
        rung_trigger="",
        probing=Probing.CLOSED,
        probe_since=None,
        probe_base=None,
        triggers=_rested(watch.memory),
    )


def _percent(errors: int, ended: int, model: str = "") -> str:
    share = errors / ended if ended else 0.0
    return f"{share:.1%} of {ended} requests{f' to {model}' if model else ''} failed"
