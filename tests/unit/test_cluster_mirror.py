"""The mirror: whatever happens to the API server, what was known stays and what is new arrives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub import eventually
from small_api import SmallApi, Watched, status
from tidegate_operator.cluster.client import ApiError
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.cluster.mirror import Key, Mirror
from tidegate_wire.clock import Clock

PATH = "/api/v1/configmaps"


def item(name: str, version: str = "1", **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "resourceVersion": version}
    return {"metadata": metadata, "data": data}


class Story:
    """A mirror of a watched collection, and all changes that it told."""

    def __init__(self, api: SmallApi, watched: Watched, mirror: Mirror) -> None:
        self.api, self.watched, self.mirror = api, watched, mirror
        self.told: list[tuple[str, bool]] = []

    def names(self) -> list[str]:
        return sorted(name for _, name in self.mirror.objects)

    async def sees(self, *names: str) -> None:
        await eventually(lambda: self.names() == sorted(names))


@asynccontextmanager
async def story(watched: Watched) -> AsyncIterator[Story]:
    async with SmallApi() as api:
        watched.serve(api, PATH)
        kube = Kube(api.configuration())
        told: list[tuple[str, bool]] = []

        def note(key: Key, found: object) -> None:
            told.append((key[1], found is not None))

        # A fast clock shortens the back-off, by the same code.
        mirror = Mirror(kube, PATH, Clock(50.0), selector="a=b", on_change=note)
        tale = Story(api, watched, mirror)
        tale.told = told
        task = asyncio.create_task(mirror.run())
        try:
            yield tale
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            watched.feed.put_nowait(None)
            await kube.close()


async def test_lists_then_follows() -> None:
    async with story(Watched(item("one"))) as tale:
        await tale.sees("one")
        assert tale.mirror.synced.is_set()
        tale.watched.event("ADDED", item("two", "2"))
        await tale.sees("one", "two")
        tale.watched.event("DELETED", item("one", "3"))
        await tale.sees("two")
        assert tale.told == [("one", True), ("two", True), ("one", False)]
        assert tale.watched.lists == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(b'{"type": "ADDED", "obj\n', id="an event that is no JSON"),
        pytest.param(b'{"type": "ADD', id="half an event"),
        pytest.param(
            b'{"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "x"}}\n',
            id="410 as an event",
        ),
        pytest.param(
            b'{"type": "ERROR", "object": {"code": 500, "reason": "Boom", "message": "x"}}\n',
            id="another ERROR event",
        ),
        pytest.param(b"[]\n", id="an event that is no object"),
        pytest.param(b"", id="a reset"),
    ],
)
async def test_after_any_fault_of_a_watch_the_newest_state_is_there(fault: bytes) -> None:
    """kopf exits on ERROR events other than 410."""
    async with story(Watched(item("one"), item("gone"))) as tale:
        await tale.sees("one", "gone")
        tale.watched.items = [item("one"), item("new", "9")]
        if fault:
            tale.watched.feed.put_nowait(fault)
        tale.watched.feed.put_nowait(None)
        await tale.sees("one", "new")


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
async def test_refused_lists_take_nothing_away_and_are_tried_again(code: int) -> None:
    """kopf exits on one 401, and on 403 and 500 that last."""
    async with story(Watched(item("one"))) as tale:
        await tale.sees("one")
        tale.watched.refusals = [(code, status(code, "No"))] * 4
        tale.watched.items = [item("one"), item("two")]
        tale.watched.feed.put_nowait(b"junk\n")
        await eventually(lambda: tale.mirror.problem is not None)
        assert tale.names() == ["one"]
        tale.watched.feed.put_nowait(None)
        await tale.sees("one", "two")
        await eventually(lambda: tale.mirror.problem is None)


async def test_a_list_tells_only_what_differs() -> None:
    async with story(Watched(item("same"), item("old", "1"))) as tale:
        await tale.sees("same", "old")
        tale.told.clear()
        tale.watched.items = [item("same"), item("old", "2")]
        tale.watched.feed.put_nowait(None)
        await eventually(lambda: tale.told != [])
        assert tale.told == [("old", True)]


async def test_an_api_server_that_is_absent_is_waited_for() -> None:
    async with SmallApi() as api:
        configuration = api.configuration()
    kube = Kube(configuration)
    mirror = Mirror(kube, PATH, Clock(50.0))
    task = asyncio.create_task(mirror.run())
    await eventually(lambda: mirror.problem is not None)
    assert not task.done()
    assert not mirror.synced.is_set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await kube.close()


async def test_lists_are_read_page_by_page() -> None:
    async with SmallApi() as api:

        async def page(request: Any) -> Any:
            from aiohttp import web

            if "continue" in request.query:
                return web.json_response({"items": [2], "metadata": {"resourceVersion": "5"}})
            return web.json_response({"items": [1], "metadata": {"continue": "more"}})

        api.handlers[PATH] = page
        kube = Kube(api.configuration())
        assert await kube.list(PATH) == ([1, 2], "5")
        await kube.close()


@pytest.mark.parametrize("body", ["<html>", "[]", ""], ids=["HTML", "a list", "nothing"])
async def test_an_answer_that_is_no_object_is_a_clear_error(body: str) -> None:
    async with SmallApi() as api:
        api.answers[PATH] = (200, body)
        kube = Kube(api.configuration())
        with pytest.raises(ApiError, match="JSON"):
            await kube.get(PATH)
        await kube.close()
