"""Series beside a policy's demand, such as sign-ups or orders, for its forecast.

Law: each is asked for as a demand is, and what is not told is missing, never 0. A series that
can't be read costs the forecast this series and nothing else.
"""

import asyncio
from dataclasses import replace

from tidegate_operator.cluster.client import Api
from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.forecast.known import Regressor
from tidegate_operator.handlers.observed import Observed, Servers


class Beside:
    """Those of one policy."""

    def __init__(self, api: Api, servers: Servers, namespace: str, name: str) -> None:
        self._api = api
        self._servers = servers
        self._namespace = namespace
        self._name = name
        self._series: dict[str, Observed] = {}

    async def look(self, spec: PolicySpec, now: float) -> None:
        """Ask for the present of each, and begin to ask for what of the past is missing."""
        for name in set(self._series) - set(spec.regressors):
            await self._series.pop(name).close()
        for name in set(spec.regressors) - set(self._series):
            self._series[name] = Observed(self._api, self._servers, self._namespace, self._name)
        await asyncio.gather(
            *(
                self._series[name].look(replace(spec, prometheus=server), now)
                for name, server in spec.regressors.items()
            )
        )

    def regressors(self) -> tuple[Regressor, ...]:
        """By the minute, as far back as they are known."""
        found = ((name, series.minutes()) for name, series in sorted(self._series.items()))
        return tuple(Regressor(name, start, values) for name, (start, values) in found if values)

    async def settled(self) -> None:
        """Wait for histories that are being asked for."""
        for series in self._series.values():
            await series.settled()

    async def close(self) -> None:
        for series in self._series.values():
            await series.close()
