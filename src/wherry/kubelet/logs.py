"""Container logs in CRI's format: read, follow, choose, rotate.

A line is `2026-01-01T00:00:00.000000000Z stdout F text`; P instead of F marks a piece whose line goes on. Reading is
sans I/O in `LogFilter`; `read_log` feeds it from the file, and follows the file across rotations.
"""

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from wherry.aio.clock import Clock
from wherry.meta.time import parse_time

CHUNK_BYTES = 64 * 1024
POLL_SECONDS = 0.2
"""How often a followed file is looked at; there is no portable notification that costs less."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """PodLogOptions, resolved."""

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None
    stream: str = "All"

    @classmethod
    def of(cls, query: dict[str, str], now: datetime) -> "LogOptions":
        """From query parameters. Raises ValueError."""
        since = None
        if query.get("sinceTime"):
            since = parse_time(query["sinceTime"])
        elif query.get("sinceSeconds"):
            since = now - timedelta(seconds=int(query["sinceSeconds"]))
        limit, tail = query.get("limitBytes"), query.get("tailLines")
        if tail is not None and int(tail) < 0:
            raise ValueError("tailLines must be greater than or equal to 0")
        if limit is not None and int(limit) < 1:
            raise ValueError("limitBytes must be greater than 0")
        return cls(
            follow=query.get("follow") in ("true", "1"),
            timestamps=query.get("timestamps") in ("true", "1"),
            tail_lines=int(tail) if tail is not None else None,
            limit_bytes=int(limit) if limit is not None else None,
            since=since,
            stream=query.get("stream") or "All",
        )


class LogFilter:
    """Raw log lines in, what the reader asked for out."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit_bytes
        self._continues: dict[bytes, bool] = {}

    @property
    def full(self) -> bool:
        """The limit in bytes is reached."""
        return self._left is not None and self._left <= 0

    def line(self, raw: bytes) -> bytes:
        """The output for one whole line of the file, without its newline; b"" for a line that is left out."""
        parts = raw.split(b" ", 3)
        if len(parts) < 4:
            return b""
        stamp, stream, tag, text = parts
        if self._options.stream not in ("", "All") and stream.decode().lower() != self._options.stream.lower():
            return b""
        if self._options.since and parse_time(stamp.decode()) < self._options.since:
            return b""
        goes_on = self._continues.get(stream, False)
        partial = tag.split(b":")[0] == b"P"
        self._continues[stream] = partial
        out = text if partial else text + b"\n"
        if self._options.timestamps and not goes_on:
            out = stamp + b" " + out
        if self._left is not None:
            out = out[: self._left]
            self._left -= len(out)
        return out


def format_line(when: datetime, stream: str, text: bytes, partial: bool = False) -> bytes:
    """One line as CRI writes it."""
    stamp = when.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    return f"{stamp} {stream} {'P' if partial else 'F'} ".encode() + text + b"\n"


async def read_log(
    path: Path, options: LogOptions, clock: Clock, is_running: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """The log's output in chunks; with `follow` until the container has ended and all is read. Raises OSError."""
    chosen = LogFilter(options)
    file: BinaryIO = path.open("rb")
    try:
        if options.tail_lines is not None:
            seek_tail(file, options.tail_lines)
        rest = b""
        while True:
            alive = await is_running() if options.follow else False
            while data := file.read(CHUNK_BYTES):
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                out = b"".join(map(chosen.line, lines))
                if out:
                    yield out
                if chosen.full:
                    return
            replaced = _replaced(file, path)
            if replaced:
                file.close()
                file, rest = replaced, b""
            elif alive:
                await clock.sleep(POLL_SECONDS)
            else:
                return
    finally:
        file.close()


def _replaced(file: BinaryIO, path: Path) -> BinaryIO | None:
    """The new file when the log was rotated under us."""
    import os

    try:
        fresh = path.open("rb")
    except FileNotFoundError:
        return None
    if os.fstat(fresh.fileno()).st_ino == os.fstat(file.fileno()).st_ino:
        fresh.close()
        return None
    return fresh


def seek_tail(file: BinaryIO, lines: int) -> None:
    """Position the file at its last `lines` whole lines (pieces of one line count as one)."""
    end = file.seek(0, 2)
    if lines == 0:
        return
    at, found = end, 0
    buffer = b""
    while at > 0:
        step = min(CHUNK_BYTES, at)
        at -= step
        file.seek(at)
        buffer = file.read(step) + buffer
        starts = [0 if at == 0 else -1] if at == 0 else []
        starts += [index + 1 for index in range(len(buffer)) if buffer[index] == 10 and index + 1 < len(buffer)]
        whole = [start for start in sorted(set(starts)) if not _continues_line(buffer, start, at == 0)]
        found = len(whole)
        if found >= lines:
            file.seek(at + whole[-lines])
            return
    file.seek(0)


def _continues_line(buffer: bytes, start: int, from_file_start: bool) -> bool:
    """Whether the line before `start` is a piece (P) that this one goes on with."""
    if start == 0:
        return not from_file_start
    before = buffer.rfind(b"\n", 0, start - 1) + 1
    parts = buffer[before : start - 1].split(b" ", 3)
    return len(parts) >= 3 and parts[2].split(b":")[0] == b"P"


def tail_text(path: Path, max_lines: int, max_bytes: int) -> str:
    """The last lines of a log as text, for termination messages; "" when there is no log."""
    if not path.is_file():
        return ""
    chosen = LogFilter(LogOptions())
    with path.open("rb") as file:
        seek_tail(file, max_lines)
        text = b"".join(map(chosen.line, file.read().split(b"\n")))
    return text[-max_bytes:].decode(errors="replace")


def rotate(path: Path, stamp: str, max_files: int) -> None:
    """Move the log aside as `<log>.<stamp>`, compress earlier ones and keep `max_files` in all."""
    earlier = sorted(item for item in path.parent.glob(path.name + ".*") if item.suffix != ".tmp")
    for item in earlier[: max(0, len(earlier) - (max_files - 2))]:
        item.unlink()
    for item in path.parent.glob(path.name + ".*"):
        if item.suffix not in (".gz", ".tmp"):
            packed = item.with_name(item.name + ".tmp")
            with item.open("rb") as source, gzip.open(packed, "wb") as target:
                while data := source.read(CHUNK_BYTES):
                    target.write(data)
            packed.rename(item.with_name(item.name + ".gz"))
            item.unlink()
    path.rename(path.with_name(f"{path.name}.{stamp}"))
