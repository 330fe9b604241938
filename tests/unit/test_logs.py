"""One JSON line for each change, without what must never be logged."""

import json
import logging
from collections.abc import Iterator

import pytest

from tidegate_operator import logs
from tidegate_wire.clock import Clock


@pytest.fixture(autouse=True)
def _own_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_change_is_one_line_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("hub", Clock(1.0, origin=0.0))
    logs.event("scaled", before=2, after=3)
    (line,) = capsys.readouterr().out.splitlines()
    body = json.loads(line)
    assert body.pop("ts").startswith("1970-01-01T00:00:0")
    assert body == {"process": "hub", "event": "scaled", "before": 2, "after": 3}


def test_a_bearer_token_never_reaches_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("hub", Clock())
    try:
        raise RuntimeError("headers={'Authorization': 'Bearer planted.secret-1'}")
    except RuntimeError:
        logs.failure("stray", note="authorization: bearer planted.secret-2")
    logging.getLogger("library").warning("sent %s", "Bearer planted.secret-3")
    out = capsys.readouterr().out
    assert "planted" not in out
    assert out.count("[redacted]") >= 3
    assert len(out.splitlines()) == 2
