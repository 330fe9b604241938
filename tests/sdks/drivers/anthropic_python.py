"""Python's ``anthropic``: everything that its users do."""

import base64
from typing import Any

import anthropic

import seen
from seen import Trail, collected

ASK: Any = [{"role": "user", "content": "How high is the tide? \u2028 \U0001f30a"}]
PNG = base64.b64encode(bytes(range(256)) * 400).decode()
SOURCE = {"type": "base64", "media_type": "image/png", "data": PNG}
PICTURE: Any = [{"role": "user", "content": [{"type": "image", "source": SOURCE}]}]
TOOL: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def client(trail: Trail, retries: int = 0, **more: Any) -> anthropic.Anthropic:
    http = anthropic.DefaultHttpxClient(event_hooks={"response": [trail.note]}, verify=False)
    return anthropic.Anthropic(
        base_url=trail.base_url,
        api_key="sk-test",
        max_retries=retries,
        default_headers=trail.headers,
        http_client=http,
        **more,
    )


def ask(trail: Trail, model: str = "ebb", retries: int = 0, **more: Any) -> Any:
    with client(trail, retries) as api:
        messages = more.pop("messages", ASK)
        return api.messages.create(model=model, max_tokens=50, messages=messages, **more)


def stream(trail: Trail, model: str = "ebb", retries: int = 0, **more: Any) -> Any:
    with client(trail, retries) as api:
        return collected(
            api.messages.create(model=model, max_tokens=50, messages=ASK, stream=True, **more)
        )


def helper(trail: Trail, **more: Any) -> Any:
    with (
        client(trail) as api,
        api.messages.stream(model="ebb", max_tokens=50, messages=ASK, **more) as events,
    ):
        return [collected(events), events.get_final_message()]


def count_tokens(trail: Trail) -> Any:
    with client(trail) as api:
        return api.messages.count_tokens(model="ebb", messages=ASK)


def models(trail: Trail) -> Any:
    with client(trail) as api:
        return list(api.models.list())


def kept_connection(trail: Trail) -> Any:
    """One after the other on one connection, after answers of each kind."""
    with client(trail) as api:
        got: list[Any] = []
        for model in ("ebb", "error-400", "ebb"):
            try:
                got.append(api.messages.create(model=model, max_tokens=50, messages=ASK))
            except anthropic.BadRequestError as error:
                got.append(seen.fault(error))
            events = api.messages.create(model="ebb", max_tokens=50, messages=ASK, stream=True)
            got.append(collected(events))
        return got


def left(trail: Trail) -> Any:
    with client(trail) as api:
        events = api.messages.create(model="hold", max_tokens=50, messages=ASK, stream=True)
        got = [next(events), next(events)]
        events.close()
        return [*got, api.models.retrieve("until-left")]


def patience(trail: Trail, model: str, streamed: bool) -> Any:
    with client(trail, timeout=2.0) as api:
        answer = api.messages.create(model=model, max_tokens=50, messages=ASK, stream=streamed)
        return collected(answer) if streamed else answer


SCENARIOS: dict[str, seen.Scenario] = {
    "messages": ask,
    "messages-stream": stream,
    "messages-stream-seams": lambda t: stream(t, "seams"),
    "messages-helper": helper,
    "tools": lambda t: ask(t, tools=[TOOL]),
    "tools-stream": lambda t: stream(t, tools=[TOOL]),
    "tools-helper": lambda t: helper(t, tools=[TOOL]),
    "image": lambda t: ask(t, messages=PICTURE),
    "count-tokens": count_tokens,
    "models": models,
    "kept-connection": kept_connection,
    **{
        f"error-{n}": (lambda t, n=n: ask(t, f"error-{n}"))
        for n in (400, 401, 404, 429, 500, 503, 529)
    },
    **{f"error-{n}-stream": (lambda t, n=n: stream(t, f"error-{n}")) for n in (400, 429, 500)},
    "error-event": lambda t: stream(t, "error-event"),
    "retries-429": lambda t: ask(t, "error-429", 2),
    "retries-503": lambda t: ask(t, "error-503", 2),
    "retries-flaky": lambda t: ask(t, "flaky-529", 2),
    "retries-flaky-stream": lambda t: stream(t, "flaky-500", 2),
    "left": left,
    "timeout": lambda t: patience(t, "stall", False),
    "timeout-stream": lambda t: patience(t, "hold", True),
    "cut-fin": lambda t: stream(t, "cut-fin"),
    "cut-reset": lambda t: stream(t, "cut-reset"),
    "unended": lambda t: stream(t, "unended"),
    "hang-up": lambda t: ask(t, "hang-up", 1),
}

if __name__ == "__main__":
    seen.run(f"anthropic {anthropic.__version__}", SCENARIOS)
