"""Builds the sidecar's data path as machine code into the wheel, where that is asked for:
``HATCH_BUILD_HOOK_ENABLE_CUSTOM=true pip wheel .``

Law: the source stays as it is and nothing is written beside it, so that a checkout never runs what
an earlier build left behind. The same files run uncompiled; a wheel made without this hook is pure
and does the same, slower. What is compiled stands in ``pyproject.toml`` and nowhere else.

hatch-mypyc 0.16 would be the library for this, but it takes a project whose packages lie in one
folder only, and builds in place.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "sidecar"
LIBRARY = "tidegate"
"""The one library that holds all compiled modules: calls between them are calls in C."""


class CompiledDataPath(BuildHookInterface):  # type: ignore[type-arg]
    """A build hook; named in ``pyproject.toml``, found by hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel take what came of it. An editable install stays pure."""
        if version != "standard":
            return
        self._folder = TemporaryDirectory(prefix="tidegate-compiled-")
        out = Path(self._folder.name)
        compile_modules(Path(self.root), self.config["modules"], out)
        for library in (out / "lib").rglob("*.so"):
            build_data["force_include"][str(library)] = str(library.relative_to(out / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written: nothing of the build is needed any more."""
        if version == "standard":
            self._folder.cleanup()


def compile_modules(root: Path, modules: list[str], out: Path) -> None:
    """Compile modules given by their dotted names; what is to be installed is in ``out/lib``."""
    # Setuptools first: mypyc takes what it finds of the two that can build an extension.
    from setuptools import Distribution  # isort: skip
    from mypyc.build import mypycify

    os.chdir(root)  # mypy finds its settings here
    files = [f"{SOURCE}/{name.replace('.', '/')}.py" for name in modules]
    extensions = mypycify(
        ["--no-incremental", *files], target_dir=str(out / "c"), group_name=LIBRARY
    )
    build = Distribution({"name": LIBRARY, "ext_modules": extensions}).get_command_obj("build_ext")
    build.build_lib, build.build_temp = str(out / "lib"), str(out / "o")
    build.ensure_finalized()
    build.run()
