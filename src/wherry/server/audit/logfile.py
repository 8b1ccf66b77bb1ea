"""The log backend: a line per event, into a file that rotates by size and forgets by age and number, or to stdout."""

import gzip
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from wherry.aio.clock import Clock
from wherry.server.audit.events import Event, legacy_line

MEGABYTE = 1 << 20
_STAMP = "%Y-%m-%dT%H-%M-%S.%f"


class LogFile:
    """Writes at once, as --audit-log-mode=blocking does. `-` is stdout."""

    name = "log"

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        form: str = "json",
        size_max_megabytes: int = 0,
        age_max_days: int = 0,
        backups_max: int = 0,
        compress: bool = False,
    ) -> None:
        self._clock = clock
        self._line: Callable[[Event], bytes] = (
            (lambda event: orjson.dumps(event) + b"\n")
            if form == "json"
            else (lambda event: f"{legacy_line(event)}\n".encode())
        )
        self._bytes_max = size_max_megabytes * MEGABYTE
        self._age = timedelta(days=age_max_days) if age_max_days else None
        self._backups_max = backups_max
        self._compress = compress
        self._path = None if path == "-" else Path(path)
        self._descriptor = sys.stdout.fileno() if self._path is None else self._open(self._path)
        self._size = 0 if self._path is None else self._path.stat().st_size
        self.errors = 0

    @staticmethod
    def _open(path: Path) -> int:
        """Raises OSError."""
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def put(self, event: Event) -> None:
        """Append a line; one that cannot be written is counted."""
        line = self._line(event)
        try:
            if self._bytes_max and self._size and self._size + len(line) > self._bytes_max:
                self._rotate()
            os.write(self._descriptor, line)
            self._size += len(line)
        except OSError:
            self.errors += 1

    async def close(self) -> None:
        """Nothing is held back."""
        if self._path is not None and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # Rotation, names as lumberjack gives them: audit-2026-01-02T15-04-05.000.log

    def _rotate(self) -> None:
        assert self._path is not None
        path = self._path
        stamp = self._clock.now().astimezone(UTC).strftime(_STAMP)[:-3]
        backup = path.with_name(f"{path.stem}-{stamp}{path.suffix}")
        path.rename(backup)
        os.close(self._descriptor)
        self._descriptor, self._size = self._open(path), 0
        if self._compress:
            with backup.open("rb") as source, gzip.open(f"{backup}.gz", "wb") as target:
                shutil.copyfileobj(source, target)
            backup.unlink()
        self._forget(path)

    def _forget(self, path: Path) -> None:
        """Delete backups that are too old or too many."""
        backups = sorted(self._backups(path), reverse=True)
        oldest = self._clock.now() - self._age if self._age is not None else None
        for index, (when, backup) in enumerate(backups):
            if (self._backups_max and index >= self._backups_max) or (oldest is not None and when < oldest):
                backup.unlink()

    @staticmethod
    def _backups(path: Path) -> list[tuple[datetime, Path]]:
        found = []
        for backup in path.parent.glob(f"{path.stem}-*"):
            text = backup.name.removesuffix(".gz").removesuffix(path.suffix).removeprefix(f"{path.stem}-")
            try:
                found.append((datetime.strptime(text, _STAMP).replace(tzinfo=UTC), backup))
            except ValueError:
                continue  # somebody else's file
        return found
