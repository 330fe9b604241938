"""Damaged messages through the running proxy: what h11 reads from a client's bytes is what h11
reads at the model server, or nothing is; and no bytes from either side break the proxy."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11

from byte_mutator import Mutator
from http_corpus import CORPUS, WORDS
from http_readings import Message, Refused, Role, by_h11, by_httptools, by_us
from proxied import Stand, post, proxied
from upstream import Call, like_a_server

MUTANTS = 1200
"""Of each role, some 2 s."""


@dataclass
class Server:
    """A model server that reads with h11 and answers every request alike."""

    seen: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    """Method, target and body of each whole request."""
    faults: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        request: h11.Request | None = None
        body = b""
        try:
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    assert request is not None
                    self.seen.append((request.method, request.target, body))
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    )
                    return
                elif data := await reader.read(65536):
                    connection.receive_data(data)
                else:
                    return
        except h11.RemoteProtocolError as fault:
            self.faults.append(str(fault))
        except ConnectionError:
            pass  # the proxy has given up a body that was refused after its beginning
        finally:
            writer.close()


@asynccontextmanager
async def quiet_loop() -> AsyncIterator[list[str]]:
    """What the loop had to tell of: exceptions that nobody caught."""
    loop = asyncio.get_running_loop()
    told: list[str] = []
    loop.set_exception_handler(lambda _, context: told.append(str(context)))
    yield told
    assert not told


async def answered(stand: Stand, data: bytes, enough: Callable[[bytes], bool]) -> bytes:
    """What a client gets until the proxy closes or it has enough."""
    client = await stand.connect()
    got = b""
    try:
        await client.send(data)
        while not enough(got):
            piece = await client.reader.read(65536)
            if not piece:
                break
            got += piece
    except ConnectionError:
        pass
    finally:
        client.leave()
    return got


def final_answer(got: bytes) -> bool:
    """The head of an answer that is not informational has come."""
    return b"HTTP/1.1 " in got.replace(b"HTTP/1.1 1", b"")


async def test_what_reaches_the_server_is_what_others_read_in_the_clients_bytes() -> None:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    mutator = Mutator(CORPUS[Role.REQUEST], WORDS, seed=7230)
    passed = refused = 0
    async with quiet_loop(), proxied(like_a_server, url=url) as stand, asyncio.timeout(100):
        for _ in range(MUTANTS):
            data = mutator.next()
            ours = by_us(data, Role.REQUEST).reading
            before = len(server.seen)
            if isinstance(ours, Refused):
                got = await answered(stand, data, lambda got: False)
                assert got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), data
                assert server.seen[before:] == [], data
                refused += 1
            elif isinstance(ours, Message) and ours.whole:
                await answered(stand, data, final_answer)
                theirs = by_h11(data.lstrip(b"\r\n"), Role.REQUEST)
                assert isinstance(theirs, Message)
                method, _, body = server.seen[before]
                assert method == theirs.start[0]
                assert body == theirs.body or b'"stream_options"' in body, data
                passed += 1
            else:
                await answered(stand, data, lambda got: True)
        await stand.settled()
    listening.close()
    assert not server.faults
    assert min(passed, refused) > MUTANTS // 5


GET = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
STREAM = post(b'{"model":"m","stream":true}', more="Connection: close\r\n")


async def test_what_reaches_the_client_is_what_others_read_in_the_servers_bytes() -> None:
    mutator = Mutator(CORPUS[Role.RESPONSE], WORDS, seed=7230)
    answers: list[bytes] = []

    async def script(call: Call) -> None:
        await call.send(answers[-1])
        call.close()

    passed = refused = 0
    async with quiet_loop(), proxied(script) as stand, asyncio.timeout(100):
        for turn in range(MUTANTS):
            data = mutator.next()
            answers.append(data)
            got = await answered(stand, STREAM if turn % 3 else GET, lambda got: False)
            for read in (by_h11, by_httptools):
                assert not isinstance(read(got, Role.RESPONSE), Refused), (data, got)
            ours = by_us(data, Role.RESPONSE).reading
            if not isinstance(ours, Message):
                assert b"HTTP/1.1 502 " in got, (data, got)
                refused += 1
            elif ours.whole and ours.start >= (b"200",) and not turn % 3:
                theirs = by_h11(data, Role.RESPONSE)
                passing = by_h11(got, Role.RESPONSE)
                assert isinstance(theirs, Message)
                assert isinstance(passing, Message)
                assert (passing.start, passing.body) == (theirs.start, theirs.body), (data, got)
                passed += 1
        await stand.settled()
    assert refused > MUTANTS // 5
    assert passed > MUTANTS // 20
