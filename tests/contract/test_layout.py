"""The repository's shape, where a slip would break far from its cause."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `-P` is unused on purpose: we want the root on sys.path, as `python -m` puts it there.
STDLIB_PROBE = (
    "import sys; sys.modules.pop('operator', None); import operator; print(operator.__file__)"
)
SIDECAR = ("__main__", "serve", "proxy", "meter", "agent", "admin")
HEAVY = (
    *("kopf", "kubernetes", "numpy", "scipy", "sklearn", "prometheus_client", "typer", "rich"),
    *("yaml", "tidegate_operator"),
)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("folder", ["operator", "sidecar"])
def test_a_plain_folder_is_no_package(folder: str) -> None:
    """operator/__init__.py would shadow the standard library for all that runs from the root."""
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_the_standard_librarys_operator_is_importable_from_the_root() -> None:
    assert not Path(run(STDLIB_PROBE)).is_relative_to(ROOT)


def test_the_sidecar_loads_nothing_of_the_operator_and_nothing_heavy() -> None:
    modules = ", ".join(f"tidegate_sidecar.{name}" for name in SIDECAR)
    code = f"import sys, uvloop, {modules}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    assert run(code) == ""


def test_the_contract_of_both_needs_the_standard_library_alone() -> None:
    code = (
        "import sys, tidegate_wire.clock, tidegate_wire.config, tidegate_wire.stats; "
        "tops = {m.partition('.')[0] for m in sys.modules if not m.startswith('_')}; "
        # The interpreter itself loads what .pth files in site-packages name.
        "before = {'site', 'sitecustomize', 'usercustomize', 'distutils-precedence'}; "
        "print(*sorted(t for t in tops - sys.stdlib_module_names - before if t[0] != '_'))"
    )
    assert set(run(code).split()) <= {"tidegate_wire"}
