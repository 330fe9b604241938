"""What the system lets this process have, and the bounds that follow.

Law: the shell's edge to ``/proc``, ``/sys`` and rlimits; what follows from the figures is a
function of them. A figure that can't be read is as if there were no such limit.
"""

import errno
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tidegate_sidecar.room import CONNECTION_BYTES, DEFAULT_BYTES, Room

OWN_BYTES: Final = 32 * 1024 * 1024
"""The process itself, before it holds anything for anybody."""
RESERVED_DESCRIPTORS: Final = 64
"""For all but the data path: event loop, log, listeners, the admin doors' callers, the hub."""
MEMORY_LIMIT_FILES: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Of the container, by cgroup v2 and v1."""
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What the system says when it has no more to give (accept(2), socket(2))."""
_NO_LIMIT: Final = 1 << 50
"""cgroup v1 says the highest page number where nobody set a limit."""


def raise_descriptors() -> int:
    """Take as many descriptors as we may have without asking; how many those are.

    The soft limit is 1,024 in many places, for programs that use ``select``.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # some sandboxes forbid it; then the soft limit is what there is
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def memory_limit(files: Sequence[Path] = MEMORY_LIMIT_FILES) -> int | None:
    """Bytes that this container may use; None: as many as there are."""
    for file in files:
        try:
            limit = int(file.read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
        if limit < _NO_LIMIT:
            return limit
    return None


def room_within(
    descriptors: int, memory_bytes: int | None, *, max_bytes: int = 0, max_connections: int = 0
) -> Room:
    """A room for what there is; ``max_bytes`` and ``max_connections`` of 0 are derived.

    Three quarters of the memory that is left beside the process itself: what is freed leaves
    holes, and the kernel puts the sockets' buffers on the same account. Two descriptors a
    connection: each client may need an upstream.
    """
    if not max_bytes:
        left = None if memory_bytes is None else (memory_bytes - OWN_BYTES) * 3 // 4
        max_bytes = DEFAULT_BYTES if left is None else max(left, OWN_BYTES // 4)
    if not max_connections:
        max_connections = max_bytes // CONNECTION_BYTES
    by_descriptors = max((descriptors - RESERVED_DESCRIPTORS) // 2, 1)
    return Room(max_bytes, min(max_connections, by_descriptors))
