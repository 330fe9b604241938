"""``curl``, as people type it: heads, bodies, exit codes and messages. Standard library only."""

import json
import re
import subprocess
from typing import Any

import seen
from seen import Trail

WITHIN_S = 60
ASK = [{"role": "user", "content": "How high is the tide? \u2028 \U0001f30a"}]
SHAPE = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SHAPE}}
JSON = ("-H", "content-type: application/json")
CHAT = "/v1/chat/completions"


def curl(trail: Trail, path: str, *flags: str, data: bytes | None = None) -> dict[str, Any]:
    """One command line; heads go to standard error's place in ``answers``, one by one."""
    command = ["curl", "-sS", "-D", "/dev/stderr", "-H", f"x-scenario: {trail.scenario}", *flags]
    if data is not None:
        command += ["--data-binary", "@-"]
    done = subprocess.run(
        [*command, trail.base_url + path], input=data, capture_output=True, timeout=WITHIN_S
    )
    said = done.stderr.decode("latin-1")
    while said.startswith("HTTP/"):
        head, _, said = said.partition("\r\n\r\n")
        trail.answers.append(_answer(head))
    got: dict[str, Any] = {"events": done.stdout.decode("latin-1").split("\n\n")}
    if done.returncode:
        text = re.sub(r"\d+ milliseconds", "some milliseconds", said)
        got["error"] = {"class": [f"exit {done.returncode}"], "text": text}
    return got


def _answer(head: str) -> dict[str, Any]:
    first, *lines = head.split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    headers = [[k.lower(), v] for k, v in pairs if k.lower() not in seen.PER_HOP]
    _, status, reason = first.split(" ", 2)  # each hop says its own version (RFC 9110, 2.5)
    return {"status": int(status), "reason": reason, "headers": headers}


def post(trail: Trail, path: str, value: Any, *flags: str) -> dict[str, Any]:
    return curl(trail, path, *JSON, *flags, data=json.dumps(value).encode())


def chat(model: str = "tide", *flags: str, **more: Any) -> seen.Scenario:
    return lambda t: post(t, CHAT, {"model": model, "messages": ASK, **more}, *flags)


def stream(model: str = "tide", *flags: str, **more: Any) -> seen.Scenario:
    return chat(model, "-N", *flags, stream=True, **more)


def messages(**more: Any) -> seen.Scenario:
    asked = {"model": "ebb", "max_tokens": 50, "messages": ASK, **more}
    return lambda t: post(t, "/v1/messages", asked, "-N", "-H", "anthropic-version: 2023-06-01")


def upload(*flags: str) -> seen.Scenario:
    """2 MB, for which curl asks first (``Expect: 100-continue``)."""
    return chat("tide", *flags, padding="tide" * 500_000)


def twice(trail: Trail) -> Any:
    """Two requests on one connection."""
    again = trail.base_url + "/v1/models"
    return curl(trail, "/v1/models", "-w", " %{num_connects}\n", again)


def left(trail: Trail) -> Any:
    return [stream("hold", "--max-time", "2")(trail), curl(trail, "/v1/models/until-left")]


def gets(path: str, *flags: str) -> seen.Scenario:
    return lambda t: curl(t, path, *flags)


SCENARIOS: dict[str, seen.Scenario] = {
    "chat": chat(),
    "chat-stream": stream(),
    "chat-stream-usage": stream(stream_options={"include_usage": True}),
    "chat-stream-null-usage-asked": stream("null-usage", stream_options={"include_usage": True}),
    "chat-stream-seams": stream("seams"),
    "chat-stream-comments": stream("comments"),
    "chat-stream-crlf": stream("crlf"),
    "tools-stream": stream(tools=[TOOL]),
    "embeddings": lambda t: post(t, "/v1/embeddings", {"model": "embed", "input": "ebb"}),
    "models": gets("/v1/models"),
    "responses-stream": lambda t: post(
        t, "/v1/responses", {"model": "respond", "input": "When?", "stream": True}, "-N"
    ),
    "speech": lambda t: post(t, "/v1/audio/speech", {"model": "speak", "input": "Hello"}),
    "transcription": lambda t: curl(t, "/v1/audio/transcriptions", "-F", f"file=@{__file__}"),
    "messages": messages(),
    "messages-stream": messages(stream=True),
    "head": gets("/v1/models", "--head", "-o", "/dev/null"),
    "http10": chat("tide", "--http1.0"),
    "http10-stream": stream("tide", "--http1.0"),
    "compressed": chat("tide", "--compressed"),
    "upload": upload(),
    "upload-chunked": upload("-H", "transfer-encoding: chunked"),
    "kept-connection": twice,
    **{f"error-{n}": chat(f"error-{n}") for n in (400, 401, 404, 429, 500, 503)},
    "error-429-stream": stream("error-429"),
    "error-event": stream("error-event"),
    "retries-429": chat("error-429", "--retry", "1"),
    "retries-503": chat("error-503", "--retry", "1", "--retry-delay", "1"),
    "left": left,
    "timeout": chat("stall", "--max-time", "2"),
    "cut-fin": stream("cut-fin"),
    "cut-reset": stream("cut-reset"),
    "unended": stream("unended"),
    "hang-up": chat("hang-up"),
}

if __name__ == "__main__":
    told = subprocess.run(["curl", "--version"], capture_output=True, check=True).stdout.decode()
    seen.run(" ".join(told.split()[:2]), SCENARIOS)
