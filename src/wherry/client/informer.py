"""A local copy of one kind, kept current: list once, then watch for ever.

Each object is decoded once and shared, so nobody may change what `get` and `list` return (wire.deep_copy first). Kept
without managedFields, half of what an object weighs and nothing that a controller reads; a server takes their absence
in an update for no change.
Handlers are told of every change, in order, on the event loop, and usually just put a key on a queue
(client/workqueue.py). When the server no longer has the revision to go on from (410) the informer lists again, and
handlers see the difference, deletions included.

Source of the behaviour: k8s.io/client-go, tools/cache (Reflector and SharedIndexInformer).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

from msgspec import MsgspecError

from wherry.aio.backoff import Backoff
from wherry.client.client import Client, WatchEvent
from wherry.client.transport import TransportError
from wherry.client.workqueue import meta_key
from wherry.meta.errors import StatusError
from wherry.meta.resource import Resource

T = TypeVar("T")
Key = tuple[str, str]
Handler = Callable[[T | None, T | None], None]
IndexFunction = Callable[[T], Iterable[str]]

log = logging.getLogger(__name__)

BACKOFF_MIN_SECONDS = 0.8
BACKOFF_MAX_SECONDS = 30.0
"""With jitter, which lengthens each wait up to twofold."""
BACKOFF_RESET_SECONDS = 120.0
"""A connection that lasted this long was a good one: the next failure starts from the shortest delay again."""
WATCH_TIMEOUT_SECONDS = 300.0
"""Each watch asks for this long, up to twice as long at random, so that servers shed watchers evenly."""
SHORT_WATCH_SECONDS = 1.0
"""A watch that ends sooner than this and brought nothing is a failure, not a timeout."""


class Informer(Generic[T]):
    """One kind in one namespace (or all), optionally narrowed by selectors."""

    def __init__(
        self,
        client: Client,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource: Resource | None = None,
        keep: Callable[[T], T] | None = None,
    ) -> None:
        """`keep` gives what to keep of an object, for who needs little of many; handlers see no more than that."""
        self._client = client
        self._keep = keep
        self._kind = kind
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._resource = resource
        self._store: _Store[T] = _Store()
        self._handlers: list[Handler[T]] = []
        self._synced = asyncio.Event()
        self._version: str | None = None  # where the next watch starts; None: list first
        self._listed_before = False
        self._progressed = False

    # What it knows ----------------------------------------------------------------------------------------------------

    def get(self, namespace: str | None, name: str) -> T | None:
        """The object, or None when the copy has none of that name."""
        return self._store.get((namespace or "", name))

    def by_index(self, index: str, value: str) -> list[T]:
        """Objects for which the index function gave `value`."""
        return self._store.by_index(index, value)

    def list(self, namespace: str | None = None) -> list[T]:
        """All objects, or those of one namespace."""
        return list(self._store.all(namespace))

    def __len__(self) -> int:
        return len(self._store)

    @property
    def has_synced(self) -> bool:
        """Whether the first list has arrived."""
        return self._synced.is_set()

    @property
    def resource_version(self) -> int:
        """How far it has read: writes of up to this revision are in it. 0 while it has to list (again)."""
        return int(self._version or 0)

    async def wait_synced(self) -> None:
        """Wait for the first list."""
        await self._synced.wait()

    # Who is told ------------------------------------------------------------------------------------------------------

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Make objects findable by the values `function` gives; a second index of the same name is the first one."""
        self._store.add_index(name, function)

    def add_handler(self, handler: Handler[T]) -> None:
        """Call `handler(old, new)` for every change: old is None for an addition, new is None for a deletion.

        What is already known is announced at once. A handler that raises is logged and stays.
        """
        self._handlers.append(handler)
        for obj in self.list():
            self._call(handler, None, obj)

    def _tell(self, old: T | None, new: T | None) -> None:
        for handler in self._handlers:
            self._call(handler, old, new)

    def _call(self, handler: Handler[T], old: T | None, new: T | None) -> None:
        try:
            handler(old, new)
        except Exception:
            log.exception("informer of %s: handler failed for %s", self.name, meta_key(new if old is None else old))

    # How it keeps up --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """List and watch until cancelled; every failure is logged, waited out and tried again."""
        clock = self._client.clock
        backoff = Backoff(self._client.entropy, BACKOFF_MIN_SECONDS, BACKOFF_MAX_SECONDS / 2, jitter=1.0)
        while True:
            started = clock.monotonic()
            self._progressed = False
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "")
            except StatusError as error:
                if error.code == 410:
                    self._version = None
                    log.info("informer of %s: listing again: %s", self.name, error)
                elif error.code == 404 and not self._listed_before:  # not served here (yet): there is none of it
                    self._synced.set()
                    log.info("informer of %s: %s", self.name, error)
                else:
                    log.warning("informer of %s: %s", self.name, error)
            except (TransportError, MsgspecError) as error:
                log.warning("informer of %s: %s", self.name, error)
            else:
                if self._progressed or clock.monotonic() - started >= SHORT_WATCH_SECONDS:
                    backoff.reset()
                    continue
            if clock.monotonic() - started >= BACKOFF_RESET_SECONDS:
                backoff.reset()
            await clock.sleep(backoff.next_seconds())

    async def _list(self) -> None:
        version = "" if self._listed_before else "0"  # "0": any state the server has in memory will do to begin with
        page = await self._client.list(
            self._kind,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            resource_version=version,
            resource=self._resource,
        )
        for old, new in self._store.replace(map(self._kept, page.items)):
            self._tell(old, new)
        self._version = page.resource_version
        self._listed_before = True
        self._synced.set()

    async def _watch(self, version: str) -> None:
        timeout_seconds = int(self._client.entropy.uniform(WATCH_TIMEOUT_SECONDS, 2 * WATCH_TIMEOUT_SECONDS))
        watch = self._client.watch(
            self._kind,
            self._namespace,
            resource_version=version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_seconds=timeout_seconds,
            resource=self._resource,
        )
        async with watch as events:
            async for event in events:
                self._apply(event)
                self._progressed = True

    def _apply(self, event: WatchEvent[T]) -> None:
        if event.type == "DELETED":
            old = self._store.remove(meta_key(event.object))
            if old is not None:
                self._tell(old, None)
        elif event.type != "BOOKMARK":
            for old, new in self._store.put(self._kept(event.object)):
                self._tell(old, new)
        self._version = _metadata(event.object, "resourceVersion") or self._version

    def _kept(self, obj: T) -> T:
        if not isinstance(obj, dict):
            obj.metadata.managedFields = []  # type: ignore[attr-defined]
        return obj if self._keep is None else self._keep(obj)

    @property
    def name(self) -> str:
        return self._resource.group_resource if self._resource else self._kind.__name__


