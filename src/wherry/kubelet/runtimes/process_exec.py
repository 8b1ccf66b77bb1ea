"""Commands run in a child-process container: same directory and environment, with pipes or a terminal of their own.

process.py keeps the containers themselves. A command and all it started is killed when its caller goes away.
"""

import asyncio
import os
import pty
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherry.kubelet.runtimes.process_shim import set_terminal_size
from wherry.kubelet.runtimes.protocol import ExecResult, RuntimeFailure, Streams

CHUNK_BYTES = 64 * 1024
# Makes its standard input the controlling terminal, then becomes the command. Not a preexec_fn: uvloop calls that
# before the new session and its files are in place.
_TAKE_TERMINAL = (
    sys.executable,
    "-Ic",
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])",
)


async def run_captured(run: Mapping[str, Any], command: Sequence[str], timeout_seconds: float) -> ExecResult:
    """Both outputs together. Raises TimeoutError, RuntimeFailure."""
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await _start(run, command, stdin=null, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(timeout_seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        raise TimeoutError(f"command {list(command)} timed out after {timeout_seconds:g}s") from None
    finally:
        await _end(process)
    return ExecResult(exit_code(process.returncode), output)


async def run_streamed(run: Mapping[str, Any], command: Sequence[str], streams: Streams) -> int:
    """The exit code. Raises RuntimeFailure."""
    return await (_run_terminal if streams.tty else _run_pipes)(run, command, streams)


def exit_code(code: int | None) -> int:
    """128 + signal for what a signal has ended."""
    return 1 if code is None else code if code >= 0 else 128 - code


def _find(run: Mapping[str, Any], command: Sequence[str]) -> None:
    """Raises RuntimeFailure for a command that is not there."""
    local = "/" in command[0] and not command[0].startswith("/")
    name = str(Path(run["cwd"], command[0])) if local else command[0]
    if shutil.which(name, path=run["env"].get("PATH")) is None:
        raise RuntimeFailure(f'failed to exec in container: exec: "{command[0]}": executable file not found in $PATH')


async def _start(run: Mapping[str, Any], command: Sequence[str], **options: Any) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command, cwd=run["cwd"], env=run["env"], start_new_session=True, **options
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        why = "executable file not found in $PATH" if missing else error.strerror
        raise RuntimeFailure(f'failed to exec in container: exec: "{command[0]}": {why}') from error


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _run_pipes(run: Mapping[str, Any], command: Sequence[str], streams: Streams) -> int:
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await _start(
        run,
        command,
        stdin=pipe if streams.stdin else null,
        stdout=pipe if streams.stdout else null,
        stderr=pipe if streams.stderr else null,
    )
    feeder = asyncio.create_task(_feed(process, streams)) if process.stdin else None
    outputs = [("stdout", process.stdout), ("stderr", process.stderr)]
    try:
        async with asyncio.TaskGroup() as group:
            for name, reader in outputs:
                if reader:
                    group.create_task(_drain(lambda reader=reader: reader.read(CHUNK_BYTES), name, streams))  # type: ignore[misc]
            await process.wait()
    except* ConnectionError as gone:
        raise RuntimeFailure(f"the caller went away: {gone.exceptions[0]}") from gone
    finally:
        if feeder:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
        await _end(process)
    return exit_code(process.returncode)


async def _feed(process: asyncio.subprocess.Process, streams: Streams) -> None:
    assert process.stdin
    with suppress(ConnectionError):  # the command need not read all
        while data := await streams.read_stdin():
            process.stdin.write(data)
            await process.stdin.drain()
    process.stdin.close()


async def _drain(read: Callable[[], Awaitable[bytes]], name: str, streams: Streams) -> None:
    while data := await read():
        await streams.write(name, data)


# Terminals ------------------------------------------------------------------------------------------------------------


async def _run_terminal(run: Mapping[str, Any], command: Sequence[str], streams: Streams) -> int:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    tasks: list[asyncio.Task[None]] = []
    try:
        try:
            _find(run, command)
            process = await _start(run, [*_TAKE_TERMINAL, *command], stdin=slave, stdout=slave, stderr=slave)
        finally:
            os.close(slave)
        try:
            tasks = [asyncio.create_task(_resize(master, streams))]
            if streams.stdin:
                tasks.append(asyncio.create_task(_type(master, streams)))
            await _drain(lambda: _read(master), "stdout", streams)
            await process.wait()
        except ConnectionError as gone:
            raise RuntimeFailure(f"the caller went away: {gone}") from gone
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _end(process)
    finally:
        os.close(master)
    return exit_code(process.returncode)


async def _resize(master: int, streams: Streams) -> None:
    while (size := await streams.read_resize()) is not None:
        set_terminal_size(master, *size)


async def _type(master: int, streams: Streams) -> None:
    while data := await streams.read_stdin():
        while data:
            try:
                data = data[os.write(master, data) :]
            except BlockingIOError:
                await _ready(master, asyncio.get_running_loop().add_writer, asyncio.get_running_loop().remove_writer)


async def _read(master: int) -> bytes:
    """The terminal's next output; b"" when no program has it open any more."""
    while True:
        try:
            return os.read(master, CHUNK_BYTES)
        except BlockingIOError:
            await _ready(master, asyncio.get_running_loop().add_reader, asyncio.get_running_loop().remove_reader)
        except OSError:
            return b""


async def _ready(fd: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)
