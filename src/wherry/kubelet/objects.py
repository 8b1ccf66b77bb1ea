"""The ConfigMaps and Secrets that this node's pods use: one watch for each, as long as some pod wants it.

`get` answers from memory once an object is watched; a change wakes every pod that uses it, so that volumes follow
within a moment and a pod that waits for a missing object starts as soon as it is there.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from wherry.api.core_v1 import ConfigMap, Secret
from wherry.client.client import Client
from wherry.client.informer import Informer

log = logging.getLogger(__name__)

SYNC_SECONDS = 30.0
"""How long a pod waits for the first answer about an object before it reports a failure."""
Key = tuple[type, str, str]


@dataclass(slots=True)
class _Watched:
    informer: Informer[ConfigMap | Secret]
    task: asyncio.Task[None]
    users: set[str] = field(default_factory=set)


class ObjectCache:
    """Watches by (kind, namespace, name), counted by pod uid."""

    def __init__(self, client: Client, changed: Callable[[str], None]) -> None:
        self._client = client
        self._changed = changed
        self._watched: dict[Key, _Watched] = {}

    async def get(self, kind: type, namespace: str, name: str, user: str) -> ConfigMap | Secret | None:
        """The object as it is now, watched from here on for the pod `user`. Raises TimeoutError."""
        watched = self._watched.get((kind, namespace, name)) or self._watch((kind, namespace, name))
        watched.users.add(user)
        async with asyncio.timeout(SYNC_SECONDS):
            await watched.informer.wait_synced()
        return watched.informer.get(namespace, name)

    def release(self, user: str) -> None:
        """The pod is gone: stop what only it watched."""
        for key, watched in list(self._watched.items()):
            watched.users.discard(user)
            if not watched.users:
                watched.task.cancel()
                del self._watched[key]

    async def close(self) -> None:
        """Stop every watch."""
        tasks = [watched.task for watched in self._watched.values()]
        self._watched.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    def _watch(self, key: Key) -> _Watched:
        kind, namespace, name = key
        informer: Informer[ConfigMap | Secret] = Informer(
            self._client, kind, namespace, field_selector=f"metadata.name={name}"
        )
        task = asyncio.create_task(informer.run(), name=f"{kind.__name__} {namespace}/{name}")
        watched = self._watched[key] = _Watched(informer, task)

        def tell(old: ConfigMap | Secret | None, new: ConfigMap | Secret | None) -> None:
            for user in tuple(watched.users):
                self._changed(user)

        informer.add_handler(tell)
        return watched