class _Store(Generic[T]):
    """Objects by namespace and name, with indices; every change is returned as (old, new) pairs."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, T]] = {}
        self._functions: dict[str, IndexFunction[T]] = {}
        self._indices: dict[str, dict[str, dict[Key, T]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._namespaces.values()))

    def get(self, key: Key) -> T | None:
        objects = self._namespaces.get(key[0])
        return objects.get(key[1]) if objects else None

    def all(self, namespace: str | None) -> Iterable[T]:
        if namespace is not None:
            return self._namespaces.get(namespace, {}).values()
        return chain.from_iterable(objects.values() for objects in self._namespaces.values())

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        if name in self._functions:
            return
        self._functions[name] = function
        self._indices[name] = {}
        for obj in self.all(None):
            self._enter(name, meta_key(obj), obj)

    def by_index(self, name: str, value: str) -> list[T]:
        return list(self._indices[name].get(value, {}).values())

    def replace(self, objects: Iterable[T]) -> Iterator[tuple[T | None, T | None]]:
        """Take these objects for the whole truth. Consume the answer to have it happen."""
        current = {meta_key(obj): obj for obj in objects}
        gone = [key for obj in self.all(None) if (key := meta_key(obj)) not in current]
        for key in gone:
            yield self.remove(key), None
        for obj in current.values():
            yield from self.put(obj)

    def put(self, obj: T) -> Iterator[tuple[T | None, T | None]]:
        """Nothing when it is known already; two changes when another object of that name was known."""
        key = meta_key(obj)
        old = self.get(key)
        if old is not None and _metadata(old, "resourceVersion") == _metadata(obj, "resourceVersion"):
            return
        if old is not None and _metadata(old, "uid") != _metadata(obj, "uid"):
            yield self.remove(key), None
            old = None
        if old is not None:
            self._leave(key, old)
        self._namespaces.setdefault(key[0], {})[key[1]] = obj
        for name in self._functions:
            self._enter(name, key, obj)
        yield old, obj

    def remove(self, key: Key) -> T | None:
        objects = self._namespaces.get(key[0], {})
        old = objects.pop(key[1], None)
        if old is not None:
            self._leave(key, old)
            if not objects:
                del self._namespaces[key[0]]
        return old

    def _enter(self, name: str, key: Key, obj: T) -> None:
        index = self._indices[name]
        for value in self._functions[name](obj):
            index.setdefault(value, {})[key] = obj

    def _leave(self, key: Key, obj: T) -> None:
        for name, function in self._functions.items():
            index = self._indices[name]
            for value in function(obj):
                entry = index.get(value)
                if entry and entry.pop(key, None) is not None and not entry:
                    del index[value]


def _metadata(obj: Any, name: str) -> str | None:
    value = obj["metadata"].get(name) if isinstance(obj, dict) else getattr(obj.metadata, name)
    return value or None


class Informers:
    """The informers of one process: those who ask for the same thing share one copy."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[tuple[Any, ...], Informer[Any]] = {}
        self._group: asyncio.TaskGroup | None = None

    def informer(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource: Resource | None = None,
    ) -> Informer[T]:
        """The shared informer for these arguments; it starts with `run`, or at once when that runs already."""
        key = (kind, namespace, label_selector, field_selector, resource and (resource.api_version, resource.plural))
        informer = self._informers.get(key)
        if informer is None:
            informer = self._informers[key] = Informer(
                self._client,
                kind,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                resource=resource,
            )
            if self._group is not None:
                self._start(self._group, informer)
        return informer

    async def wait_synced(self) -> None:
        """Wait for the first list of every informer asked for so far."""
        for informer in list(self._informers.values()):
            await informer.wait_synced()

    async def run(self) -> None:
        """Run all informers, also those asked for later, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in list(self._informers.values()):
                    self._start(group, informer)
                await asyncio.Event().wait()
            finally:
                self._group = None

    def _start(self, group: asyncio.TaskGroup, informer: Informer[Any]) -> None:
        group.create_task(informer.run(), name=f"informer {informer.name}")
