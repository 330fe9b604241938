"""A test file's stories once more, on the event loop that production runs on."""

import inspect
from collections.abc import Callable, Coroutine

Story = Callable[[], Coroutine[None, None, None]]


def stories(namespace: dict[str, object]) -> list[Story]:
    """The asynchronous tests of a module, given as its globals, that take no arguments."""
    return [
        test
        for name, test in namespace.items()
        if name.startswith("test_")
        and inspect.iscoroutinefunction(test)
        and not inspect.signature(test).parameters
    ]


def name_of(story: Story) -> str:
    """Its claim."""
    return story.__name__.removeprefix("test_")
