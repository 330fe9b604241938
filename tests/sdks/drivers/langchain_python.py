"""LangChain's ``ChatOpenAI`` and ``OpenAIEmbeddings``: everything that their users do."""

import asyncio
import base64
from importlib.metadata import version
from typing import Any

import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

import seen
from seen import Trail, collected

ASK = "How high is the tide? \u2028 \U0001f30a"
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


class Weather(BaseModel):
    """What a model is made to answer."""

    city: str
    degrees: int


def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return city


def http(trail: Trail) -> Any:
    """``verify`` spares the reading of all certificates, which no request here needs."""
    return openai.DefaultHttpx2Client(event_hooks={"response": [trail.note]}, verify=False)


def model(trail: Trail, name: str = "tide", **more: Any) -> ChatOpenAI:
    async def note(response: Any) -> None:
        trail.note(response)

    async_http = openai.DefaultAsyncHttpx2Client(event_hooks={"response": [note]}, verify=False)
    options: dict[str, Any] = {
        "model": name,
        "base_url": trail.base_url + "/v1",
        "api_key": "sk-test",
        "max_retries": 0,
        "default_headers": trail.headers,
        "http_client": http(trail),
        "http_async_client": async_http,
    }
    return ChatOpenAI(**{**options, **more})


def told(message: Any) -> Any:
    """A message as its caller can read it; ids of runs are made up at random."""
    dumped = message.model_dump(mode="json")
    if str(dumped.get("id")).startswith(("run-", "lc_run-")):
        dumped["id"] = "run"
    return dumped


def ask(trail: Trail, name: str = "tide", prompt: Any = ASK, **more: Any) -> Any:
    return told(model(trail, name, **more).invoke(prompt))


def stream(trail: Trail, name: str = "tide", prompt: Any = ASK, **more: Any) -> Any:
    return collected(model(trail, name, **more).stream(prompt), told)


def waited(trail: Trail) -> Any:
    async def ask_both() -> Any:
        llm = model(trail)
        return [told(part) async for part in llm.astream(ASK)] + [told(await llm.ainvoke(ASK))]

    return asyncio.run(ask_both())


def tools(trail: Trail, streamed: bool) -> Any:
    bound = model(trail).bind_tools([get_weather])
    return collected(bound.stream(ASK), told) if streamed else told(bound.invoke(ASK))


def batch(trail: Trail) -> Any:
    answers = model(trail).batch(["ebb", "flood", "slack"], config={"max_concurrency": 1})
    return [told(answer) for answer in answers]


def embeddings(trail: Trail) -> Any:
    make = OpenAIEmbeddings(
        model="embed",
        base_url=trail.base_url + "/v1",
        api_key="sk-test",  # type: ignore[arg-type]
        default_headers=trail.headers,
        check_embedding_ctx_length=False,  # its tokenizer would be downloaded
        http_client=http(trail),
    )
    return [make.embed_documents(["ebb", "flood"]), make.embed_query("slack")]


def left(trail: Trail) -> Any:
    llm = model(trail, "hold")
    parts = llm.stream(ASK)
    got = [told(next(parts)), told(next(parts))]
    parts.close()  # type: ignore[attr-defined]
    return [*got, llm.root_client.models.retrieve("until-left")]


SCENARIOS: dict[str, seen.Scenario] = {
    "chat": ask,
    "chat-stream": lambda t: stream(t, stream_usage=False),
    "chat-stream-usage": lambda t: stream(t, stream_usage=True),
    "chat-stream-null-usage-asked": lambda t: stream(t, "null-usage", stream_usage=True),
    "chat-stream-seams": lambda t: stream(t, "seams"),
    "async": waited,
    "batch": batch,
    "tools": lambda t: tools(t, False),
    "tools-stream": lambda t: tools(t, True),
    "json": lambda t: ask(t, "json", model_kwargs={"response_format": {"type": "json_object"}}),
    "json-schema": lambda t: model(t, "json").with_structured_output(Weather).invoke(ASK),
    "logprobs": lambda t: ask(t, logprobs=True, top_logprobs=1),
    "logprobs-stream": lambda t: stream(t, logprobs=True, top_logprobs=1),
    "choices": lambda t: ask(t, n=3),
    "image": lambda t: ask(t, prompt=PICTURE),
    "embeddings": embeddings,
    "responses": lambda t: ask(t, "respond", use_responses_api=True),
    "responses-stream": lambda t: stream(t, "respond", use_responses_api=True),
    **{
        f"error-{n}": (lambda t, n=n: ask(t, f"error-{n}")) for n in (400, 401, 404, 429, 500, 503)
    },
    "error-429-stream": lambda t: stream(t, "error-429"),
    "error-event": lambda t: stream(t, "error-event"),
    "retries-429": lambda t: ask(t, "error-429", max_retries=2),
    "retries-flaky": lambda t: ask(t, "flaky-503", max_retries=2),
    "retries-flaky-stream": lambda t: stream(t, "flaky-500", max_retries=2),
    "left": left,
    "timeout": lambda t: ask(t, "stall", timeout=2.0),
    "timeout-stream": lambda t: stream(t, "hold", timeout=2.0, stream_chunk_timeout=None),
    "cut-fin": lambda t: stream(t, "cut-fin"),
    "cut-reset": lambda t: stream(t, "cut-reset"),
    "unended": lambda t: stream(t, "unended"),
    "hang-up": lambda t: ask(t, "hang-up", max_retries=1),
}

if __name__ == "__main__":
    seen.run(f"langchain-openai {version('langchain-openai')}", SCENARIOS)
