"""Hundreds of streams at once all live, and each costs little: the short form of 5,000 for a
minute (``python -m benchmarks.many_streams``).
"""

import json
from pathlib import Path

import pytest
from benchmarks import many_streams
from benchmarks.children import BenchError
from benchmarks.many_streams import Run, measure
from benchmarks.sidecars import PURE


def test_five_hundred_streams_live_for_five_seconds_without_an_error() -> None:
    result = measure(Run(streams=500, seconds=5.0, interval_s=0.5), PURE)
    assert (result.streams_open, result.streams_failed) == (500, 0)
    assert result.chunks_per_s > 100
    assert result.kb_per_stream < 32


def test_more_streams_than_there_are_descriptors_for_is_no_figure() -> None:
    with pytest.raises(BenchError, match=r"--streams must be at most \d+ \(ulimit -Hn\), was: "):
        measure(Run(streams=10**9), PURE)


def test_its_file_holds_the_figures_and_its_exit_code_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "streams.json"
    options = ["--pure", "--streams", "20", "--seconds", "1", "--interval", "0.1"]
    assert many_streams.main([*options, "--json", str(file)]) == 0
    told = json.loads(file.read_text())
    assert (told["streams_open"], told["streams_failed"]) == (20, 0)
    assert set(told) <= set(capsys.readouterr().out.split())
