"""What the images say of themselves, read from their Containerfiles."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = sorted((ROOT / "images").glob("*.Containerfile"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def instructions(path: Path) -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) with continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def final_stage(path: Path) -> list[tuple[str, str]]:
    steps = instructions(path)
    last = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
    return steps[last:]


def test_there_is_one_for_each_deployable() -> None:
    assert [path.stem for path in OURS] == ["operator", "sidecar"]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
class TestAnImage:
    def test_stands_on_a_base_of_the_builder_s_choice(self, path: Path) -> None:
        assert instructions(path)[0] == ("ARG", "BASE=python:3.11-slim")
        assert final_stage(path)[0] == ("FROM", "${BASE}")

    def test_is_installed_from_the_lock_with_hashes(self, path: Path) -> None:
        installs = [rest for word, rest in instructions(path) if word == "RUN" and " -r " in rest]
        assert installs
        assert all("--require-hashes --only-binary :all:" in rest for rest in installs)
        assert any(f"locks/{path.stem}.txt" in rest for rest in installs)

    def test_runs_as_a_numbered_nobody_and_ends_on_sigterm(self, path: Path) -> None:
        stage = final_stage(path)
        assert ("USER", "65532:65532") in stage
        assert ("STOPSIGNAL", "SIGTERM") in stage

    def test_says_what_it_is(self, path: Path) -> None:
        (labels,) = [rest for word, rest in final_stage(path) if word == "LABEL"]
        said = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', labels))
        assert said.keys() == {"title", "description", "version", "licenses"}
        assert said["title"] == f"tidegate-{path.stem}"
        assert ("ARG", f"VERSION={VERSION}") in final_stage(path)

    def test_starts_its_process_itself_so_that_it_hears_the_signal(self, path: Path) -> None:
        (entry,) = [rest for word, rest in final_stage(path) if word == "ENTRYPOINT"]
        assert entry == f'["/opt/tidegate/bin/tidegate-{path.stem}"]'


def test_the_sidecar_s_image_is_compiled_unless_asked_otherwise_and_checks_that_it_is() -> None:
    steps = instructions(ROOT / "images" / "sidecar.Containerfile")
    assert ("ARG", "COMPILE=1") in steps
    runs = [rest for word, rest in steps if word == "RUN"]
    assert "HATCH_BUILD_HOOK_ENABLE_CUSTOM=" in runs[-2]
    assert "tidegate-sidecar --version | grep" in runs[-1]
    assert not any("gcc" in rest for _, rest in final_stage(OURS[1]))
