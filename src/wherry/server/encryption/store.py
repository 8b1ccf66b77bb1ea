"""A store whose values are enciphered below it: what the server writes goes through the configured transformers.

Only servers with an EncryptionConfiguration have one. A value that cannot be read does not stop the others: it comes
as `Unreadable`, which the watch cache notes and requests for it are told. Keys whose value was not written by the
current provider are remembered as stale, so that a write without a change still writes them anew.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.registry import RESOURCES
from wherry.meta.errors import internal_error
from wherry.server.caches import ROOT, ObjectStore, Unreadable
from wherry.server.encryption import ConfigurationError
from wherry.server.encryption.configuration import read
from wherry.server.encryption.transformers import Transformer, TransformError
from wherry.store.errors import SlowWatcherError
from wherry.store.protocol import Event, KeyValue, RangeResult, SwapResult, Watch, prefix_end

_log = logging.getLogger(__name__)
RELOAD_SECONDS = 60.0
"""How often the file is looked at when it is to be reloaded."""
_KNOWN = {
    resource.storage_prefix.encode(): resource.group_resource for resource in RESOURCES if not resource.storage_version
}


class EncryptedStore:
    """An ObjectStore over another."""

    def __init__(self, store: ObjectStore, path: Path, clock: Clock, entropy: Entropy) -> None:
        """Reads the file. Raises ConfigurationError, OSError."""
        self._store = store
        self._path = path
        self._clock, self._entropy = clock, entropy
        self._data = path.read_bytes()
        self._encryption = read(self._data, clock, entropy)
        self._transformers: dict[bytes, Transformer] = {}
        self.stale: set[bytes] = set()
        """Keys to write anew at the next occasion."""
        self._unreadable: set[bytes] = set()
        self._watches: list[_Watch] = []
        self._reloading: asyncio.Task[None] | None = None

    async def start(self, *, reload: bool) -> None:
        """Meet the plugins, and with `reload` follow the file."""
        await self._encryption.start()
        if reload:
            self._reloading = asyncio.get_running_loop().create_task(self._follow_file(), name="encryption config")

    async def close(self) -> None:
        """Leave plugins and file; the store below is its owner's to close."""
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)
        await self._encryption.close()

    async def healthy(self) -> bool:
        """Whether all plugins are well."""
        return not any(provider.fault for provider in self._encryption.providers)

    # The file

    async def _follow_file(self) -> None:
        while True:
            await self._clock.sleep(RELOAD_SECONDS)
            await self.reload()

    async def reload(self) -> None:
        """Take the file as it is now; a bad one leaves everything as it was."""
        try:
            data = self._path.read_bytes()
            if data == self._data:
                return
            made = read(data, self._clock, self._entropy)
        except (OSError, ConfigurationError) as error:
            _log.error("%s: the encryption configuration stays as it was: %s", self._path, error)
            return
        await made.start()
        old, self._encryption, self._data = self._encryption, made, data
        self._transformers.clear()
        await old.close()
        await self._look_again()
        _log.info("%s: the encryption configuration is taken from the changed file", self._path)

    async def _look_again(self) -> None:
        """Find out what is stale now; what could not be read may be readable."""
        broken = set(self._unreadable)
        self.stale.clear()
        await self.range(ROOT, prefix_end(ROOT))
        if broken - self._unreadable:
            for watch in self._watches:
                watch.restart = True

    # ObjectStore

    @property
    def revision(self) -> int:
        """See Store."""
        return self._store.revision

    async def range(self, key: bytes, range_end: bytes = b"", *, limit: int = 0, revision: int = 0) -> RangeResult:
        """See Store; values that cannot be read are Unreadable."""
        found = await self._store.range(key, range_end, limit=limit, revision=revision)
        return msgspec.structs.replace(found, kvs=[await self._read(kv) for kv in found.kvs])

    async def put_if(self, key: bytes, value: bytes, mod_revision: int) -> SwapResult:
        """See Store. Raises StatusError (500) when the provider is not well."""
        try:
            kept = await self._transformer(key).encrypt(value, key)
        except TransformError as error:
            raise internal_error(str(error)) from error
        return await self._store.put_if(key, kept, mod_revision)

    async def delete_if(self, key: bytes, mod_revision: int) -> SwapResult:
        """See Store."""
        swap = await self._store.delete_if(key, mod_revision)
        if swap.succeeded:
            self.stale.discard(key)
            self._unreadable.discard(key)
        return swap

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        start_revision: int = 0,
        prev_kv: bool = True,
        events_max: int = 10_000,
    ) -> Watch:
        """See Store."""
        inner = self._store.watch(key, range_end, start_revision=start_revision, prev_kv=prev_kv, events_max=events_max)
        watch = _Watch(inner, self._read, self._watches.remove)
        self._watches.append(watch)
        return watch

    def _transformer(self, key: bytes) -> Transformer:
        end = key.find(b"/", len(ROOT)) + 1
        prefix = key[:end] if key[:end] in _KNOWN else key[: key.find(b"/", end) + 1]
        found = self._transformers.get(prefix)
        if found is None:
            group, plural = prefix[len(ROOT) :].decode(errors="backslashreplace").rstrip("/").partition("/")[::2]
            resource = _KNOWN.get(prefix) or f"{plural}.{group}"
            found = self._transformers[prefix] = self._encryption.transformer(resource)
        return found

    async def _read(self, kv: KeyValue) -> KeyValue:
        key = kv.key
        try:
            value, stale = await self._transformer(key).decrypt(kv.value, key)
        except TransformError as error:
            _log.error("%s cannot be read: %s", key.decode(), error)
            self._unreadable.add(key)
            return msgspec.structs.replace(kv, value=Unreadable(f'unable to transform key "{key.decode()}": {error}'))
        self._unreadable.discard(key)
        if stale:
            self.stale.add(key)
        else:
            self.stale.discard(key)
        return kv if value is kv.value else msgspec.structs.replace(kv, value=value)


class _Watch:
    """A watch whose values are read."""

    def __init__(self, inner: Watch, transform: Callable[[KeyValue], Any], closed: Callable[["_Watch"], None]) -> None:
        self._inner, self._transform, self._closed = inner, transform, closed
        self.restart = False
        """Whoever follows must load again: some of what it could not read has become readable."""

    @property
    def revision(self) -> int:
        return self._inner.revision

    def close(self) -> None:
        self._inner.close()

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        return self

    async def __anext__(self) -> Sequence[Event]:
        events = await self._inner.__anext__()
        if self.restart:
            raise SlowWatcherError("what could not be deciphered may be readable now")
        return [
            msgspec.structs.replace(event, kv=await self._transform(event.kv)) if event.kind == "put" else event
            for event in events
        ]

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed(self)
        await self._inner.__aexit__(kind, error, trace)
