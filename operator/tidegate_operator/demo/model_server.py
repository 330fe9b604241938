"""A simulated OpenAI-compatible model server: real sockets, real queueing, made-up words.

Law: to its clients it is a model server like any other; only its admin door (another port) knows
that it is a simulation. It runs on the injected clock and counts every token it hands out, so that
others can be held to its count.
"""

import argparse
import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidegate_operator.demo.http1 import Listener, Reply, Request, listen
from tidegate_operator.demo.model_engine import (
    Engine,
    Fault,
    Job,
    Knobs,
    QueueFullError,
    count_prompt_tokens,
    render_metrics,
)
from tidegate_wire.clock import Clock

EMBEDDING_SIZE = 8
TOTALS_EVERY_S = 0.5
"""Real time between two writes of the totals file, for whoever ends this process by force."""

_REFUSALS: dict[Fault, tuple[int, str, str]] = {
    Fault.RATE_LIMIT: (429, "rate_limit_exceeded", "injected: rate limit reached"),
    Fault.SERVER_ERROR: (500, "server_error", "injected: internal server error"),
    Fault.CONTEXT_LENGTH: (400, "context_length_exceeded", "injected: context too long"),
    Fault.MODEL_NOT_FOUND: (404, "model_not_found", "injected: model not found"),
    Fault.INVALID_REQUEST: (400, "invalid_request_error", "injected: invalid request"),
    Fault.INVALID_API_KEY: (401, "invalid_api_key", "injected: invalid API key"),
}


def refuse(reply: Reply, status: int, code: str, message: str) -> None:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    reply.send_json(status, {"error": error})


