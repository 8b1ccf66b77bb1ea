"""HTTP/1.1 as it comes over a socket: what is answered, what is refused, and what ends a connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from wherry.server import connection as module
from wherry.server.frontend import HttpsFrontend
from wherry.server.http import Request, Response

HOST = b"Host: x\r\n"


class Peer:
    """A server that answers what it was asked, and a client that writes bytes."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.ended = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.frontend = HttpsFrontend(self.handle, None)

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        if request.path == "/stream":
            return Response(200, self.stream())
        self.busy.set()
        await self.gate.wait()
        headers = {"X-Given": request.query["header"][0]} if "header" in request.query else None
        return Response(200, request.path.encode() + b"|" + request.body, headers=headers)

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def say(self, *data: bytes) -> bytes:
        """All that is answered until the server closes the connection."""
        reader, writer = await self.dial()
        for piece in data:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.frontend.port)
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def peer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.01)
    found = Peer()
    await found.frontend.start("127.0.0.1", 0)
    yield found
    for writer in found.writers:
        writer.close()
    await found.frontend.close()


async def test_requests_in_one_packet_are_answered_in_their_order(peer: Peer) -> None:
    requests = [b"POST /%d HTTP/1.1\r\n" % n + HOST + b"Content-Length: 1\r\n\r\n%d" % n for n in range(9)]
    last = b"GET /last HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answer = await peer.say(b"".join([*requests, last]))
    assert [line for line in answer.replace(b"HTTP/1.1", b"\r\n").split(b"\r\n") if b"|" in line] == [
        *(b"/%d|%d" % (n, n) for n in range(9)),
        b"/last|",
    ]


async def test_a_request_in_single_bytes_is_one_request(peer: Peer) -> None:
    whole = b"POST /a%20b?x=1 HTTP/1.1\r\n" + HOST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole += b"2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n"
    answer = await peer.say(*(whole[at : at + 1] for at in range(len(whole))))
    assert answer.endswith(b"\r\n\r\n/a b|hi!") and b"\r\nDate: " in answer and len(peer.seen) == 1
    assert peer.seen[0].query == {"x": ["1"]} and peer.seen[0].remote == "127.0.0.1"


@pytest.mark.parametrize(
    ("request_bytes", "line"),
    [
        (b"hello\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request: missing required Host header"),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", b"400 Bad Request: too many Host headers"),
        (b"GET / HTTP/1.1\r\n" + HOST + b" folded: x\r\n\r\n", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * (1 << 20), b"431 Request Header Fields Too Large"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3145729\r\n\r\n", b"413"),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_ends(
    peer: Peer, request_bytes: bytes, line: bytes
) -> None:
    answer = await peer.say(request_bytes)
    assert answer.startswith(b"HTTP/1.1 " + line[:3]) and line in answer and b"Connection: close\r\n" in answer
    assert not peer.seen


async def test_a_body_is_asked_for_where_the_client_waits_for_that(peer: Peer) -> None:
    reader, writer = await peer.dial()
    writer.write(b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert b"200 OK" in await reader.readuntil(b"/|ok")


async def test_a_line_break_in_a_header_does_not_make_another(peer: Peer) -> None:
    answer = await peer.say(b"GET /?header=a%0d%0aSet-Cookie:b HTTP/1.0\r\n\r\n")
    assert b"\r\nX-Given: a Set-Cookie:b\r\n" in answer


async def test_head_has_the_headers_of_get_alone(peer: Peer) -> None:
    answer = await peer.say(b"HEAD /abc HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n") and b"Content-Length: 5\r\n" in answer


async def test_a_stream_is_chunked_and_ends_with_its_client(peer: Peer) -> None:
    reader, writer = await peer.dial()
    writer.write(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await reader.readuntil(b"one\r\n")).endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    writer.close()
    async with asyncio.timeout(5):
        await peer.ended.wait()


async def test_a_stream_to_the_old_protocol_has_no_chunks(peer: Peer) -> None:
    reader, writer = await peer.dial()
    writer.write(b"GET /stream HTTP/1.0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"chunked" not in head and await reader.readexactly(3) == b"one"


async def test_closing_waits_for_answers_and_ends_the_rest(peer: Peer) -> None:
    peer.gate.clear()
    idle_reader, _ = await peer.dial()
    busy_reader, busy = await peer.dial()
    stream_reader, stream = await peer.dial()
    busy.write(b"GET /busy HTTP/1.1\r\n" + HOST + b"\r\n")
    stream.write(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
    await stream_reader.readuntil(b"one\r\n")
    await peer.busy.wait()
    closing = asyncio.create_task(peer.frontend.close())
    assert await idle_reader.read() == b""
    await stream_reader.read()
    assert peer.ended.is_set() and not closing.done()
    peer.gate.set()
    assert b"Connection: close" in (answer := await busy_reader.read()) and answer.endswith(b"/busy|")
    await closing


async def test_clients_that_send_nothing_more_are_let_go(peer: Peer) -> None:
    """Time is told to the connection; no timer decides."""
    silent, _ = await peer.dial()
    headless, one = await peer.dial()
    bodiless, two = await peer.dial()
    one.write(b"GET / HTTP/1.1\r\nHos")
    two.write(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    await bodiless.readuntil(b"\r\n\r\n")
    begin = peer.frontend.now()
    for later, ended in ((33, headless), (61, bodiless), (181, silent)):
        for connection in list(peer.frontend.connections):
            connection.look(begin + later)
        assert await ended.read() == b""
