"""What clients and model servers may say to each other, as data."""

import gzip
from dataclasses import dataclass

from upstream import chat_reply, chat_stream
from wire_play import Do, IfAsked, Pause, Slowly, Stall, Step, Steps, Until

BROTLI_HELLO = b"\x0b\x02\x80hello\x03"
"""``hello``, stored, as RFC 7932 has it."""
TAKE = Do.TAKE_BODY


@dataclass(frozen=True)
class Case:
    """A conversation, and where it may differ with the sidecar between."""

    ask: Steps
    answers: tuple[Steps, ...]
    methods: tuple[str, ...] = ("GET",)
    read: bool = False
    """The sidecar reads the request: it has it whole and says its length."""
    understood: bool = True
    """What it reads is a call, to which it wants no compressed answer."""
    asks_usage: bool = False
    """It asks for usage where the client did not, and takes it out of the answer."""
    waits_for_close: bool = False
    instead: int = 0
    """Status that stands for an answer which did not come, or broke off within its head."""
    to_the_end: bool = True
    """What is cut off comes as far as it was sent; a reset may take some with it."""


def get(target: bytes = b"/a", more: bytes = b"", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: model:80\r\n" + more + b"\r\n"


def post(body: bytes, target: bytes = b"/v1/files", more: bytes = b"") -> bytes:
    return get(target, more + b"Content-Length: %d\r\n" % len(body), b"POST") + body


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def chunked(*parts: bytes, more: bytes = b"", end: bytes = b"0\r\n\r\n") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        + more
        + b"\r\n"
        + chunks(*parts, end=end)
    )


def sized(body: bytes, more: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), more) + body


def plain(*answer: Step, ask: bytes = b"", **more: object) -> Case:
    """One request and its answer."""
    steps = (ask or get(),)
    return Case(steps, ((TAKE, *answer),), **more)  # type: ignore[arg-type]


OK = sized(b"ok")
JSON = b"Content-Type: application/json\r\n"
SSE = b"Content-Type: text/event-stream\r\n"

