"""Files that configure the server, taken anew when they change: certificates, authentication's configuration, and more.

Files are looked at from time to time by size, inode and time of change, which costs nothing and also notices the
symbolic links that mounted secrets are swapped by. A file that cannot be used leaves everything as it was.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from wherry.aio.clock import Clock

LOOK_SECONDS = 5.0
"""kube-apiserver is told of changes by the kernel; nobody who replaces a certificate notices a few seconds."""
_log = logging.getLogger(__name__)

Changed = Callable[[], Awaitable[None] | None]
"""Takes the files as they are now. Raises OSError, ValueError for what cannot be used."""


class FileFollower:
    """Follows some files until closed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._followed: list[tuple[tuple[Path, ...], Changed]] = []
        self._seen: dict[tuple[Path, ...], object] = {}
        self._told: dict[tuple[Path, ...], object] = {}
        """What was complained about, so that it is not each time."""
        self._task: asyncio.Task[None] | None = None

    def follow(self, paths: Sequence[Path], changed: Changed) -> None:
        """Call `changed` whenever one of `paths` is not what it was when this was called."""
        self._followed.append((tuple(paths), changed))
        self._seen[tuple(paths)] = _state(tuple(paths))

    def start(self) -> None:
        """Look from now on, if there is anything to look at."""
        if self._followed:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="configuration files")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once. What cannot be read is tried again, what cannot be used only when it changes again."""
        for paths, changed in self._followed:
            state = _state(paths)
            if state == self._seen[paths]:
                continue
            names = ", ".join(map(str, paths))
            try:
                pending = changed()
                if pending is not None:
                    await pending
            except OSError as error:
                if self._told.get(paths) != state:
                    self._told[paths] = state
                    _log.error("%s: stays as it was: %s", names, error)
                continue
            except ValueError as error:
                _log.error("%s: stays as it was: %s", names, error)
            else:
                _log.info("%s: taken anew", names)
            self._seen[paths] = state


def _state(paths: tuple[Path, ...]) -> object:
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found
