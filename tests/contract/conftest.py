"""The Kubernetes API that contract tests run against."""

import uuid
from collections.abc import AsyncIterator

import pytest

from kube_contract import GROUP, Kube, connect, ensure_widgets

NAMESPACES = "/api/v1/namespaces"


@pytest.fixture
async def kube() -> AsyncIterator[Kube]:
    async with connect() as server:
        yield server


@pytest.fixture
async def space(kube: Kube) -> AsyncIterator[str]:
    """Path of a fresh namespace."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    (await kube.post(NAMESPACES, {"metadata": {"name": name}})).ok()
    path = f"{NAMESPACES}/{name}"

    async def has_account() -> bool:
        return (await kube.get(f"{path}/serviceaccounts/default")).status == 200

    await kube.eventually(has_account)
    yield path
    await kube.delete(path)


@pytest.fixture
async def widgets(kube: Kube, space: str) -> str:
    """Path of the widgets in the namespace."""
    await ensure_widgets(kube)
    return f"/apis/{GROUP}/v1/namespaces/{space.rpartition('/')[2]}/widgets"
