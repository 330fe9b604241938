"""KEDA's side of the external scaler, as its Go client calls it."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from tidegate_operator.hub.keda_wire import MESSAGES, SERVICE


class KedaClient:
    """A channel to one external scaler."""

    def __init__(self, port: int, credentials: grpc.ChannelCredentials | None = None) -> None:
        address = f"127.0.0.1:{port}"
        # Each client shakes hands by itself, as one in another process would.
        options = [("grpc.use_local_subchannel_pool", 1)]
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options=options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def is_active(self, **metadata: str) -> bool:
        answer = await self._call("IsActive", _ref(metadata), "IsActiveResponse")
        return bool(answer.result)

    async def metric_specs(self, **metadata: str) -> list[tuple[str, int, float]]:
        answer = await self._call("GetMetricSpec", _ref(metadata), "GetMetricSpecResponse")
        return [(s.metricName, s.targetSize, s.targetSizeFloat) for s in answer.metricSpecs]

    async def metrics(self, metric: str, **metadata: str) -> list[tuple[str, int, float]]:
        asked = MESSAGES["GetMetricsRequest"](scaledObjectRef=_ref(metadata), metricName=metric)
        answer = await self._call("GetMetrics", asked, "GetMetricsResponse")
        return [(v.metricName, v.metricValue, v.metricValueFloat) for v in answer.metricValues]

    async def stream(self, **metadata: str) -> AsyncIterator[bool]:
        call = self._channel.unary_stream(
            f"/{SERVICE}/StreamIsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES["IsActiveResponse"].FromString,
        )(_ref(metadata))
        async for answer in call:
            yield bool(answer.result)

    async def _call(self, name: str, asked: Any, answer: str) -> Any:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[answer].FromString,
        )
        return await call(asked, timeout=20)


def _ref(metadata: dict[str, str]) -> Any:
    given = {"scalerAddress": "tidegate-hub.tidegate-system:14132"} | metadata
    return MESSAGES["ScaledObjectRef"](name="llama", namespace="shop", scalerMetadata=given)
