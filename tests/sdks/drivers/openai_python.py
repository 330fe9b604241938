"""Python's ``openai``, 2.x and 3.x: everything that its users do."""

import base64
from typing import Any

import openai
from pydantic import BaseModel

import seen
from seen import Trail, collected

ASK: Any = [{"role": "user", "content": "How high is the tide? \u2028 \U0001f30a"}]
PNG = base64.b64encode(bytes(range(256)) * 400).decode()
PICTURE: Any = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ],
    }
]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
RESPONSES_TOOL: Any = {"type": "function", "strict": False, **TOOL["function"]}
STATUSES = (400, 401, 404, 429, 500, 503)


class Weather(BaseModel):
    """What a model is made to answer."""

    city: str
    degrees: int


def client(trail: Trail, retries: int = 0, **more: Any) -> openai.OpenAI:
    """A client whose answers are noted. From 3.0 on its transport is httpx2.

    ``verify`` spares the reading of all certificates, which no request here needs.
    """
    modern = int(openai.__version__.split(".")[0]) >= 3
    make: Any = openai.DefaultHttpx2Client if modern else openai.DefaultHttpxClient
    return openai.OpenAI(
        base_url=trail.base_url + "/v1",
        api_key="sk-test",
        max_retries=retries,
        default_headers=trail.headers,
        http_client=make(event_hooks={"response": [trail.note]}, verify=False),
        **more,
    )


def chat(trail: Trail, model: str = "tide", retries: int = 0, **more: Any) -> Any:
    with client(trail, retries) as api:
        return api.chat.completions.create(model=model, messages=more.pop("messages", ASK), **more)


def stream(trail: Trail, model: str = "tide", retries: int = 0, **more: Any) -> Any:
    with client(trail, retries) as api:
        messages = more.pop("messages", ASK)
        return collected(
            api.chat.completions.create(model=model, messages=messages, stream=True, **more)
        )


def parsed(trail: Trail) -> Any:
    with client(trail) as api:
        answer = api.chat.completions.parse(model="json", messages=ASK, response_format=Weather)
        return [answer, answer.choices[0].message.parsed]


def helper(trail: Trail) -> Any:
    with (
        client(trail) as api,
        api.chat.completions.stream(model="tide", messages=ASK, tools=[TOOL]) as events,
    ):
        return [collected(events), events.get_final_completion()]


def completions(trail: Trail) -> Any:
    with client(trail) as api:
        return api.completions.create(model="base", prompt="The tide")


def completions_stream(trail: Trail) -> Any:
    with client(trail) as api:
        return collected(api.completions.create(model="base", prompt="The tide", stream=True))


def embeddings(trail: Trail) -> Any:
    with client(trail) as api:
        packed = api.embeddings.create(model="embed", input=["ebb", "flood"])
        return [packed, api.embeddings.create(model="embed", input="a", encoding_format="float")]


def models(trail: Trail) -> Any:
    with client(trail) as api:
        return [list(api.models.list()), api.models.retrieve("org/ebb")]


def responses(trail: Trail, **more: Any) -> Any:
    with client(trail) as api:
        return api.responses.create(model="respond", input="When is high water?", **more)


def responses_stream(trail: Trail, model: str = "respond", **more: Any) -> Any:
    with client(trail) as api:
        return collected(api.responses.create(model=model, input="When?", stream=True, **more))


def responses_helper(trail: Trail) -> Any:
    with client(trail) as api, api.responses.stream(model="respond", input="When?") as events:
        return [collected(events), events.get_final_response()]


def speech(trail: Trail) -> Any:
    with client(trail) as api:
        return api.audio.speech.create(model="speak", voice="alloy", input="Hello").content


def transcription(trail: Trail) -> Any:
    with client(trail) as api:
        audio = ("a.wav", bytes(range(256)) * 100)
        return api.audio.transcriptions.create(model="hear", file=audio)


def kept_connection(trail: Trail) -> Any:
    """One after the other on one connection, after answers of each kind."""
    with client(trail) as api:
        got: list[Any] = []
        for model in ("tide", "error-400", "tide"):
            try:
                got.append(api.chat.completions.create(model=model, messages=ASK))
            except openai.BadRequestError as error:
                got.append(seen.fault(error))
            events = api.chat.completions.create(model="tide", messages=ASK, stream=True)
            got.append(collected(events))
        return got


def left(trail: Trail) -> Any:
    with client(trail) as api:
        events = api.chat.completions.create(model="hold", messages=ASK, stream=True)
        got = [next(events), next(events)]
        events.close()
        return [*got, api.models.retrieve("until-left")]