HEADERS = {
    "an answer's lines keep order, case, doubles, empty values and odd bytes": plain(
        sized(
            b"ok",
            b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nSet-Cookie: a=1\r\nX-ODD-cAsE:v\r\n"
            b"set-cookie: b=2\r\nX-Empty:\r\nX-Text: caf\xe9 \xff\t\x80\r\nServer:  s  \r\n"
            b"Keep-Alive: timeout=5\r\nAccept-Encoding: gzip\r\nX-Colons: a:b::c\r\n",
        )
    ),
    "a request's lines keep order, case, doubles, empty values and odd bytes": plain(
        OK,
        ask=get(
            b"/a",
            b"X-ODD-cAsE:v\r\nCookie: a=1\r\nX-Empty:\r\nX-Text: caf\xe9 \xff\t\x80\r\n"
            b"cookie: b=2\r\nAccept-Encoding: br;q=1.0, gzip\r\nAuthorization: Bearer  x \r\n"
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        ),
    ),
    "host need not come first and keeps its spelling": plain(
        OK, ask=b"GET / HTTP/1.1\r\nX-First: 1\r\nhOST:   Model.Example:8080\r\n\r\n"
    ),
    "what connections say of themselves ends with them": plain(
        sized(b"ok", b"Connection: x-mine, keep-alive\r\nX-Mine: 1\r\nX-Yours: 2\r\n"),
        ask=get(b"/a", b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-End: 2\r\n"),
    ),
    "another proxy stands before us": plain(
        OK, ask=get(b"/a", b"Via: 1.0 fred, 1.1 p.example\r\n")
    ),
    "many and long lines": plain(
        sized(b"ok", b"".join(b"X-%d: %b\r\n" % (i, b"v" * 200) for i in range(150))),
        ask=get(b"/a", b"X-Long: " + b"l" * 30_000 + b"\r\n"),
    ),
    "empty lines before a request": plain(OK, ask=b"\r\n\r\n" + get()),
    "a reason that is missing": plain(b"HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\nok"),
    "a reason with odd bytes": plain(sized(b"ok", status=b"299 Pas \xe0 jour!")),
    "an answer of HTTP/1.0": plain(b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nhello", Do.CLOSE),
    "a redirect": plain(sized(b"", b"Location: /b?c=%20d\r\n", b"307 Temporary Redirect")),
    "an error tells when to come back": plain(
        sized(b'{"error":{}}', b"Retry-After: 7\r\nx-ratelimit-limit-tokens: 9\r\n", b"429 Slow"),
        ask=post(b'{"model":"m"}', b"/v1/chat/completions"),
        methods=("POST",),
        read=True,
    ),
    "an error that is no JSON": plain(
        sized(b"<h1>no</h1>", b"WWW-Authenticate: Bearer\r\n", b"401 Unauthorized"),
        ask=post(b'{"model":"m"}', b"/v1/chat/completions"),
        methods=("POST",),
        read=True,
    ),
}

TARGETS = {
    f"the target {target.decode()}": plain(OK, ask=get(target))
    for target in (
        b"/a%2Fb/%zz%?x=%00&y=a+b&&=",
        b"//double//slashes/./../",
        b"/a;p=1/..;/b",
        b'/%E2%80%A8?q={}|^"<>`\\',
        b"/?",
        b"/v1/models?limit=1&after=",
    )
} | {
    "a server asked of as a whole": plain(OK, ask=get(b"*", method=b"OPTIONS")),
    "an unknown method": plain(OK, ask=get(method=b"BREW")),
    "a method with a body that has none by habit": plain(
        OK, ask=get(b"/a", b"Content-Length: 5\r\n", b"PROPFIND") + b"hello"
    ),
}

BODIES = {
    "an answer with its length": plain(OK),
    "an empty answer": plain(sized(b"")),
    "a chunked answer": plain(chunked(b"hello", b" ", b"world")),
    "chunk sizes in upper case, with zeros and extensions": plain(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b'000A;a=b;c="d"\r\n0123456789\r\n0f;x\r\n0123456789abcde\r\n00\r\n\r\n'
    ),
    "a chunked answer that comes byte by byte": plain(Slowly(chunked(b"hello", b"world!" * 9))),
    "an answer that only its connection ends": plain(
        b"HTTP/1.1 200 OK\r\n\r\n" + b"hello " * 9000, Do.CLOSE
    ),
    "an answer of 10 MB": plain(sized(b"0123456789" * 1_000_000)),
    "a chunked answer of 10 MB": plain(chunked(*[b"0123456789" * 10_000] * 100)),
    "trailers of an answer": plain(
        chunked(b"hi", more=b"Trailer: X-Sum\r\n", end=b"0\r\nX-Sum: 1\r\nx-b:\r\n\r\n"),
        ask=get(b"/a", b"TE: trailers\r\nConnection: TE\r\n"),
    ),
    "trailers that come byte by byte": plain(
        Slowly(chunked(b"hi", end=b"0\r\nX-Sum: 1\r\nx-b: c\r\n\r\n"))
    ),
    "the length of what HEAD does not send": plain(
        b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\nX-A: b\r\n\r\n",
        ask=get(method=b"HEAD"),
        methods=("HEAD",),
    ),
    "the chunks that HEAD does not send": plain(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-a\r\n\r\n",
        ask=get(method=b"HEAD"),
        methods=("HEAD",),
    ),
    "204": plain(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
    "204 with a length": plain(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    "205": plain(sized(b"", status=b"205 Reset Content")),
    "304 with the length of what it stands for": plain(
        b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 999\r\n\r\n'
    ),
    "gzip": plain(sized(gzip.compress(b"hello"), b"Content-Encoding: gzip\r\n")),
    "brotli": plain(sized(BROTLI_HELLO, b"Content-Encoding: br\r\nVary: accept-encoding\r\n")),
    "gzip that was not asked for, of a call that is read": plain(
        sized(gzip.compress(chat_reply()), JSON + b"Content-Encoding: gzip\r\n"),
        ask=post(b'{"model":"m"}', b"/v1/chat/completions", b"Accept-Encoding: gzip\r\n"),
        methods=("POST",),
        read=True,
    ),
    "gzip that was not asked for, of a stream that is read": plain(
        chunked(
            gzip.compress(chat_stream(3, usage=False)), more=SSE + b"Content-Encoding: gzip\r\n"
        ),
        ask=post(
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
            b"/v1/chat/completions",
        ),
        methods=("POST",),
        read=True,
    ),
}

LARGE = b"0123456789abcdef" * 625_000
IMAGE = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}' % (b"iVBORw0K" * 99)
REQUESTS = {
    "a body of 10 MB that is not read": Case((post(LARGE),), ((TAKE, OK),), ("POST",)),
    "a body of 10 MB that is read": Case(
        (post(b'{"model":"m","pad":"' + LARGE + b'"}', b"/v1/chat/completions"),),
        ((TAKE, sized(chat_reply(), JSON)),),
        ("POST",),
        read=True,
    ),
    "a chunked body": Case(
        (
            get(b"/up", b"Transfer-Encoding: chunked\r\n", b"PUT")
            + chunks(b"hello", b"x" * 70_000),
        ),
        ((TAKE, OK),),
        ("PUT",),
    ),
    "a chunked body that comes byte by byte, with trailers": Case(
        (
            get(b"/up", b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", b"PUT"),
            Slowly(chunks(b"hello", b"world", end=b"0\r\nX-Sum: 1\r\nx-b:  c \r\n\r\n")),
        ),
        ((TAKE, OK),),
        ("PUT",),
    ),
    "a body that comes byte by byte": Case(
        (post(b"")[:-5] + b"30\r\n\r\n", Slowly(b"0123456789" * 3)), ((TAKE, OK),), ("POST",)
    ),
    "a chunked body of a call that is read": Case(
        (
            get(b"/v1/embeddings", b"Transfer-Encoding: chunked\r\n", b"POST")
            + chunks(b'{"model":', b'"m","input":"x"}'),
        ),
        ((TAKE, sized(b'{"data":[],"usage":{"prompt_tokens":1,"total_tokens":1}}', JSON)),),
        ("POST",),
        read=True,
    ),
    "a server that reads slowly": Case((post(LARGE),), ((Pause(0.3), TAKE, OK),), ("POST",)),
    "an empty body with its length": Case((post(b""),), ((TAKE, OK),), ("POST",)),
    "a POST without any body": Case((get(method=b"POST"),), ((TAKE, OK),), ("POST",)),
    "a body of a GET": Case((get(b"/", b"Content-Length: 2\r\n") + b"hi",), ((TAKE, OK),)),
}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTS = get(b"/v1/files", b"Expect: 100-continue\r\nContent-Length: 4\r\n", b"POST")
INTERIM = {
    "early hints": plain(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nlink: </b>\r\n\r\n", OK
    ),
    "many interim answers and a pause": plain(
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3, Pause(0.05), b"HTTP/1.1 199 x\r\nA: b\r\n\r\n", OK
    ),
    "an interim answer in one piece with the answer": plain(
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
    ),
    "100 that nobody asked for": plain(CONTINUE, OK),
    "a client that waits for 100": Case(
        (EXPECTS, Until(b"100 Continue"), b"body"), ((CONTINUE, TAKE, OK),), ("POST",)
    ),
    "a client that does not wait": Case((EXPECTS, b"body"), ((CONTINUE, TAKE, OK),), ("POST",)),
    "a server that never says 100": Case((EXPECTS, Pause(0.1), b"body"), ((TAKE, OK),), ("POST",)),
    "a server that refuses what it is to expect": Case(
        (EXPECTS,), ((sized(b"no", status=b"417 Expectation Failed"),),), ("POST",)
    ),
    "an expectation that nobody knows": plain(
        sized(b"no", status=b"417 Expectation Failed"), ask=get(b"/a", b"Expect: miracles\r\n")
    ),
}

OLD = b"GET /a HTTP/1.0\r\nHost: a\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"
CONNECTIONS = {
    "one request after the other on one connection": Case(
        (get(b"/1"), Until(b"first"), post(b"two"), Until(b"second"), get(b"/3", CLOSE)),
        (
            (TAKE, sized(b"first")),
            (TAKE, chunked(b"second")),
            (TAKE, sized(b"third", CLOSE), Do.CLOSE),
        ),
        ("GET", "POST", "GET"),
        waits_for_close=True,
    ),
    "ten requests at once": Case(
        (
            b"".join(
                get(b"/%d" % i, method=b"HEAD")
                if i % 3 == 0
                else post(b"%d" % i, b"/%d" % i)
                if i % 3 == 1
                else get(b"/%d" % i, b"Transfer-Encoding: chunked\r\n", b"PUT")
                + chunks(b"x", b"y")
                for i in range(10)
            ),
        ),
        tuple(
            (TAKE, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            if i % 3 == 0
            else (TAKE, Pause(0.01), sized(b"%d" % i))
            if i % 3 == 1
            else (TAKE, chunked(b"%d" % i))
            for i in range(10)
        ),
        tuple(("HEAD", "POST", "PUT")[i % 3] for i in range(10)),
    ),
    "a client that closes after its answer": plain(
        sized(b"ok", CLOSE), Do.CLOSE, ask=get(b"/a", CLOSE), waits_for_close=True
    ),
    "a server that closes after its answer": plain(sized(b"ok", CLOSE), Do.CLOSE, ask=get(b"/a")),
    "an old client": plain(
        b"HTTP/1.1 200 OK\r\n" + CLOSE + b"\r\nhello",
        Do.CLOSE,
        ask=OLD % b"",
        waits_for_close=True,
    ),
    "an old client gets no chunks": plain(
        IfAsked(b"", b"HTTP/1.1 200 OK\r\n" + CLOSE + b"\r\nhello"),
        Do.CLOSE,
        ask=OLD % b"X-A: b\r\n",
        waits_for_close=True,
    ),
    "an old client that keeps its connection": Case(
        (OLD % b"Connection: keep-alive\r\n", Until(b"ok"), OLD % b""),
        ((TAKE, sized(b"ok", b"Connection: keep-alive\r\n")), (TAKE, sized(b"ok"), Do.CLOSE)),
        ("GET", "GET"),
        waits_for_close=True,
    ),
    "a protocol that both switch to": Case(
        (
            get(b"/ws", b"Connection: Upgrade\r\nUpgrade: echo\r\nSec-WebSocket-Key: x\r\n"),
            Until(b"\r\n\r\n"),
            b"\x00\xffhello",
        ),
        (
            (
                b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: y\r\nUpgrade: echo\r\n"
                b"Connection: Upgrade\r\n\r\n\x81\x05early",
                Pause(0.1),
                b"\x00GET / HTTP/1.1\r\n\r\n",
                Do.CLOSE,
            ),
        ),
        waits_for_close=True,
    ),
    "a protocol that the server won't switch to": plain(
        sized(b"no", status=b"400 Bad Request"),
        ask=get(b"/ws", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ),
}

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A: b\r\n\r\nhello"
UPLOAD = get(b"/v1/files", b"Content-Length: 100000000\r\n", b"POST") + b"x" * 100_000
TROUBLE = {
    "a reader that stalls": Case(
        (get(), Stall(0.5)), ((TAKE, sized(b"0123456789abcdef" * 500_000)),)
    ),
    "a reader of a stream that stalls": Case(
        (get(), Stall(0.5)),
        ((TAKE, chunked(*[b"data: " + b"x" * 9000 + b"\n\n"] * 800, more=SSE)),),
    ),
    "a server that stalls before its answer": plain(Pause(0.3), OK),
    "a server that stalls within its head": plain(OK[:20], Pause(0.3), OK[20:]),
    "a server that stalls within its body": plain(OK[:-1], Pause(0.3), OK[-1:]),
    "a cut within a body": plain(HALF, Do.CLOSE),
    "a cut within a chunk": plain(chunked(b"hello", b"world")[:-9], Do.CLOSE),
    "a cut between chunks": plain(chunked(b"hello", end=b""), Do.CLOSE),
    "a cut before the last line": plain(chunked(b"hello", end=b"0\r\n"), Do.CLOSE),
    "a cut within trailers": plain(chunked(b"hello", end=b"0\r\nX-Sum: 1\r\n"), Do.CLOSE),
    "a reset within a body": plain(HALF, Do.RESET, to_the_end=False),
    "a reset of what only its connection would end": plain(
        b"HTTP/1.1 200 OK\r\n\r\nhello", Do.RESET, to_the_end=False
    ),
    "a cut within a head": plain(OK[:20], Do.CLOSE, instead=502),
    "a reset within a head": plain(OK[:20], Do.RESET, instead=502),
    "a server that hangs up": plain(Do.CLOSE, instead=502),
    "a server that resets": plain(Do.RESET, instead=502),
    "an answer before the request's body is done": Case(
        (UPLOAD,),
        ((sized(b"too much", CLOSE, b"413 Too Large"), Pause(0.2), Do.CLOSE),),
        ("POST",),
    ),
    "an answer before the request's body is done, of a server that hangs up": Case(
        (UPLOAD,), ((sized(b"too much", CLOSE, b"413 Too Large"), Do.CLOSE),), ("POST",)
    ),
    "an answer that begins before the request's body is done": Case(
        (post(b"")[:-5] + b"8\r\n\r\nhell", Until(b"one"), b"o you"),
        ((chunked(b"one", end=b""), TAKE, chunks(b"two")),),
        ("POST",),
    ),
}

ANYTHING: dict[str, Case] = {
    **HEADERS,
    **TARGETS,
    **BODIES,
    **REQUESTS,
    **INTERIM,
    **CONNECTIONS,
    **TROUBLE,
}
