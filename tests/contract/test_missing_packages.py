"""An installation without an extra says which one is missing, in one line."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {package!r}", name={package!r})
sys.meta_path.insert(0, Missing())
sys.argv = {argv!r}
from {module} import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "argv", "package", "line"),
    [
        pytest.param(
            "tidegate_operator.cli.__main__",
            ["tidegate", "status"],
            "typer",
            'tidegate needs the package typer: pip install "tidegate[cli]"',
            id="the command line without its extra",
        ),
        pytest.param(
            "tidegate_operator.cli.__main__",
            ["tidegate", "demo"],
            "celpy",
            'tidegate demo needs the package celpy: pip install "tidegate[demo]"',
            id="the demo without its extra",
        ),
        pytest.param(
            "tidegate_operator.cli.__main__",
            ["tidegate", "backtest"],
            "numpy",
            'tidegate backtest needs the package numpy: pip install "tidegate[cli,operator]"',
            id="a backtest without numerics",
        ),
        pytest.param(
            "tidegate_operator.__main__",
            ["tidegate-operator", "reconcile"],
            "kopf",
            'tidegate-operator: needs the package kopf: pip install "tidegate[operator]"',
            id="the reconciler without its extra",
        ),
        pytest.param(
            "tidegate_operator.__main__",
            ["tidegate-operator", "hub"],
            "cryptography",
            'tidegate-operator: needs the package cryptography: pip install "tidegate[operator]"',
            id="the hub without its extra",
        ),
    ],
)
def test_a_missing_package_is_one_line(
    module: str, argv: list[str], package: str, line: str
) -> None:
    code = WITHOUT.format(module=module, argv=argv, package=package)
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert out.returncode != 0
    # A terminal's width may wrap the line.
    assert line in " ".join(out.stderr.split()), out.stderr
    assert "Traceback" not in out.stderr
