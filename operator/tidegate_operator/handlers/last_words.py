"""Usage of pods that end: saved at once, and then confirmed to their sidecars.

Law: a sidecar that leaves waits until it hears that its last look is saved, so that neither an
answer that was lost nor a process that was killed with it takes usage away. A look is confirmed
after the checkpoint that holds it, never before.
"""

from collections.abc import Mapping, Sequence

from tidegate_operator.cluster.observe import Pod
from tidegate_operator.handlers.look import Look, Source, address_of


class LastWords:
    """Of one policy."""

    def __init__(self) -> None:
        self.saved: Mapping[str, str] = {}
        """By pod UID, the last look that is saved."""
        self._heard: Mapping[str, str] = {}
        self._ending: Sequence[Pod] = ()

    def hear(self, look: Look) -> None:
        """Take note of what was heard, all of which is in the ledger now."""
        told = {uid: stats for uid, stats in look.answers.items() if stats and stats.look}
        self._heard = {uid: stats.look for uid, stats in told.items()}
        self._ending = [
            pod
            for pod in look.pods
            if pod.uid in told and (pod.terminating or told[pod.uid].leaving)
        ]

    @property
    def unsaved(self) -> bool:
        """Whether a pod that ends has told what is not saved yet."""
        return any(self.saved.get(pod.uid) != self._heard[pod.uid] for pod in self._ending)

    def keep(self) -> None:
        """What was heard is saved."""
        self.saved = self._heard

    async def confirm(self, source: Source) -> None:
        """Tell those that end what is saved of them; where that is lost, the next tick's look
        says it again."""
        ending, self._ending = self._ending, ()
        if ending:
            await source.look([address_of(pod, self.saved[pod.uid]) for pod in ending])
