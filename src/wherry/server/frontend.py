"""HTTPS: the listener in front of `Server.handle`; what one connection does is in connection.py, TLS in tls.py."""

import asyncio
import errno
import ssl

from wherry.server.connection import Connection, date_line
from wherry.server.http import Handler

SHUTDOWN_SECONDS = 5.0
LOOK_SECONDS = 5.0
"""How often connections are looked at for having waited too long."""
BACKLOG = 1024


class ListenError(Exception):
    """The address cannot be listened on; the message says why, and what to do."""


class HttpsFrontend:
    """Listens and serves until closed. Plain HTTP when there is no TLS context."""

    def __init__(self, handle: Handler, tls: ssl.SSLContext | None) -> None:
        self.handle = handle
        self.compresses = True
        """Long answers, for clients that take gzip (feature gate APIResponseCompression)."""
        self.connections: set[Connection] = set()
        self._tls = tls
        self._listener: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._date = (-1, "")

    async def start(self, host: str, port: int) -> None:
        """Listen; `port` 0 takes any. Raises ListenError."""
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        try:
            made = self.loop.create_server(lambda: Connection(self), host, port, ssl=self._tls, backlog=BACKLOG)
            self._listener = await made
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ListenError(f"port {port} on {host} is in use by another program; choose another port") from error
            raise ListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._look()

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    def date(self) -> str:
        """The Date header's line, made once a second."""
        second = int(self.now())
        if second != self._date[0]:
            self._date = second, date_line()
        return self._date[1]

    async def close(self) -> None:
        """Stop listening, end streams, let other requests finish for a while, close every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for connection in list(self.connections) if (task := connection.begin_close()) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=SHUTDOWN_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.close()

    def _look(self) -> None:
        now = self.now()
        for connection in list(self.connections):
            connection.look(now)
        self._timer = self.loop.call_later(LOOK_SECONDS, self._look)
