"""A sidecar says which build it is; and no module of it is left out of the compiled one by
oversight.
"""

import tomllib
from pathlib import Path

import pytest

from tidegate_sidecar import h1, version

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPILED = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
UNCOMPILED = {
    *("__init__", "__main__", "admin", "agent", "inforce", "leave", "logs", "serve", "settings"),
    *(
        "version",
        "bounds",
        "dial",
        "listen",
        "engine",
        "scrape",
        "dialect.__init__",
        "dialect.schema",
    ),
}
"""Shells that see no request of a client's; and shapes whose annotations msgspec has to read."""


def modules() -> set[str]:
    package = ROOT / "sidecar" / "tidegate_sidecar"
    files = [file.relative_to(package).with_suffix("") for file in package.rglob("*.py")]
    return {".".join(file.parts) for file in files}


def test_each_module_is_compiled_or_known_not_to_be() -> None:
    assert modules() == {name.removeprefix("tidegate_sidecar.") for name in COMPILED} | UNCOMPILED


@pytest.mark.parametrize(
    ("file", "build"),
    [
        pytest.param("/x/h1.py", "pure", id="source is pure"),
        pytest.param("/x/h1.cpython-311-x86_64-linux-gnu.so", "compiled", id="a library is not"),
    ],
)
def test_the_build_is_told_by_what_is_loaded(file: str, build: str) -> None:
    assert version.build_of(file) == build


def test_this_process_tells_its_own() -> None:
    assert version.data_path() == version.build_of(str(h1.__file__))
