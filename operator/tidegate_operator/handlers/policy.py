"""One policy: look, decide, act, tell, each tick anew.

Law: what was decided is remembered only once it was done, so that a write that failed is decided
again. Nothing decides on a checkpoint that could not be read, and nothing is scaled down before
the first whole look of this process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from zlib import crc32

from tidegate_operator import logs
from tidegate_operator.cluster.client import Api, ApiError, describe
from tidegate_operator.cluster.config import ConfigWriter
from tidegate_operator.cluster.history import Checkpoint, HistoryKeeper
from tidegate_operator.cluster.observe import Scale, World
from tidegate_operator.cluster.status import StatusWriter
from tidegate_operator.crd.fields import InvalidSpecError
from tidegate_operator.crd.orders import render_config
from tidegate_operator.crd.seen import Seen, Sidecars, Told
from tidegate_operator.crd.spec import PolicySpec, read_spec
from tidegate_operator.crd.status import build_status
from tidegate_operator.decide.hands import Hold, Sight, who_holds
from tidegate_operator.decide.holding import Autoscaler, HandsMemory
from tidegate_operator.decide.plan import decide
from tidegate_operator.decide.words import (
    DataState,
    Decision,
    Demand,
    Inputs,
)
from tidegate_operator.handlers.ahead import Ahead, Forecasts, horizon_s
from tidegate_operator.handlers.beside import Beside
from tidegate_operator.handlers.hands import (
    Wrote,
    look_at_hands,
    moves_replicas,
    nobody_acts,
    set_replicas,
    writes_replicas,
)
from tidegate_operator.handlers.last_words import LastWords
from tidegate_operator.handlers.leaving import Leaving, namespaces
from tidegate_operator.handlers.look import ColdStarts, Look, Source, count_sidecars, look_at
from tidegate_operator.handlers.metrics import Metrics
from tidegate_operator.handlers.mind import Mind, demand_state, forget_scaling, key_of
from tidegate_operator.handlers.observed import Observed, Servers
from tidegate_operator.handlers.recent import Recent
from tidegate_operator.handlers.telling import Teller, told_of
from tidegate_operator.handlers.watchdog import Watchdog
from tidegate_operator.ledger.carried import CarriedLoads
from tidegate_operator.ledger.demand import DemandHistory
from tidegate_operator.ledger.engines import EngineHistory
from tidegate_operator.ledger.usage import Ledger
from tidegate_operator.settings import Settings
from tidegate_wire.clock import Clock

T = TypeVar("T")

IDLE_CHECKPOINT_S = 3600.0
"""Where nothing came but empty minutes, a checkpoint waits so long."""
RECHECK_S = 300.0
"""How often objects of ours are compared with the API server, in case somebody else touched them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all policies share."""

    api: Api
    clock: Clock
    settings: Settings
    world: World
    source: Source
    prometheus: Servers
    forecasts: Forecasts
    metrics: Metrics


class PolicyLoop:
    """Ticks one policy."""

    def __init__(self, around: Surroundings, manifest: Mapping[str, Any]) -> None:
        meta = manifest["metadata"]
        self._around = around
        self.uid = str(meta["uid"])
        self.namespace, self.name = str(meta["namespace"]), str(meta["name"])
        self._where = {"namespace": self.namespace, "policy": self.name}
        self._generation: int | None = None
        self._spec: PolicySpec | None = None
        self._problem: InvalidSpecError | None = None
        self._status: Mapping[str, Any] = manifest.get("status") or {}
        self._status_writer = StatusWriter(self.namespace, self.name, self.uid, self._status)
        self._config = ConfigWriter(meta)
        self._history = HistoryKeeper(meta)
        self._teller = Teller(meta, around.metrics)
        self._watchdog = Watchdog(
            self.namespace,
            self.uid,
            around.settings.namespace,
            known=any(
                condition["type"] == "InjectionHealthy"
                for condition in self._status.get("conditions") or ()
            ),
        )
        self._leaving = Leaving(
            around.api, self.namespace, namespaces(around.settings.pod_deletion_cost_in)
        )
        self._observed = Observed(around.api, around.prometheus, self.namespace, self.name)
        self._beside = Beside(around.api, around.prometheus, self.namespace, self.name)
        self._mind: Mind | None = None
        self._selector = ""
        self._saw_whole = False
        self._rechecked_at = around.clock.now()

    # --- the tick -----------------------------------------------------------------------------

    async def tick(self, manifest: Mapping[str, Any], taken_by: str) -> None:
        """One look, decision, act and telling.

        ``taken_by`` names the older policy that has the same target, if there is one. Raises
        ``ApiError`` where the API server can't be asked or refuses.
        """
        now = self._around.clock.now()
        self._read(manifest)
        mind = await self._remembered(now)
        self._recheck(now)
        if self._spec is None:
            seen = self._seen(now)
        elif taken_by:
            await self._config.withdraw(self._around.api)
            mind.memory = replace(mind.memory, hands=HandsMemory())
            seen = self._seen(now, conflict_with=taken_by)
        else:
            seen = await self._work(self._spec, mind, now)
        at_once = mind.last_words.unsaved or key_of(mind)[0] != mind.saved_key[0]
        await self._save(mind, now, at_once=at_once)
        await mind.last_words.confirm(self._around.source)
        await self._tell(seen)

    async def fail(self, error: Exception) -> None:
        """Show that a tick failed, as far as that can be shown."""
        now = self._around.clock.now()
        words = str(error) if isinstance(error, ApiError) else describe(error)
        try:
            await self._tell(self._seen(now, failure=f"will be tried again: {words[:300]}"))
        except ApiError:
            pass  # the API server itself fails: the log has said so, the next tick looks again

    async def checkpoint(self) -> None:
        """Save what a restart needs, now."""
        if self._mind is not None:
            await self._save(self._mind, self._around.clock.now(), at_once=True)

    async def close(self) -> None:
        """The policy is gone: its objects go with it, what is kept of it here goes now."""
        if self._mind is not None:
            await self._mind.ahead.close()
        await self._observed.close()
        await self._beside.close()
        self._around.metrics.forget(self._where)

    async def settled(self) -> None:
        """Wait for a forecast and a history that are being asked for."""
        await self._observed.settled()
        await self._beside.settled()
        if self._mind is not None:
            await self._mind.ahead.settled()

    # --- what is known ------------------------------------------------------------------------

    def _read(self, manifest: Mapping[str, Any]) -> None:
        generation = int(manifest["metadata"].get("generation", 0))
        if generation == self._generation:
            return
        self._generation = generation
        try:
            self._spec, self._problem = read_spec(manifest), None
        except InvalidSpecError as error:
            self._problem = error

    async def _remembered(self, now: float) -> Mind:
        """Load the checkpoint, once."""
        if self._mind is not None:
            return self._mind
        await self._config.look(self._around.api)
        saved, problem = await self._history.load(self._around.api)
        if problem:
            logs.event("history_unusable", **self._where, problem=problem)
        mind = Mind(
            ledger=self._restored(Ledger, saved.ledger),
            demand=self._restored(DemandHistory, demand_state(saved)),
            carried=CarriedLoads(),
            engines=EngineHistory(),
            memory=saved.memory,
            cold_starts=ColdStarts(saved.cold_starts, now),
            ahead=Ahead(self._around.forecasts, self.uid, saved.calibration),
            recent=Recent(saved.recent),
            saved_key=None,
            # A thousand policies that start together must not all save at the same moment.
            saved_at=now - crc32(self.uid.encode()) % self._around.settings.checkpoint_s,
            last_words=LastWords(),
        )
        mind.saved_key = key_of(mind)
        self._mind = mind
        return mind

    def _restored(self, build: Callable[[Any], T], state: Any) -> T:
        """A part with its state; begun anew, and said so, where the state can't be read."""
        try:
            return build(state)
        except ValueError as error:
            logs.event("history_unusable", **self._where, problem=str(error)[:300])
            return build(None)

    def _recheck(self, now: float) -> None:
        if now - self._rechecked_at >= RECHECK_S:
            self._rechecked_at = now
            self._config.forget()

    # --- look, decide, act --------------------------------------------------------------------

    async def _work(self, spec: PolicySpec, mind: Mind, now: float) -> Seen:
        around = self._around
        look = await look_at(
            around.api,
            around.source,
            around.world,
            self.namespace,
            spec.target,
            self._selector,
            mind.last_words.saved,
            everywhere=spec.prometheus is not None,
        )
        await self._observed.look(spec, now)
        await self._beside.look(spec, now)
        inputs = self._inputs(spec, mind, look, now)
        if look.scale is None or inputs is None:
            await self._offer(spec, None, now)
            return self._seen(now, target_found=False)
        self._selector = look.scale.selector
        await self._watchdog.look(around.api, spec.target, look, now)
        if self._problem is not None:
            # The newest wish can't be understood: look on, change nothing, let orders run out.
            return self._seen(now, target_found=True, inputs=inputs, mind=mind, look=look)
        hold = await self._look_at_hands(spec, mind, look.scale, now)
        decision, memory = decide(spec.rules, inputs, mind.memory)
        await self._offer(spec, decision, now)
        scale_error, scaled = "", True
        wanted = decision.scaling.replicas
        held = nobody_acts(spec, hold, self._autoscaler())
        if moves_replicas(spec) and not held and wanted < inputs.current:
            # Before the count is written here, or told to the autoscaler that will write it.
            await self._leaving.mark(spec.target, look, wanted)
        if hold is None and writes_replicas(spec) and wanted != inputs.current:
            wrote = await self._set_replicas(spec, mind, decision, look.scale, now)
            scale_error, scaled = wrote.error, wrote.done
            memory = replace(memory, hands=wrote.hands)
        if hold is not None or not scaled:
            memory = replace(memory, asleep=mind.memory.asleep)
        if not scaled:
            memory = forget_scaling(memory, mind.memory)
        mind.memory = memory
        told = told_of(spec, decision, inputs.current, scaled=scaled, held=held)
        mind.recent.look(now, spec.rules.scaling, inputs, decision)
        return self._seen(
            now,
            target_found=True,
            inputs=inputs,
            decision=decision,
            told=told,
            mind=mind,
            look=look,
            hold=hold,
            scale_error=scale_error,
        )

    def _inputs(self, spec: PolicySpec, mind: Mind, look: Look, now: float) -> Inputs | None:
        """Take in what was seen; ``None`` where there is no target to decide on."""
        book = mind.ledger.look if mind.ledger.begun else mind.ledger.adopt
        for stats in look.stats:
            book(stats, now)
        mind.last_words.hear(look)
        mind.demand.record(now, look.answers)
        mind.engines.record(now, look.answers)
        mind.cold_starts.look(look.pods)
        if look.scale is None:
            return None
        self._saw_whole = self._saw_whole or (look.whole and look.ready > 0)
        max_age_s = spec.rules.scaling.max_age_s
        demand = mind.demand.demand(now, max_age_s)
        demand = demand if self._saw_whole else unproven(demand)
        start_minute, counts = mind.demand.minutes()
        if spec.prometheus is not None:
            demand = self._observed.demand(now, max_age_s, demand)
            start_minute, counts = self._observed.minutes()
        mind.ahead.ask(
            spec,
            start_minute=start_minute,
            counts=counts,
            cold_starts=mind.cold_starts.samples,
            regressors=self._beside.regressors(),
            now=now,
        )
        return Inputs(
            now=now,
            current=look.scale.replicas,
            ready=look.ready,
            starting=look.starting,
            demand=demand,
            forecast=mind.ahead.newest,
            carried=mind.carried.look(now, look.answers, spec.rules.scaling.wait_target_s),
            lead_s=horizon_s(spec, mind.cold_starts.samples),
            counts=mind.ledger.counts(),
            budgets=tuple(mind.ledger.budget_uses(spec.rules.budgets, now)),
            engines=mind.engines.signs(),
        )

    async def _offer(self, spec: PolicySpec, decision: Decision | None, now: float) -> None:
        """Give the sidecars their config, with the orders that the decision means."""
        config = render_config(
            f"{self.namespace}/{self.name}",
            spec,
            None if decision is None else decision.ladder,
            before=self._config.current,
            now=now,
            order_ttl_s=self._around.settings.order_ttl_s,
        )
        await self._config.write(self._around.api, config, spec.target, now)

    async def _look_at_hands(
        self, spec: PolicySpec, mind: Mind, scale: Scale, now: float
    ) -> Hold | None:
        """Who else decides the count, if anybody."""
        autoscaler = self._autoscaler()
        mind.memory = await look_at_hands(
            self._around.api,
            self.namespace,
            spec,
            mind.memory,
            Sight(
                now=now,
                uid=scale.uid,
                replicas=scale.replicas,
                generation=self._generation or 0,
            ),
            autoscaler=autoscaler,
            manual_hold_s=self._around.settings.manual_hold_s,
        )
        return who_holds(autoscaler, mind.memory.hands, writes=writes_replicas(spec))

    async def _set_replicas(
        self, spec: PolicySpec, mind: Mind, decision: Decision, scale: Scale, now: float
    ) -> Wrote:
        async def save(hands: HandsMemory) -> None:
            # A zero of our own that was forgotten would be taken for somebody's stop.
            asleep = mind.memory.asleep or wanted == 0
            mind.memory = replace(mind.memory, hands=hands, asleep=asleep)
            await self._save(mind, now, at_once=True)

        wanted = decision.scaling.replicas
        if self.uid not in self._around.world.policies:
            # Deleted since this tick began: its last wish is nobody's.
            return Wrote(hands=mind.memory.hands, done=False)
        return await set_replicas(
            self._around.api, self.namespace, spec, mind.memory.hands, scale, wanted, save
        )

    def _autoscaler(self) -> Autoscaler | None:
        if self._spec is None:
            return None
        target = self._spec.target
        return self._around.world.autoscalers.of(self.namespace, target.kind, target.name)

    # --- tell ---------------------------------------------------------------------------------

    def _seen(
        self,
        now: float,
        *,
        mind: Mind | None = None,
        look: Look | None = None,
        target_found: bool | None = None,
        conflict_with: str = "",
        inputs: Inputs | None = None,
        decision: Decision | None = None,
        told: Sequence[Told] = (),
        hold: Hold | None = None,
        scale_error: str = "",
        failure: str = "",
    ) -> Seen:
        mind = mind or self._mind
        problem = self._around.world.autoscalers.problem()
        sidecars = Sidecars()
        if look is not None and self._config.current is not None:
            sidecars = count_sidecars(
                look,
                wanted_hash=self._config.current.hash,
                changed_at=self._config.changed_at,
                now=now,
            )
        return Seen(
            now=now,
            generation=self._generation or 0,
            spec=self._spec,
            problem=self._problem,
            target_found=target_found,
            conflict_with=conflict_with,
            inputs=inputs,
            decision=decision,
            told=told,
            cold_starts=() if mind is None else tuple(mind.cold_starts.samples),
            hpa=None if mind is None else mind.recent.hpa,
            sidecars=sidecars,
            injection=None if look is None else self._watchdog.health,
            hold=hold,
            autoscaler=self._autoscaler(),
            autoscalers_problem="" if problem is None else str(problem),
            namespace=self.namespace,
            scale_error=scale_error,
            failure=failure,
        )

    async def _tell(self, seen: Seen) -> None:
        around = self._around
        before = self._status.get("conditions") or ()
        # What could not be written last time is still in here: a change is told once, not lost.
        self._status = build_status(self._status, seen)
        around.metrics.show(self._where, seen)
        if self._mind is not None:
            totals = self._mind.ledger.totals()
            tokens = {"input": totals.tokens_in, "output": totals.tokens_out}
            around.metrics.show_tokens(self._where, tokens)
        await self._teller.tell_changes(around.api, seen)
        await self._teller.tell_conditions(around.api, before, self._status["conditions"], seen)
        await self._status_writer.write(
            around.api, self._status, seen.now, around.settings.status_s
        )

    # --- remember -----------------------------------------------------------------------------

    async def _save(self, mind: Mind, now: float, *, at_once: bool) -> None:
        """Write the checkpoint where it is due."""
        key = key_of(mind)
        age_s = now - mind.saved_at
        due_s = self._around.settings.checkpoint_s
        if key == mind.saved_key:
            due_s = max(due_s, IDLE_CHECKPOINT_S)
        if not at_once and age_s < due_s:
            return
        state = mind.demand.to_state()
        await self._history.save(
            self._around.api,
            Checkpoint(
                start_minute=state.pop("start_minute"),
                counts=state.pop("counts"),
                recent=mind.recent.items,
                looks=state,
                ledger=mind.ledger.to_state(),
                memory=mind.memory,
                cold_starts=mind.cold_starts.samples,
                calibration=mind.ahead.state,
            ),
        )
        mind.saved_key, mind.saved_at = key, now
        mind.last_words.keep()


def unproven(demand: Demand) -> Demand:
    """Demand of which a part may not have been looked at yet: nothing is scaled down on it."""
    if demand.state is not DataState.PRESENT:
        return demand
    return replace(demand, state=DataState.STALE)
