"""Messages as real clients and servers write them, and the words that break parsers.

Law: the corpus is good: each of its messages is taken by our parser and both oracles. What the
mutator makes of it is another matter.
"""

from http_readings import Role

_CHAT = (
    b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"caf\xc3\xa9"}],"stream":true}'
)
_SSE = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":'
    b'"a\xe2\x80\xa8b"},"finish_reason":null}]}\n\n'
)


def _chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


def _head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


REQUESTS = {
    "openai for Python, streaming": _head(
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: model.default.svc:8000",
        b"Accept-Encoding: gzip, deflate",
        b"Connection: keep-alive",
        b"Accept: application/json",
        b"Content-Type: application/json",
        b"User-Agent: OpenAI/Python 2.9.0",
        b"X-Stainless-Lang: python",
        b"Authorization: Bearer sk-none",
        b"x-stainless-read-timeout: 600",
        b"Content-Length: %d" % len(_CHAT),
    )
    + _CHAT,
    "node's fetch, chunked": _head(
        b"POST /v1/messages?beta=true HTTP/1.1",
        b"host: [::1]:8000",
        b"connection: keep-alive",
        b"anthropic-version: 2023-06-01",
        b"x-api-key: none",
        b"content-type: application/json",
        b"accept: */*",
        b"sec-fetch-mode: cors",
        b"transfer-encoding: chunked",
    )
    + _chunk(_CHAT[:20])
    + _chunk(_CHAT[20:])
    + b"0\r\n\r\n",
    "chunked with extensions and a trailer, then another": _head(
        b"PUT /files/a%20b HTTP/1.1",
        b"Host: a",
        b"Trailer: X-Checksum",
        b"Transfer-Encoding: Chunked",
    )
    + _chunk(b"hello", b";name=value")
    + _chunk(b",", b';a;b="q \\" uoted"')
    + b"0;last\r\nX-Checksum: 9\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "curl that waits": _head(
        b"POST /v1/embeddings HTTP/1.1",
        b"Host: 10.0.0.1",
        b"User-Agent: curl/8.14.1",
        b"Accept: */*",
        b"Expect: 100-continue",
        b"Content-Length: 2",
    )
    + b"{}",
    "a probe of HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "two that are pipelined": _head(b"GET /v1/models HTTP/1.1", b"Host: a", b"Accept:", b"X: \t b")
    + _head(b"HEAD / HTTP/1.1", b"Host: a", b"Connection: close"),
    "absolute form, as a proxy's client writes": _head(
        b"GET http://a.example:80/v1/models?x=1 HTTP/1.1", b"Host: a.example:80"
    ),
    "options of the server": _head(b"OPTIONS * HTTP/1.1", b"Host:", b"Cookie: a=b; c=\xe4"),
    "an upgrade": _head(
        b"GET /v1/realtime HTTP/1.1",
        b"Host: a",
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
}

RESPONSES = {
    "uvicorn, plain": _head(
        b"HTTP/1.1 200 OK",
        b"date: Sat, 01 Nov 2025 10:00:00 GMT",
        b"server: uvicorn",
        b"content-length: 13",
        b"content-type: application/json",
        b"set-cookie: a=b; Path=/; HttpOnly",
        b"set-cookie: c=d",
    )
    + b'{"choices":1}',
    "vLLM, streaming": _head(
        b"HTTP/1.1 200 OK",
        b"server: uvicorn",
        b"content-type: text/event-stream; charset=utf-8",
        b"Transfer-Encoding: chunked",
    )
    + _chunk(_SSE)
    + _chunk(_SSE * 2)
    + _chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n",
    "llama-server, until it closes": _head(
        b"HTTP/1.1 200",
        b"Server: llama.cpp",
        b"Content-Type: text/event-stream",
        b"Connection: close",
    )
    + _SSE,
    "early hints, then an answer with a trailer": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    + _head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Trailer: Server-Timing")
    + _chunk(b"hello", b";x=1")
    + b"0\r\nServer-Timing: a;dur=1\r\n\r\n",
    "an error": _head(
        b"HTTP/1.1 429 Too Many Requests",
        b"retry-after: 2",
        b"x-ratelimit-limit:",
        b"Content-Length: 0",
    ),
    "nothing changed": _head(b"HTTP/1.1 304 Not Modified", b'ETag: "a"', b"Content-Length: 99"),
    "no content": _head(b"HTTP/1.1 204 No Content", b"Keep-Alive: timeout=5"),
    "HTTP/1.0 with a length": _head(b"HTTP/1.0 200 OK", b"Content-Length: 2", b"X: \xe4\tb")
    + b"{}",
}

CORPUS = {Role.REQUEST: list(REQUESTS.values()), Role.RESPONSE: list(RESPONSES.values())}

WORDS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\x00", b" ", b"\t", b"\x0b", b"\x0c", b":"),
    *(
        b"\r\n ",
        b"\r\n\t",
        b"\x7f",
        b"\x80",
        b"\xa0",
        b"\xff",
        b",",
        b";",
        b"=",
        b'"',
        b"\\",
        b"#",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b"Host: b\r\n", b"Connection: close\r\n", b"X:\r\n"),
    *(b"Content-Length : 5\r\n", b"Content_Length: 5\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
    *(
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Connection: keep-alive\r\n",
        b"A: b\r\n c\r\n",
    ),
    *(b"chunked", b"chunked, chunked", b"xchunked", b"chunked;x", b"gzip, chunked", b"identity"),
    *(b"0\r\n\r\n", b"0\r\n", b"5\r\nhello\r\n", b"+5", b"-1", b"0x5", b"5, 5", b"1_0", b"00005"),
    *(b"f" * 15, b"f" * 16, b"f" * 17, b"9" * 18, b"9" * 19, b"9" * 20, b"18446744073709551616"),
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10", b"http/1.1", b"ICE/1.0"),
    *(b"GET", b"get", b"POST", b"HEAD", b"CONNECT", b"PRI", b"SOURCE", b"M-SEARCH", b"QUERY"),
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    *(
        b"http://",
        b"HTTPS://b@c/",
        b"//",
        b"*",
        b"/",
        b"?",
        b"%00",
        b"[::1]",
        b"a:b:c",
        b"101",
        b"chunked\t",
        b"5\t",
    ),
    *(
        b"100",
        b"204",
        b"304",
        b"099",
        b"1000",
        b";a=b",
        b' ;a="b\r\n"',
        b";a=\r",
        b";;",
        b"chunked\t",
    ),
]
"""What the mutator puts in: delimiters, and fragments that parsers were seen to fall out over."""
