"""Which Python is measured, and whether it is one that a sidecar's users have.

Law: the figures of a run begin with how its Python was built, since that moves them by a quarter:
a pure sidecar took 1.88 times Envoy's CPU a request on an interpreter that pyenv had compiled
without profiles, and 1.44 times on Debian's, on one machine in the same minutes.
"""

import platform
import sys
import sysconfig
from dataclasses import dataclass

SYSTEM = "/usr"
"""Where distributions put theirs. Debian's is built with profiles, and its flags do not say so."""
UNNAMED = "the operating system"
SPEEDS_UP = ("--enable-optimizations", "--with-lto")
"""What ``configure`` of Python is told by those who build the images ``python:3.11`` and so on."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What a Python says of itself."""

    version: str
    """Such as ``3.11.2``."""
    prefix: str
    """``sys.base_prefix``."""
    configured: str
    """``CONFIG_ARGS`` of ``sysconfig``; empty where it is not known."""
    system: str = UNNAMED
    """What it is called that has its Python in ``/usr``."""

    @property
    def optimised(self) -> bool:
        """Whether it was built with profiles: by the system, or as its flags say."""
        return self.prefix == SYSTEM or SPEEDS_UP[0] in self.configured

    def described(self) -> str:
        """Version and build, without a path."""
        if self.prefix == SYSTEM:
            return f"Python {self.version} of {self.system}"
        flags = [flag for flag in SPEEDS_UP if flag in self.configured]
        return f"Python {self.version}, built with {' '.join(flags) or 'no optimisation'}"


def this_one() -> Interpreter:
    """The one that runs this, and the sidecars that it starts."""
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = UNNAMED
    return Interpreter(
        version=platform.python_version(),
        prefix=sys.base_prefix,
        configured=sysconfig.get_config_var("CONFIG_ARGS") or "",
        system=system,
    )
