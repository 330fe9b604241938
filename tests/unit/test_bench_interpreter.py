"""A benchmark says how the Python was built that it measures, and tells one without profiles from
those that a sidecar's users have.
"""

import pytest
from benchmarks.interpreter import Interpreter, this_one

PYENVS = "'--prefix=/home/me/.pyenv/versions/3.11.7' '--enable-shared'"
IMAGES = "'--build=x86_64-linux-gnu' '--enable-optimizations' '--enable-shared' '--with-lto'"


@pytest.mark.parametrize(
    ("prefix", "configured", "optimised", "said"),
    [
        pytest.param(
            "/usr",
            "'--enable-shared' '--prefix=/usr'",
            True,
            "Python 3.11.2 of Debian 12",
            id="a distribution's is optimised, whatever its flags do not say",
        ),
        pytest.param(
            "/usr/local",
            IMAGES,
            True,
            "Python 3.11.2, built with --enable-optimizations --with-lto",
            id="an image's says so itself",
        ),
        pytest.param(
            "/usr/local",
            "'--enable-optimizations'",
            True,
            "Python 3.11.2, built with --enable-optimizations",
            id="profiles suffice, and what is not there is not named",
        ),
        pytest.param(
            "/home/me/.pyenv/versions/3.11.7",
            PYENVS,
            False,
            "Python 3.11.2, built with no optimisation",
            id="pyenv's is not, and its path is not told",
        ),
        pytest.param(
            "/opt/python",
            "",
            False,
            "Python 3.11.2, built with no optimisation",
            id="one that says nothing is taken for none",
        ),
        pytest.param(
            "/usr/local",
            "'--with-lto'",
            False,
            "Python 3.11.2, built with --with-lto",
            id="optimised linking alone is not enough",
        ),
    ],
)
def test_a_python_is_described_by_how_it_was_built(
    prefix: str, configured: str, optimised: bool, said: str
) -> None:
    python = Interpreter("3.11.2", prefix, configured, system="Debian 12")
    assert (python.optimised, python.described()) == (optimised, said)


def test_the_one_that_runs_is_described_without_a_path() -> None:
    assert this_one().described().startswith("Python 3.")
    assert this_one().prefix not in this_one().described()
