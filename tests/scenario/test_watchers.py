"""A thousand watchers over sockets, and one that does not read: it is cut off with 410, the others miss nothing.

The server stops and starts again in between; clients go on from the last resourceVersion they know, or list again where
the server says that it no longer knows that far back, as client-go's reflectors do.
"""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.server import watchcache
from wherry.server.app import Server
from wherry.server.frontend import HttpsFrontend
from wherry.server.http import Request, Response, UserInfo
from wherry.store.local import open_store

WATCHERS = 1000
MAPS = "/api/v1/namespaces/default/configmaps"
ADMIN = UserInfo("admin", groups=["system:masters"])
SLOW_BUFFER_BYTES = 4096
EVENTS_MAX = 1000
"""That may wait for a watcher: a tenth of what is usual, so that a small flood is one."""
FLOOD, FLOOD_BYTES = 3000, 4000
"""More than that and what sockets hold together."""


class Api:
    """A server over a directory, listening without TLS; whoever asks is an administrator."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clock, entropy = SystemClock(), Entropy()
        store = await open_store(self._directory, clock, entropy)
        self._server = Server(store, clock, entropy)
        await self._server.start()
        frontend = HttpsFrontend(self._handle, None)
        await frontend.start("127.0.0.1", self.port)
        self.port = frontend.port
        try:
            yield
        finally:
            await self._server.traffic.drain()
            await self._server.close()
            await frontend.close()
            await store.close()

    async def _handle(self, request: Request) -> Response:
        request.user = ADMIN
        return await self._server.handle(request)

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """A request in process, which must succeed."""
        data = b"" if body is None else orjson.dumps(body)
        headers = {"content-type": "application/json"}
        listed = {name: [value] for name, value in query.items()}
        answer = await self._server.handle(Request(method, path, listed, headers, data, user=ADMIN))
        assert answer.status < 300, answer.body
        raw = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)  # type: ignore[arg-type]
        return orjson.loads(raw)

    async def write(self, name: str, label: str, size: int = 1) -> None:
        """A new ConfigMap."""
        meta = {"name": name, "labels": {"for": label}}
        await self.ask("POST", MAPS, {"metadata": meta, "data": {"x": "x" * size}})

    async def connect(self, since: str, selector: str, buffer_bytes: int = 0) -> asyncio.StreamReader:
        """A watch; with a receive buffer of this size, if one is given."""
        sock = socket.socket()
        sock.setblocking(False)
        if buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=buffer_bytes or 1 << 20)
        path = f"{MAPS}?watch=1&resourceVersion={since}&labelSelector={selector}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        reader.writer = writer  # type: ignore[attr-defined]  # or the connection would end with it
        return reader


async def events(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """What a watch says, to its end. Chunks hold whole lines, and only events begin with a brace."""
    while line := await reader.readline():
        if line.startswith(b"{"):
            yield orjson.loads(line)


class Watcher:
    """One client: the objects that it knows of, by name, and how often it was told of each."""

    def __init__(self, since: str) -> None:
        self.since = since
        self.told: dict[str, int] = {}
        self.relisted = False
        self.enough: asyncio.Event = asyncio.Event()
        self._wanted = 0

    def want(self, count: int) -> None:
        """Expect to know of so many."""
        self._wanted = count
        self.enough.clear()

    async def follow(self, api: Api) -> None:
        """Until the server ends the watch."""
        reader = await api.connect(self.since, "for%3Deverybody")
        async for event in events(reader):
            if event["type"] == "ERROR":
                assert event["object"]["code"] == 410
                self.relisted = True
                listed = await api.ask("GET", MAPS, labelSelector="for=everybody")
                for item in listed["items"]:
                    self.told.setdefault(item["metadata"]["name"], 1)
                self.since = listed["metadata"]["resourceVersion"]
                self._look()
                await self.follow(api)
                return
            assert event["type"] == "ADDED" and event["object"]["metadata"]["labels"] == {"for": "everybody"}
            name = event["object"]["metadata"]["name"]
            self.told[name] = self.told.get(name, 0) + 1
            self.since = event["object"]["metadata"]["resourceVersion"]
            self._look()
        reader.writer.close()  # type: ignore[attr-defined]

    def _look(self) -> None:
        if len(self.told) >= self._wanted:
            self.enough.set()


@pytest.fixture
def many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * WATCHERS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * WATCHERS), hard))


@pytest.mark.usefixtures("many_files")
async def test_the_slow_one_is_cut_off_and_nobody_else_misses_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchcache, "WATCHER_EVENTS_MAX", EVENTS_MAX)
    api = Api(tmp_path / "store")
    watchers: list[Watcher] = []

    async def told_of(count: int) -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(watcher.enough.wait() for watcher in watchers))
        for watcher in watchers:
            assert watcher.told == {f"w{number}": 1 for number in range(count)}

    async def write(first: int, end: int) -> None:
        for watcher in watchers:
            watcher.want(end)
        for number in range(first, end):
            await api.write(f"w{number}", "everybody")

    async with api.running():
        since = (await api.ask("GET", MAPS))["metadata"]["resourceVersion"]
        slow = await api.connect(since, "", SLOW_BUFFER_BYTES)
        watchers += [Watcher(since) for _ in range(WATCHERS)]
        tasks = [asyncio.create_task(watcher.follow(api)) for watcher in watchers]
        await write(0, 5)
        flood = [f"n{number}" for number in range(FLOOD)]  # for the one that does not read
        for at in range(0, len(flood), 200):
            await asyncio.gather(*(api.write(name, "nobody", FLOOD_BYTES) for name in flood[at : at + 200]))
        await write(5, 10)
        await told_of(10)
        slow._limit = 1 << 20  # type: ignore[attr-defined]  # now it reads
        seen = [event async for event in events(slow)]
        assert seen[-1]["type"] == "ERROR" and seen[-1]["object"]["code"] == 410
        assert seen[-1]["object"]["reason"] == "Expired"
        made = {int(item["metadata"]["resourceVersion"]) for item in (await api.ask("GET", MAPS))["items"]}
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen[:-1]]
        assert versions == sorted(made)[: len(versions)] and len(versions) < FLOOD  # up to there without a hole
        slow.writer.close()  # type: ignore[attr-defined]
    await asyncio.gather(*tasks)  # the server's end ended them all
    async with api.running():
        tasks = [asyncio.create_task(watcher.follow(api)) for watcher in watchers]
        await write(10, 15)
        await told_of(15)
    await asyncio.gather(*tasks)
