"""What a model server tells of itself: how many requests wait in it, and how full its cache is.

Law: pure; a page is read as it comes, in pieces, and never held. Each engine's words stand in one
table. What is not told is ``None``; a page without a known word is no engine's.
"""

import re
from typing import Final

from tidegate_wire.stats import EngineLoad

MAX_LINE_BYTES: Final = 64 * 1024
"""A line longer than this is no sample; its beginning is let go."""

_WAITING, _RUNNING, _KV_CACHE = "waiting", "running", "kv_cache_usage"
_WORDS: Final = {
    # vllm/v1/metrics/loggers.py; the cache's older name was for the GPU's alone.
    "vllm_num_requests_waiting": ("vllm", _WAITING),
    "vllm_num_requests_running": ("vllm", _RUNNING),
    "vllm_kv_cache_usage_perc": ("vllm", _KV_CACHE),
    "vllm_gpu_cache_usage_perc": ("vllm", _KV_CACHE),
    # sglang/srt/observability/metrics_collector.py; told where started with --enable-metrics
    "sglang_num_queue_reqs": ("sglang", _WAITING),
    "sglang_num_running_reqs": ("sglang", _RUNNING),
    "sglang_token_usage": ("sglang", _KV_CACHE),
    # text-generation-inference, docs/source/reference/metrics.md; it tells nothing of its cache
    "tgi_queue_size": ("tgi", _WAITING),
    "tgi_batch_current_size": ("tgi", _RUNNING),
    # llama.cpp, tools/server/README.md, with --metrics. What older builds told of the cache counts
    # what idle slots keep, too: it stays high once everybody is gone, and calls for no pod.
    "llamacpp_requests_deferred": ("llamacpp", _WAITING),
    "llamacpp_requests_processing": ("llamacpp", _RUNNING),
}
"""By the name with its colon as ``_``, which is how prometheus_client tells it to OpenMetrics
scrapers."""

_SAMPLE: Final = re.compile(
    rb"^((?:vllm|sglang|llamacpp)[:_]\w+|tgi_\w+)"
    rb'(\{(?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*\})?[ \t]+([^ \t\r\n]+)',
    re.MULTILINE,
)
_OTHER_RANK: Final = re.compile(rb'[{,](?:tp|pp)_rank="(?!0")')
"""A part of one model on another GPU tells the same queue again (SGLang's
``--enable-metrics-for-all-schedulers``)."""


class EnginePage:
    """One page, in pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._engine = ""
        self._found: dict[str, float] = {}

    def feed(self, piece: bytes) -> None:
        lines, newline, rest = (self._rest + piece).rpartition(b"\n")
        self._rest = rest if len(rest) <= MAX_LINE_BYTES else b""
        if newline:
            self._read(lines)

    def load(self) -> EngineLoad | None:
        """What the whole page tells, once all of it was fed; ``None``: no engine's words."""
        self._read(self._rest)
        self._rest = b""
        if not self._engine:
            return None
        waiting, running = self._found.get(_WAITING), self._found.get(_RUNNING)
        return EngineLoad(
            engine=self._engine,
            waiting=None if waiting is None else round(waiting),
            running=None if running is None else round(running),
            kv_cache_usage=self._found.get(_KV_CACHE),
        )

    def _read(self, lines: bytes) -> None:
        for name, labels, number in _SAMPLE.findall(lines):
            word = _WORDS.get(name.decode().replace(":", "_"))
            if word is None or _OTHER_RANK.search(labels):
                continue
            engine, kind = word
            try:
                value = float(number)
            except ValueError:
                continue
            if not 0 <= value < 1e9 or self._engine not in ("", engine):
                continue
            self._engine = engine
            known = self._found.get(kind)
            # Several engines of one server each have a queue; the fullest cache is the bottleneck.
            if known is not None:
                value = max(known, value) if kind == _KV_CACHE else known + value
            self._found[kind] = value
