"""Looking now and then whether a policy's pods have their sidecars.

Law: it looks and tells; it changes nobody's pods, and what it can't see stops nothing else.
"""

from zlib import crc32

from tidegate_operator.cluster.client import Api, ApiError
from tidegate_operator.cluster.injection import look_around
from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.decide.words import Reason
from tidegate_operator.handlers.look import Look
from tidegate_operator.inject.watchdog import Health, judge

TROUBLED_S = 30.0
"""Between two looks while something is amiss, or pods are counted that have no sidecar."""
ROLLING_S = 10.0
"""While a rollout brings the sidecars."""
CALM_S = 300.0
"""Otherwise: four reads for each of a thousand policies are some 13 a second."""


class Watchdog:
    """Of one policy."""

    def __init__(self, namespace: str, uid: str, own_namespace: str, *, known: bool) -> None:
        """``known`` says that an earlier process has told how injection stands."""
        self._namespace = namespace
        self._own_namespace = own_namespace
        # A thousand policies that start together must not all look at the same moment.
        self._wait_s = crc32(uid.encode()) % TROUBLED_S if known else 0.0
        self._looked_at: float | None = None
        self._target = ""
        self.health: Health | None = None
        """What the last look said; ``None``: not known yet."""

    async def look(self, api: Api, target: TargetRef, look: Look, now: float) -> None:
        """Look anew where it is time to."""
        if look.scale is None or not self._is_due(str(target), look.unseen, now):
            return
        self._looked_at, self._target = now, str(target)
        try:
            around = await look_around(api, self._namespace, target, look.scale.selector)
            self.health = judge(around, own_namespace=self._own_namespace)
        except ApiError as error:
            self.health = _unknown(error)

    def _is_due(self, target: str, unseen: int, now: float) -> bool:
        if self._looked_at is None:
            self._looked_at = now - TROUBLED_S + self._wait_s
        if self._target not in ("", target):
            return True
        return now - self._looked_at >= self._pace_s(unseen)

    def _pace_s(self, unseen: int) -> float:
        if self.health is not None and self.health.reason is Reason.ROLLING_OUT:
            return ROLLING_S
        if self.health is not None and self.health.healthy and not unseen:
            return CALM_S
        return TROUBLED_S


def _unknown(error: ApiError) -> Health | None:
    if error.status == 404:
        return None
    return Health(healthy=None, reason=Reason.INJECTION_UNKNOWN, message=str(error)[:300])
