"""The door that KEDA asks at: an external scaler over gRPC.

Law: KEDA is told the count that is wanted, with a target of 1 for each replica, so that its HPA's
ceil(value / target) is that count again; or it is told a gRPC status with the reason, on which it
leaves the replicas as they are (its scale handler acts on no trigger that failed, and the HPA on
no metric that it did not get). grpc is loaded with this module, and so only where the door opens.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio

from tidegate_operator.decide.words import Actuator
from tidegate_operator.hub.certs import CERT, KEY, Bundle
from tidegate_operator.hub.keda_wire import (
    SERVICE,
    Question,
    ScaledObject,
    read_question,
    read_scaled_object,
    write_active,
    write_target,
    write_value,
)
from tidegate_operator.hub.measure import Measures
from tidegate_operator.hub.wanted import NoCountError, Wanted, Why
from tidegate_wire.clock import Clock
from tidegate_wire.names import METRIC_DESIRED

REPLICA_WEIGHT = 1
"""Of the metric, per replica."""
WATCH_S = 1.0
"""Between two looks for a stream that waits for a change: a KEDA without a stream polls each 30 s.
"""
_OPTIONS = (
    # Two hubs on one port are a mistake, which grpc by default hides.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 * 1024),
)
_STATUS = {
    Why.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Why.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Why.NOT_MEANT: grpc.StatusCode.FAILED_PRECONDITION,
    Why.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}

Context = grpc.aio.ServicerContext[Any, Any]
Q = TypeVar("Q")
A = TypeVar("A")


class ExternalScaler:
    """KEDA's four calls, as values in and out."""

    def __init__(self, wanted: Wanted, clock: Clock, measures: Measures) -> None:
        self._wanted = wanted
        self._clock = clock
        self._measures = measures

    def is_active(self, asks: ScaledObject) -> bool:
        """Whether the target should run at all; not where somebody has stopped it."""
        return self._count(asks) > 0

    async def stream_is_active(self, asks: ScaledObject) -> AsyncIterator[bool]:
        """The same now, and once more whenever it changes."""
        told: bool | None = None
        while True:
            active = self.is_active(asks)
            if active != told:
                told = active
                yield active
            await self._clock.sleep(WATCH_S)

    def metric_spec(self, asks: ScaledObject) -> tuple[str, int]:
        """Given in Shadow too, so that the HPA can be made before the policy is in force."""
        self._wanted.find(*policy_of(asks))
        return METRIC_DESIRED, REPLICA_WEIGHT

    def metrics(self, question: Question) -> tuple[str, int]:
        try:
            value = self._value(question)
        except NoCountError as error:
            self._measures.asked(Actuator.KEDA, error.why)
            raise
        self._measures.asked(Actuator.KEDA, None)
        return METRIC_DESIRED, value

    def _value(self, question: Question) -> int:
        if question.metric != METRIC_DESIRED:
            words = f"metricName must be {METRIC_DESIRED}, was: {question.metric[:80]}"
            raise NoCountError(Why.INVALID, words)
        return self._count(question.of) * REPLICA_WEIGHT

    def _count(self, asks: ScaledObject) -> int:
        return self._wanted.count(*policy_of(asks), Actuator.KEDA).replicas


def policy_of(asks: ScaledObject) -> tuple[str, str]:
    """Namespace and name of the policy that a trigger's metadata names."""
    name, namespace = asks.metadata.get("policy", ""), asks.metadata.get("namespace", "")
    if not name:
        raise NoCountError(
            Why.INVALID, "metadata.policy of the trigger is required: an LLMQualityPolicy's name"
        )
    if namespace not in ("", asks.namespace):
        raise NoCountError(
            Why.INVALID,
            f"metadata.namespace of the trigger must be the ScaledObject's own ({asks.namespace}),"
            f" where a policy and its target are, was: {namespace[:80]}",
        )
    return asks.namespace, name


class KedaDoor:
    """The server."""

    def __init__(self, wanted: Wanted, clock: Clock, measures: Measures) -> None:
        self._scaler = ExternalScaler(wanted, clock, measures)
        self._server: grpc.aio.Server | None = None

    async def open(self, address: str, bundle: Callable[[], Bundle] | None = None) -> int:
        """Listen at ``host:port`` and return the port; by TLS where there is a ``bundle``, which
        is asked for with each new connection. ``OSError`` where it can't."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((self._handlers(),))
        try:
            if bundle is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, _credentials(bundle))
        except RuntimeError as error:
            raise OSError(f"{address} is in use, or not to be had: {error}") from error
        await server.start()
        self._server = server
        return port

    async def close(self, grace_s: float) -> None:
        """End streams at once, other calls after at most ``grace_s`` real seconds."""
        if self._server is not None:
            await self._server.stop(grace_s)

    def _handlers(self) -> grpc.GenericRpcHandler:
        scaler = self._scaler
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "IsActive": unary(_answers(scaler.is_active), read_scaled_object, write_active),
                "StreamIsActive": grpc.unary_stream_rpc_method_handler(
                    _streams(scaler.stream_is_active), read_scaled_object, write_active
                ),
                "GetMetricSpec": unary(
                    _answers(scaler.metric_spec), read_scaled_object, write_target
                ),
                "GetMetrics": unary(_answers(scaler.metrics), read_question, write_value),
            },
        )


def _answers(answer: Callable[[Q], A]) -> Callable[[Q, Context], Awaitable[A]]:
    async def call(question: Q, context: Context) -> A:
        try:
            return answer(question)
        except NoCountError as error:
            await _refuse(context, error)

    return call


def _streams(answer: Callable[[Q], AsyncIterator[A]]) -> Callable[[Q, Context], AsyncIterator[A]]:
    async def call(question: Q, context: Context) -> AsyncIterator[A]:
        try:
            async for one in answer(question):
                yield one
        except NoCountError as error:
            await _refuse(context, error)

    return call


async def _refuse(context: Context, error: NoCountError) -> NoReturn:
    await context.abort(_STATUS[error.why], str(error))
    raise AssertionError("abort has raised")


def _credentials(bundle: Callable[[], Bundle]) -> grpc.ServerCredentials:
    def configuration() -> grpc.ServerCertificateConfiguration:
        data = bundle().to_data()
        return grpc.ssl_server_certificate_configuration([(data[KEY], data[CERT])])

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=False
    )
