"""Which version of the sidecar runs, and which of its two builds.

Law: it says what is loaded, not what was installed: where machine code and source both lie, the
interpreter has chosen.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from tidegate_sidecar import h1


def version_text() -> str:
    """Of the installed package; ``unknown`` for what runs from a bare folder."""
    try:
        return version("tidegate")
    except PackageNotFoundError:
        return "unknown"


def data_path() -> Literal["compiled", "pure"]:
    """Whether requests pass through machine code or through the interpreter."""
    return build_of(h1.__file__)


def build_of(file: str) -> Literal["compiled", "pure"]:
    """Which build a module comes from, by the file that it was loaded from."""
    return "pure" if file.endswith(".py") else "compiled"
