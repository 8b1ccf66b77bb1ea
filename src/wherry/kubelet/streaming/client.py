"""The caller's side of exec, attach and port-forward: containerd's streaming server, driven over SPDY."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from wherry.kubelet.runtimes.protocol import RuntimeFailure, Streams
from wherry.kubelet.streaming.connection import Connection, Stream

READ_BYTES = 64 * 1024
EXEC_PROTOCOL = "v4.channel.k8s.io"


@asynccontextmanager
async def dial(url: str, protocol: str) -> AsyncIterator[Connection]:
    """A SPDY connection to `url`, which speaks `protocol`. Raises RuntimeFailure."""
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError as error:
        raise RuntimeFailure(f"cannot reach the runtime's streaming server at {parts.netloc}: {error}") from error
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    lines += [f"X-Stream-Protocol-Version: {protocol}", "Content-Length: 0", "", ""]
    task: asyncio.Task[None] | None = None
    try:
        writer.write("\r\n".join(lines).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
        if " 101 " not in head.split("\r\n", 1)[0]:
            raise RuntimeFailure(f"the runtime's streaming server refused: {head.splitlines()[0]}")

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        connection = Connection(lambda: reader.read(READ_BYTES), write, client=True)
        task = asyncio.create_task(connection.run(), name="spdy to the runtime")
        yield connection
    except (OSError, asyncio.IncompleteReadError) as error:
        raise RuntimeFailure(f"the runtime's streaming server broke off: {error}") from error
    finally:
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await task
        writer.close()


async def run_remote(url: str, streams: Streams) -> int:
    """Exec or attach at `url` until it ends; the exit code. Raises RuntimeFailure."""
    async with dial(url, EXEC_PROTOCOL) as connection:
        error = await connection.open({"streamType": "error"})
        stdin = await connection.open({"streamType": "stdin"}) if streams.stdin else None
        outputs = [
            name for name in ("stdout", "stderr") if getattr(streams, name) and not (name == "stderr" and streams.tty)
        ]
        opened = {name: await connection.open({"streamType": name}) for name in outputs}
        resize = await connection.open({"streamType": "resize"}) if streams.tty else None
        feeders = [asyncio.create_task(_feed(streams, stdin))] if stdin else []
        feeders += [asyncio.create_task(_resize(streams, resize))] if resize else []
        try:
            async with asyncio.TaskGroup() as group:
                for name, stream in opened.items():
                    group.create_task(_drain(stream, name, streams))
                answer = group.create_task(error.read_all())
        except* ConnectionError as gone:
            raise RuntimeFailure(f"the caller went away: {gone.exceptions[0]}") from gone
        finally:
            for task in feeders:
                task.cancel()
            await asyncio.gather(*feeders, return_exceptions=True)
        return exit_code(answer.result())


async def _feed(streams: Streams, stdin: Stream) -> None:
    while data := await streams.read_stdin():
        await stdin.write(data)
    await stdin.close()


async def _resize(streams: Streams, resize: Stream) -> None:
    while (size := await streams.read_resize()) is not None:
        await resize.write(json.dumps({"Width": size[0], "Height": size[1]}).encode())


async def _drain(stream: Stream, name: str, streams: Streams) -> None:
    while data := await stream.read():
        await streams.write(name, data)


def exit_code(answer: bytes) -> int:
    """What the error stream's Status says. Raises RuntimeFailure for anything but an exit code."""
    if not answer:
        return 0
    try:
        status = json.loads(answer)
    except ValueError:
        raise RuntimeFailure(answer.decode(errors="replace")) from None
    if status.get("status") == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", ()):
        if cause.get("reason") == "ExitCode":
            return int(cause.get("message", 1))
    raise RuntimeFailure(status.get("message", "") or answer.decode(errors="replace"))
