"""One JSON line for each change of the world, on standard output.

Law: never headers, prompts, completions, keys or tokens; an unchanged tick says nothing.
Libraries' own logging joins in the same form from WARNING on, without tracebacks' local values.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from tidegate_wire.clock import Clock

_CREDENTIALS = re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+")
_LOGGER = logging.getLogger("tidegate")


class _Lines(logging.Formatter):
    def __init__(self, process: str, clock: Clock) -> None:
        super().__init__()
        self._process = process
        self._clock = clock

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"ts": at, "process": self._process}
        fields = getattr(record, "fields", None)
        if fields is None:
            line |= {"event": "log", "level": record.levelname.lower(), "logger": record.name}
            line["message"] = record.getMessage()
        else:
            line |= fields
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # A second net: some libraries' exceptions carry a request's headers in their repr.
        return _CREDENTIALS.sub(r"\1[redacted]", json.dumps(line, default=str))


def setup(process: str, clock: Clock) -> None:
    """Send everything to standard output in our form; to be called once, by a process's main."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Lines(process, clock))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(logging.INFO)


def event(name: str, **fields: object) -> None:
    """Tell one change."""
    _LOGGER.info(name, extra={"fields": {"event": name, **fields}})


def failure(name: str, **fields: object) -> None:
    """Tell one fault of our own, with the traceback of the exception that is being handled."""
    _LOGGER.error(name, exc_info=True, extra={"fields": {"event": name, **fields}})
