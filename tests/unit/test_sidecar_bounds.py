"""What a sidecar may hold follows from what its container has, and from what its owner says."""

import resource
from pathlib import Path

import pytest

from tidegate_sidecar import bounds
from tidegate_sidecar.bounds import RESERVED_DESCRIPTORS, room_within
from tidegate_sidecar.logs import CALM_S, RanOut
from tidegate_sidecar.room import CONNECTION_BYTES, DEFAULT_BYTES, Room, Scarce
from tidegate_wire.clock import Clock

MI = 1 << 20

ROOMS = {
    "of the injected 256 MiB, three quarters of what the process leaves": (
        (1 << 20, 256 * MI, 0, 0),
        (168 * MI, 168 * MI // CONNECTION_BYTES),
    ),
    "without a limit, the same": (
        (1 << 20, None, 0, 0),
        (DEFAULT_BYTES, DEFAULT_BYTES // CONNECTION_BYTES),
    ),
    "of the least memory that may be asked for, the same share": (
        (1 << 20, 64 * MI, 0, 0),
        (24 * MI, 24 * MI // CONNECTION_BYTES),
    ),
    "of next to nothing, still something": (
        (1 << 20, 16 * MI, 0, 0),
        (8 * MI, 8 * MI // CONNECTION_BYTES),
    ),
    "an owner's figure goes before the container's": (
        (1 << 20, 256 * MI, 1 * MI, 0),
        (1 * MI, 1 * MI // CONNECTION_BYTES),
    ),
    "an owner's count of connections": ((1 << 20, 256 * MI, 0, 50), (168 * MI, 50)),
    "two descriptors for each, and some for ourselves": (
        (1024, 256 * MI, 0, 0),
        (168 * MI, (1024 - RESERVED_DESCRIPTORS) // 2),
    ),
    "more than there are descriptors for can't be asked": ((264, None, 0, 999), (168 * MI, 100)),
    "with hardly any descriptor, one": ((10, None, 0, 0), (168 * MI, 1)),
}


@pytest.mark.parametrize(("given", "expected"), ROOMS.values(), ids=ROOMS)
def test_a_room_fits_into_its_container(
    given: tuple[int, int | None, int, int], expected: tuple[int, int]
) -> None:
    descriptors, memory, max_bytes, max_connections = given
    room = room_within(descriptors, memory, max_bytes=max_bytes, max_connections=max_connections)
    assert (room.max_bytes, room.max_connections) == expected


LIMITS = {
    "cgroup v2": ("268435456\n", "", 256 * MI),
    "cgroup v2 without a limit": ("max\n", "", None),
    "cgroup v1": ("", "67108864\n", 64 * MI),
    "cgroup v1 without a limit": ("", "9223372036854771712\n", None),
    "no cgroup at all": ("", "", None),
}


@pytest.mark.parametrize(("v2", "v1", "expected"), LIMITS.values(), ids=LIMITS)
def test_the_memory_limit_is_the_containers(
    tmp_path: Path, v2: str, v1: str, expected: int | None
) -> None:
    files = (tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes")
    for file, text in zip(files, (v2, v1), strict=True):
        if text:
            file.write_text(text)
    assert bounds.memory_limit(files) == expected


def test_descriptors_are_taken_as_far_as_they_are_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert bounds.raise_descriptors() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_empty_room_has_room_and_one_that_is_exactly_full_too() -> None:
    room = Room(max_bytes=100)
    assert not room.full
    room.held = 100
    assert not room.full
    room.held = 101
    assert room.full


def test_what_runs_out_is_counted_each_time_and_said_once_an_episode() -> None:
    said: list[str] = []
    counted: list[str] = []

    class Watch(Clock):
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    def log(event: str, /, **fields: str | float | bool) -> None:
        said.append(f"{event} of {fields['of']}")

    watch = Watch()
    ran_out = RanOut(log, counted.append, watch)
    for watch.now, what in (
        (1.0, Scarce.MEMORY),
        (1.1, Scarce.MEMORY),
        (2.0, Scarce.DESCRIPTORS),
        (CALM_S, Scarce.MEMORY),  # it has gone on all the while
        (2 * CALM_S, Scarce.MEMORY),
        (3 * CALM_S + 1, Scarce.MEMORY),
    ):
        ran_out(what)
    assert said == ["ran_out of memory", "ran_out of descriptors", "ran_out of memory"]
    assert counted.count("memory") == 5
