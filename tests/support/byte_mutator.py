"""Bytes that are nearly right: small damage done to good messages.

Law: the same seed does the same damage, so a failure is told by its seed alone.
"""

from random import Random

_MAX_BYTES = 8192
"""Doubling is what grows: without a bound a long run would be spent on a few huge messages."""


class Mutator:
    """Damages messages from a corpus, one to six times each."""

    def __init__(
        self, corpus: list[bytes], words: list[bytes], seed: int, line_end: bytes = b"\r\n"
    ) -> None:
        """``line_end``: what lines are moved about by."""
        self._corpus = corpus
        self._words = words
        self._random = Random(seed)
        self._line_end = line_end
        self._ways = (
            self._flip,
            self._put_byte,
            self._put_word,
            self._replace_by_word,
            self._remove,
            self._double,
            self._splice,
            self._swap_lines,
            self._number,
        )

    def next(self) -> bytes:
        """The next damaged message."""
        data = self._random.choice(self._corpus)
        # Mostly little: what is damaged all over is refused at its first byte.
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 6))):
            data = self._random.choice(self._ways)(data)[:_MAX_BYTES]
        return data

    def _at(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._at(data)
        return start, min(len(data), start + self._random.choice((1, 1, 2, 4, 16, 64)))

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self._random.randrange(8))]) + data[at + 1 :]

    def _put_byte(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + bytes([self._random.randrange(256)]) + data[at:]

    def _put_word(self, data: bytes) -> bytes:
        at = self._line_start(data) if self._random.random() < 0.5 else self._at(data)
        return data[:at] + self._random.choice(self._words) + data[at:]

    def _replace_by_word(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + self._random.choice(self._words) + data[end:]

    def _remove(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _double(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:end] + data[start:end] + data[end:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self._corpus)
        return data[: self._line_start(data)] + other[self._line_start(other) :]

    def _swap_lines(self, data: bytes) -> bytes:
        lines = data.split(self._line_end)
        a, b = self._random.randrange(len(lines)), self._random.randrange(len(lines))
        lines[a], lines[b] = lines[b], lines[a]
        return self._line_end.join(lines)

    def _number(self, data: bytes) -> bytes:
        """Change a digit: lengths and sizes are what framing hangs on."""
        digits = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
        if not digits:
            return data
        at = self._random.choice(digits)
        return data[:at] + b"%x" % self._random.randrange(16) + data[at + 1 :]

    def _line_start(self, data: bytes) -> int:
        size = len(self._line_end)
        ends = [at + size for at in range(len(data)) if data[at : at + size] == self._line_end]
        return self._random.choice(ends) if ends else 0