def patience(trail: Trail, model: str, streamed: bool) -> Any:
    with client(trail, timeout=2.0) as api:
        answer = api.chat.completions.create(model=model, messages=ASK, stream=streamed)
        return collected(answer) if streamed else answer


async def _waited(trail: Trail) -> Any:
    modern = int(openai.__version__.split(".")[0]) >= 3
    make: Any = openai.DefaultAsyncHttpx2Client if modern else openai.DefaultAsyncHttpxClient

    async def note(response: Any) -> None:
        trail.note(response)

    async with openai.AsyncOpenAI(
        base_url=trail.base_url + "/v1",
        api_key="sk-test",
        default_headers=trail.headers,
        http_client=make(event_hooks={"response": [note]}, verify=False),
    ) as api:
        events = await api.chat.completions.create(model="tide", messages=ASK, stream=True)
        got = [seen.plain(event) async for event in events]
        return [got, await api.chat.completions.create(model="tide", messages=ASK)]


def waited(trail: Trail) -> Any:
    import asyncio

    return asyncio.run(_waited(trail))


SCENARIOS: dict[str, seen.Scenario] = {
    "chat": chat,
    "chat-stream": stream,
    "chat-stream-usage": lambda t: stream(t, stream_options={"include_usage": True}),
    "chat-stream-null-usage": lambda t: stream(t, "null-usage"),
    "chat-stream-null-usage-asked": lambda t: stream(
        t, "null-usage", stream_options={"include_usage": True}
    ),
    "chat-stream-no-usage": lambda t: stream(t, stream_options={"include_usage": False}),
    "chat-stream-no-options": lambda t: stream(t, "no-options"),
    "chat-stream-seams": lambda t: stream(t, "seams"),
    "chat-stream-comments": lambda t: stream(t, "comments"),
    "chat-stream-crlf": lambda t: stream(t, "crlf"),
    "chat-helper": helper,
    "async": waited,
    "tools": lambda t: chat(t, tools=[TOOL]),
    "tools-stream": lambda t: stream(t, tools=[TOOL]),
    "json": lambda t: chat(t, "json", response_format={"type": "json_object"}),
    "json-stream": lambda t: stream(t, "json", response_format={"type": "json_object"}),
    "json-schema": parsed,
    "logprobs": lambda t: chat(t, logprobs=True, top_logprobs=1),
    "logprobs-stream": lambda t: stream(t, logprobs=True, top_logprobs=1),
    "choices": lambda t: chat(t, n=3),
    "choices-stream": lambda t: stream(t, n=3),
    "image": lambda t: chat(t, messages=PICTURE),
    "image-stream": lambda t: stream(t, messages=PICTURE),
    "completions": completions,
    "completions-stream": completions_stream,
    "embeddings": embeddings,
    "models": models,
    "responses": responses,
    "responses-stream": responses_stream,
    "responses-helper": responses_helper,
    "responses-tools": lambda t: responses(t, tools=[RESPONSES_TOOL]),
    "responses-tools-stream": lambda t: responses_stream(t, tools=[RESPONSES_TOOL]),
    "responses-failed": lambda t: responses_stream(t, "failed"),
    "responses-cut": lambda t: responses_stream(t, "cut-fin"),
    "speech": speech,
    "transcription": transcription,
    "kept-connection": kept_connection,
    **{f"error-{n}": (lambda t, n=n: chat(t, f"error-{n}")) for n in STATUSES},
    **{f"error-{n}-stream": (lambda t, n=n: stream(t, f"error-{n}")) for n in (400, 429, 500)},
    "error-event": lambda t: stream(t, "error-event"),
    "retries-429": lambda t: chat(t, "error-429", 2),
    "retries-503": lambda t: chat(t, "error-503", 2),
    "retries-flaky": lambda t: chat(t, "flaky-503", 2),
    "retries-flaky-stream": lambda t: stream(t, "flaky-500", 2),
    "retries-unwanted": lambda t: chat(t, "unwilling-500", 2),
    "left": left,
    "timeout": lambda t: patience(t, "stall", False),
    "timeout-stream": lambda t: patience(t, "hold", True),
    "cut-fin": lambda t: stream(t, "cut-fin"),
    "cut-reset": lambda t: stream(t, "cut-reset"),
    "unended": lambda t: stream(t, "unended"),
    "hang-up": lambda t: chat(t, "hang-up", 1),
}

if __name__ == "__main__":
    seen.run(f"openai {openai.__version__}", SCENARIOS)
