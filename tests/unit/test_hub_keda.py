"""KEDA asks over real gRPC and is told the wanted count, or a status with the reason; never a
number that nobody decided."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import pytest

from hub import eventually
from keda_client import KedaClient
from tidegate_operator.hub.certs import Bundle, issue
from tidegate_operator.hub.keda import KedaDoor
from tidegate_wire.clock import Clock
from wanted_counts import MAX_AGE_S, Policies

METRIC = "tidegate-desired-replicas"
SPEED = 20.0
"""A stream looks once a second."""


@pytest.fixture
def policies() -> Policies:
    return Policies(Clock(SPEED))


@pytest.fixture
async def keda(policies: Policies) -> AsyncIterator[KedaClient]:
    door = KedaDoor(policies.wanted, policies.clock, policies.measures)
    port = await door.open("127.0.0.1:0")
    async with KedaClient(port) as client:
        yield client
    await door.close(0)


async def test_a_count_is_a_metric_with_a_target_of_one_for_each_replica(
    policies: Policies, keda: KedaClient
) -> None:
    policies.put(7)
    assert await keda.metric_specs(policy="chat") == [(METRIC, 1, 1.0)]
    assert await keda.metrics(METRIC, policy="chat") == [(METRIC, 7, 7.0)]
    assert await keda.is_active(policy="chat", namespace="shop") is True


async def test_what_somebody_has_stopped_is_not_woken(
    policies: Policies, keda: KedaClient
) -> None:
    policies.put(0)
    assert await keda.is_active(policy="chat") is False
    assert await keda.metrics(METRIC, policy="chat") == [(METRIC, 0, 0.0)]


async def test_the_metric_is_known_before_the_policy_is_in_force(
    policies: Policies, keda: KedaClient
) -> None:
    """Without it KEDA makes no HPA, and changing the mode would be followed by waiting."""
    policies.put(None, mode="Shadow")
    assert await keda.metric_specs(policy="chat") == [(METRIC, 1, 1.0)]


@pytest.mark.parametrize(
    ("metadata", "code", "said"),
    [
        pytest.param(
            {},
            grpc.StatusCode.INVALID_ARGUMENT,
            "metadata.policy of the trigger is required: an LLMQualityPolicy's name",
            id="no policy is named",
        ),
        pytest.param(
            {"policy": "chat", "namespace": "other"},
            grpc.StatusCode.INVALID_ARGUMENT,
            "metadata.namespace of the trigger must be the ScaledObject's own (shop),"
            " where a policy and its target are, was: other",
            id="another namespace is named",
        ),
        pytest.param(
            {"policy": "caht"},
            grpc.StatusCode.NOT_FOUND,
            "there is no LLMQualityPolicy shop/caht",
            id="there is no such policy",
        ),
        pytest.param(
            {"policy": "own"},
            grpc.StatusCode.FAILED_PRECONDITION,
            "spec.scaling.actuator of LLMQualityPolicy shop/own must be KEDA, was: Scale",
            id="Tidegate itself scales its target",
        ),
        pytest.param(
            {"policy": "shadow"},
            grpc.StatusCode.FAILED_PRECONDITION,
            "of LLMQualityPolicy shop/shadow must be Enforce to be acted on, was: Shadow",
            id="it only says what it would do",
        ),
        pytest.param(
            {"policy": "old"}, grpc.StatusCode.UNAVAILABLE, "at most 120 s old", id="it is stale"
        ),
        pytest.param(
            {"policy": "new"}, grpc.StatusCode.UNAVAILABLE, "decided", id="it has not decided yet"
        ),
    ],
)
async def test_a_refusal_has_a_status_and_the_reason(
    policies: Policies,
    keda: KedaClient,
    metadata: dict[str, str],
    code: grpc.StatusCode,
    said: str,
) -> None:
    policies.put(name="chat")
    policies.put(name="own", actuator="Scale")
    policies.put(name="shadow", mode="Shadow")
    policies.put(name="old", age_s=MAX_AGE_S * 2)
    policies.put(None, name="new")
    for call in (keda.metrics(METRIC, **metadata), keda.is_active(**metadata)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is code
        assert said in str(caught.value.details())


async def test_questions_are_counted_by_what_was_answered(
    policies: Policies, keda: KedaClient
) -> None:
    policies.put(3)
    await keda.metrics(METRIC, policy="chat")
    await keda.is_active(policy="chat")
    policies.put(3, age_s=MAX_AGE_S * 2)
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError):
            await keda.metrics(METRIC, policy="chat")
    assert policies.asked() == {("KEDA", "Given"): 1, ("KEDA", "Unavailable"): 2}


async def test_a_metric_of_another_name_is_refused(policies: Policies, keda: KedaClient) -> None:
    policies.put(3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await keda.metrics("s0-cpu", policy="chat")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == f"metricName must be {METRIC}, was: s0-cpu"


async def test_a_stream_tells_each_change_once_and_ends_where_nothing_is_known(
    policies: Policies, keda: KedaClient
) -> None:
    policies.put(2)
    told: list[bool] = []
    code: list[grpc.StatusCode] = []

    async def listen() -> None:
        try:
            async for active in keda.stream(policy="chat"):
                told.append(active)
        except grpc.aio.AioRpcError as error:
            code.append(error.code())

    listening = asyncio.create_task(listen())
    await eventually(lambda: told == [True])
    policies.put(3)
    await policies.clock.sleep(4)
    assert told == [True], "another count is no change of activity"
    policies.put(0)
    await eventually(lambda: told == [True, False])
    policies.put(1)
    await eventually(lambda: told == [True, False, True])
    policies.put(1, age_s=MAX_AGE_S * 2)
    await asyncio.wait_for(listening, 10)
    assert (told, code) == ([True, False, True], [grpc.StatusCode.UNAVAILABLE])


async def test_a_door_that_closes_ends_its_streams(policies: Policies) -> None:
    policies.put(2)
    door = KedaDoor(policies.wanted, policies.clock, policies.measures)
    port = await door.open("127.0.0.1:0")
    async with KedaClient(port) as keda:
        stream = keda.stream(policy="chat")
        assert await anext(stream) is True
        await asyncio.wait_for(door.close(0.2), 10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(stream)
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_two_doors_at_one_port_are_a_fault_and_not_a_lottery(policies: Policies) -> None:
    first, second = (
        KedaDoor(policies.wanted, policies.clock, policies.measures) for _ in range(2)
    )
    port = await first.open("127.0.0.1:0")
    try:
        with pytest.raises(OSError, match=str(port)):
            await second.open(f"127.0.0.1:{port}")
    finally:
        await first.close(0)


async def test_by_tls_a_renewed_certificate_is_served_without_a_restart(
    policies: Policies,
) -> None:
    policies.put(2)
    now = datetime.now(UTC)
    served = [issue(now, ["127.0.0.1"])]
    door = KedaDoor(policies.wanted, policies.clock, policies.measures)
    port = await door.open("127.0.0.1:0", lambda: served[-1])
    try:
        assert await trusts(port, served[0])
        served.append(issue(now - timedelta(minutes=1), ["127.0.0.1"]))
        assert await trusts(port, served[1])
        assert not await trusts(port, served[0])
    finally:
        await door.close(0)


async def trusts(port: int, bundle: Bundle) -> bool:
    """Whether a KEDA with this ``caCert`` gets an answer."""
    credentials = grpc.ssl_channel_credentials(bundle.ca_pem.encode())
    async with KedaClient(port, credentials) as keda:
        try:
            return await keda.is_active(policy="chat")
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return False