class ModelServer:
    """Routes of both doors."""

    def __init__(self, model: str, engine: Engine, clock: Clock, ready_at: float) -> None:
        self.model = model
        self.engine = engine
        self._clock = clock
        self._ready_at = ready_at
        self._served = 0

    async def serve(self, request: Request, reply: Reply) -> None:
        """The model server's own door."""
        match request.method, request.path:
            case "GET", "/health" | "/ready":
                reply.send_json(200 if self._loaded() else 503, {"loaded": self._loaded()})
            case "GET", "/metrics":
                body = render_metrics(self.engine, self.model)
                reply.send(200, body, "text/plain; version=0.0.4; charset=utf-8")
            case "GET", "/v1/models":
                card = {"id": self.model, "object": "model", "created": 0, "owned_by": "tidegate"}
                reply.send_json(200, {"object": "list", "data": [card]})
            case "POST", "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings":
                await self._infer(request, reply)
            case _:
                refuse(reply, 404, "not_found", f"{request.method} {request.path} is not here")

    async def control(self, request: Request, reply: Reply) -> None:
        """The admin door: totals, and faults at run time."""
        match request.method, request.path:
            case "GET", "/totals":
                live = {"running": self.engine.slots.running, "waiting": self.engine.slots.waiting}
                reply.send_json(200, {**self.engine.totals.to_value(), **live})
            case "POST", "/control":
                try:
                    apply_control(self.engine.knobs, json.loads(request.body))
                except (ValueError, TypeError) as error:
                    refuse(reply, 400, "invalid_request_error", str(error))
                else:
                    reply.send_json(
                        200, {"failure_rate": self.engine.knobs.failure_injection_rate}
                    )
            case _:
                refuse(reply, 404, "not_found", f"{request.method} {request.path} is not here")

    def _loaded(self) -> bool:
        return self._clock.monotonic() >= self._ready_at

    async def _infer(self, request: Request, reply: Reply) -> None:
        try:
            body = json.loads(request.body)
            if not isinstance(body, dict):
                raise ValueError("must be an object")
        except ValueError as error:
            self.engine.totals.refused += 1
            return refuse(reply, 400, "invalid_request_error", f"body must be JSON: {error}")
        if not self._accepts(body, reply) or not await self._spares(reply):
            self.engine.totals.refused += 1
            return None
        self._served += 1
        if request.path == "/v1/embeddings":
            return self._embed(body, reply)
        chat = request.path == "/v1/chat/completions"
        max_tokens = body.get("max_completion_tokens", body.get("max_tokens"))
        job = self.engine.plan(count_prompt_tokens(body), max_tokens)
        try:
            if body.get("stream"):
                await self._stream(body, job, chat, reply)
            else:
                await self._answer(job, chat, reply)
        except QueueFullError:
            self.engine.totals.refused += 1
            refuse(reply, 429, "queue_full", "too many requests are waiting")
        return None

    def _accepts(self, body: dict[str, Any], reply: Reply) -> bool:
        """Whether the request can be run at all; answered with its error where not."""
        model = body.get("model", self.model)
        max_tokens = body.get("max_completion_tokens", body.get("max_tokens"))
        if not self._loaded():
            refuse(reply, 503, "loading", "the model is still being loaded")
        elif model != self.model:
            refuse(reply, 404, "model_not_found", f"the model {model!r} does not exist")
        elif max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
            refuse(
                reply, 400, "invalid_request_error", f"max_tokens must be >= 1, was: {max_tokens}"
            )
        elif count_prompt_tokens(body) + (max_tokens or 1) > self.engine.knobs.max_model_len:
            limit = self.engine.knobs.max_model_len
            refuse(
                reply, 400, "context_length_exceeded", f"prompt and answer exceed {limit} tokens"
            )
        else:
            return True
        return False

    async def _spares(self, reply: Reply) -> bool:
        """Whether no fault was drawn for this request; played out where one was."""
        fault = self.engine.draw_fault()
        if fault is None:
            return True
        if fault is Fault.HANG:
            await asyncio.Event().wait()  # until the client goes away and this task is cancelled
        elif fault is Fault.GARBAGE:
            reply.send(200, b"\x00<html>not what you asked for", "application/json")
        elif fault is Fault.CUT:
            reply.begin(200, "text/event-stream")
            reply.write(b'data: {"id":"cut","object":"chat.completion.chunk","choices":[{"ind')
            await asyncio.sleep(0)
            reply.cut()
        else:
            refuse(reply, *_REFUSALS[fault])
        return False

    def _embed(self, body: dict[str, Any], reply: Reply) -> None:
        raw = body.get("input", "")
        texts = raw if isinstance(raw, list) and not all(type(t) is int for t in raw) else [raw]
        tokens = count_prompt_tokens(body)
        self.engine.totals.requests += 1
        self.engine.totals.prompt_tokens += tokens
        data = [
            {"object": "embedding", "index": i, "embedding": embed(json.dumps(text))}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        reply.send_json(200, {"object": "list", "model": self.model, "data": data, "usage": usage})

    async def _answer(self, job: Job, chat: bool, reply: Reply) -> None:
        text = "".join([piece async for _, piece in self.engine.run(job)])
        choice: dict[str, Any] = {"index": 0, "finish_reason": job.finish_reason}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        body = self._envelope(chat, "chat.completion") | {
            "choices": [choice],
            "usage": usage_of(job),
        }
        reply.send_json(200, body)

    async def _stream(self, body: dict[str, Any], job: Job, chat: bool, reply: Reply) -> None:
        envelope = self._envelope(chat, "chat.completion.chunk")
        sent = 0
        async for tokens, piece in self.engine.run(job):
            if not reply.started:
                reply.begin(200, "text/event-stream; charset=utf-8")
            sent += tokens
            choice: dict[str, Any] = {"index": 0, "finish_reason": None}
            if sent == job.output_tokens:
                choice["finish_reason"] = job.finish_reason
            choice |= {"delta": {"content": piece}} if chat else {"text": piece}
            reply.write(as_event(envelope | {"choices": [choice]}))
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            reply.write(as_event(envelope | {"choices": [], "usage": usage_of(job)}))
        reply.write(b"data: [DONE]\n\n")
        reply.end()

    def _envelope(self, chat: bool, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if chat else "cmpl"
        return {
            "id": f"{prefix}-{self._served}",
            "object": kind if chat else "text_completion",
            "created": int(self._clock.now()),
            "model": self.model,
        }


def as_event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def usage_of(job: Job) -> dict[str, int]:
    return {
        "prompt_tokens": job.prompt_tokens,
        "completion_tokens": job.output_tokens,
        "total_tokens": job.prompt_tokens + job.output_tokens,
    }


def embed(text: str) -> list[float]:
    """A vector that equal texts share; it means nothing."""
    digest = hashlib.sha256(text.encode()).digest()
    return [round(byte / 127.5 - 1, 4) for byte in digest[:EMBEDDING_SIZE]]


def apply_control(knobs: Knobs, body: Any) -> None:
    """Change the faults of a running server; raises ``ValueError`` with field, rule and value."""
    if not isinstance(body, dict) or not set(body) <= {"failure_rate", "failure_types"}:
        raise ValueError(f"control takes failure_rate and failure_types, was: {body!r:.80}")
    rate = body.get("failure_rate", knobs.failure_injection_rate)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise ValueError(f"failure_rate must be between 0 and 1, was: {rate!r}")
    if "failure_types" in body:
        knobs.failure_types = read_faults(body["failure_types"])
    knobs.failure_injection_rate = float(rate)


def read_faults(names: Sequence[str]) -> tuple[Fault, ...]:
    """Fault names as values; raises ``ValueError``."""
    known = [str(fault) for fault in Fault]
    for name in names:
        if name not in known:
            raise ValueError(f"failure type must be one of {', '.join(known)}, was: {name!r}")
    return tuple(Fault(name) for name in names)


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="model_server", description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--admin-port", type=int, help="totals and faults; none by default")
    parser.add_argument("--model", default="llama-70b")
    parser.add_argument("--startup-delay", type=float, default=0.0, help="seconds until ready")
    parser.add_argument("--totals-file", type=Path, help="kept up to date with the totals")
    defaults = Knobs()
    for name in Knobs.__dataclass_fields__:
        value, option = getattr(defaults, name), f"--{name.replace('_', '-')}"
        if name == "failure_types":
            parser.add_argument(option, type=lambda s: read_faults(s.split(",")), default=value)
        else:
            parser.add_argument(option, type=type(value), default=value)
    return parser.parse_args(argv)


async def write_totals(path: Path, engine: Engine) -> None:
    """Keep ``path`` at the totals, until cancelled; whole files only."""
    written = b""
    while True:
        written = save_totals(path, engine, written)
        await asyncio.sleep(TOTALS_EVERY_S)


def save_totals(path: Path, engine: Engine, written: bytes) -> bytes:
    body = json.dumps(engine.totals.to_value()).encode()
    if body != written:
        draft = path.with_name(path.name + ".new")
        draft.write_bytes(body)
        draft.replace(path)
    return body


async def drain(engine: Engine, clock: Clock, patience_s: float = 60.0) -> None:
    """Wait until nothing runs or waits any more."""
    deadline = clock.monotonic() + patience_s
    while (engine.slots.running or engine.slots.waiting) and clock.monotonic() < deadline:
        await asyncio.sleep(0.01)


async def run(arguments: argparse.Namespace, clock: Clock) -> int:
    """Serve until SIGTERM or SIGINT, finish what runs, leave the totals behind."""
    knobs = Knobs(**{name: getattr(arguments, name) for name in Knobs.__dataclass_fields__})
    engine = Engine(knobs, clock)
    server = ModelServer(
        arguments.model, engine, clock, clock.monotonic() + arguments.startup_delay
    )
    listeners: list[Listener] = []
    try:
        listeners.append(await listen(server.serve, arguments.host, arguments.port))
        if arguments.admin_port is not None:
            listeners.append(await listen(server.control, arguments.host, arguments.admin_port))
    except OSError as error:
        print(f"model_server: {error}", file=sys.stderr)
        return 1
    ports = [listener.port for listener in listeners]
    print(json.dumps({"event": "listening", "ports": ports}), flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    writer = None
    if arguments.totals_file is not None:
        writer = asyncio.ensure_future(write_totals(arguments.totals_file, engine))
    await stop.wait()
    await drain(engine, clock)
    for listener in listeners:
        listener.close()
    if writer is not None:
        writer.cancel()
        save_totals(arguments.totals_file, engine, b"")
    return 0


def main() -> int:
    arguments = read_arguments(sys.argv[1:])
    clock = Clock.from_env(os.environ)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(run(arguments, clock))
    return uvloop.run(run(arguments, clock))
