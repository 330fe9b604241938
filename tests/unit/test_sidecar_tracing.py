"""A request's trace travels on untouched, and is the example of the buckets that it fell into."""

import pytest

from proxied import Stand, post, proxied
from tidegate_sidecar.exposition import exposition
from upstream import like_a_server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"
PLAIN = b'{"model":"big"}'
STREAM = b'{"model":"big","stream":true}'


def examples(stand: Stand) -> list[str]:
    """Lines with an example, by metric and bucket."""
    page = "".join(exposition(stand.meter, openmetrics=True))
    return [
        line.split("{")[0] for line in page.splitlines() if f'# {{trace_id="{TRACE}"}}' in line
    ]


@pytest.mark.parametrize(
    ("headers", "body", "metrics"),
    [
        pytest.param(f"traceparent: {SAMPLED}", PLAIN, ["duration"], id="an answer at once"),
        pytest.param(
            f"traceparent: {SAMPLED}", STREAM, ["duration", "time_to_first_token"], id="a stream"
        ),
        pytest.param(f"TraceParent:\t{SAMPLED} ", PLAIN, ["duration"], id="as others spell it"),
        pytest.param(f"traceparent: {NOT_SAMPLED}", PLAIN, [], id="a trace that nobody keeps"),
        pytest.param(f"traceparent: {SAMPLED}x", PLAIN, [], id="no trace"),
        pytest.param("X-Other: 1", PLAIN, [], id="none given"),
        pytest.param(
            f"traceparent: {SAMPLED}\r\nA: b\r\nTRACEPARENT: {SAMPLED}",
            PLAIN,
            [],
            id="given twice",
        ),
    ],
)
async def test_a_trace_passes_and_is_an_example_if_it_is_recorded(
    headers: str, body: bytes, metrics: list[str]
) -> None:
    async with proxied(like_a_server) as stand:
        answer = await stand.ask(post(body, more=f"{headers}\r\ntracestate: a=b,c=d\r\n"))
        assert answer.status == 200
        await stand.settled()
        (call,) = stand.upstream.calls
        assert f"{headers}\r\ntracestate: a=b,c=d\r\n".encode() in call.head
        found = examples(stand)
        assert len(found) == len(metrics)
        for line, metric in zip(found, metrics, strict=True):
            assert metric in line


async def test_no_trace_is_made_up() -> None:
    async with proxied(like_a_server) as stand:
        await stand.ask(post(PLAIN))
        (call,) = stand.upstream.calls
        assert "traceparent" not in call.headers
