"""Both engines against a model too simple to be wrong: the whole key space, copied at every revision."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.store.conftest import TickClock
from wherry.store.local import LocalStore, memory_store, open_store
from wherry.store.protocol import FROM_KEY, Compare, DeleteRangeOp, Event, KeyValue, PutOp

KEYS = [b"a", b"ab", b"b", b"c/1", b"c/2"]

keys = st.sampled_from(KEYS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.binary(max_size=3)),
        st.tuples(st.just("put_if"), keys, st.integers(0, 12)),
        st.tuples(st.just("delete_if"), keys, st.integers(0, 12)),
        st.tuples(st.just("delete"), keys, st.sampled_from([b"", b"c", b"d", FROM_KEY])),
        st.tuples(st.just("txn"), keys, st.integers(0, 3)),
        st.tuples(st.just("compact"), st.integers(1, 4), st.none()),
        st.tuples(st.just("reopen"), st.none(), st.none()),
    ),
    max_size=25,
)


class Model:
    """`history[revision]` is the whole key space then."""

    def __init__(self) -> None:
        self.history: dict[int, dict[bytes, KeyValue]] = {1: {}}
        self.revision = 1
        self.compacted = 0

    @property
    def now(self) -> dict[bytes, KeyValue]:
        return self.history[self.revision]

    def change(self, puts: dict[bytes, bytes], deletes: list[bytes]) -> None:
        if not puts and not deletes:
            return
        state = {key: kv for key, kv in self.now.items() if key not in deletes}
        self.revision += 1
        for key, value in puts.items():
            old = state.get(key)
            created, version = (old.create_revision, old.version + 1) if old else (self.revision, 1)
            state[key] = KeyValue(key, value, created, self.revision, version)
        self.history[self.revision] = state

    def mod(self, key: bytes) -> int:
        return self.now[key].mod_revision if key in self.now else 0

    def within(self, key: bytes, end: bytes) -> list[bytes]:
        if not end:
            return [key] if key in self.now else []
        return sorted(k for k in self.now if k >= key and (end == FROM_KEY or k < end))

    def events(self, start: int) -> list[Event]:
        found = []
        for revision in range(max(start, 2), self.revision + 1):
            old, new = self.history[revision - 1], self.history[revision]
            changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
            for key in changed:
                if key in new:
                    found.append(Event("put", new[key], old.get(key)))
                else:
                    found.append(Event("delete", KeyValue(key, b"", 0, revision, 0), old[key]))
        return found


async def perform(store: LocalStore, model: Model, step: tuple[object, ...]) -> None:
    match step:
        case ("put", bytes(key), bytes(value)):
            await store.put(key, value)
            model.change({key: value}, [])
        case ("put_if", bytes(key), int(revision)):
            result = await store.put_if(key, b"if", revision)
            assert result.succeeded == (model.mod(key) == revision)
            assert result.current == (None if result.succeeded else model.now.get(key))
            model.change({key: b"if"} if result.succeeded else {}, [])
        case ("delete_if", bytes(key), int(revision)):
            result = await store.delete_if(key, revision)
            assert result.succeeded == (0 < revision == model.mod(key))
            model.change({}, [key] if result.succeeded else [])
        case ("delete", bytes(key), bytes(end)):
            doomed = model.within(key, end)
            deleted = await store.delete_range(key, end, prev_kv=True)
            assert deleted.prev_kvs == [model.now[name] for name in doomed]
            model.change({}, doomed)
        case ("txn", bytes(key), int(version)):
            held = (model.now[key].version if key in model.now else 0) == version
            txn = await store.txn(
                [Compare(key, "version", "=", version)], [PutOp(b"a", b"t"), PutOp(b"z", b"t")], [DeleteRangeOp(key)]
            )
            assert txn.succeeded == held
            model.change({b"a": b"t", b"z": b"t"} if held else {}, [] if held else model.within(key, b""))
        case ("compact", int(back), None):
            if (revision := model.revision - back) > max(0, model.compacted):
                await store.compact(revision)
                model.compacted = revision


async def agrees(store: LocalStore, model: Model) -> None:
    assert (store.revision, store.compact_revision) == (model.revision, model.compacted)
    for revision in range(max(1, model.compacted), model.revision + 1):
        state = model.history[revision]
        found = await store.range(b"", FROM_KEY, revision=revision)
        assert found.kvs == [state[key] for key in sorted(state)]
    for key in KEYS:
        expected = [kv for name, kv in sorted(model.now.items()) if key <= name < b"c/2"]
        assert (await store.range(key, b"c/2")).kvs == (expected if key < b"c/2" else [])
    expected_events = model.events(model.compacted + 1)
    events: list[Event] = []
    async with store.watch(b"", FROM_KEY, start_revision=model.compacted + 1) as watch:
        while len(events) < len(expected_events):
            events += await asyncio.wait_for(watch.__anext__(), 5)
    assert events == expected_events


async def run(plan: list[tuple[object, ...]], directory: Path | None) -> None:
    clock = TickClock()
    store = memory_store(clock) if directory is None else await open_store(directory, clock)
    model = Model()
    live = store.watch(b"", FROM_KEY)
    for step in plan:
        if step[0] == "reopen":
            if directory is not None:
                await store.close()
                store = await open_store(directory, clock)
                live = store.watch(b"", FROM_KEY)
            continue
        before = model.revision
        await perform(store, model, step)
        if model.revision > before:
            assert list(await asyncio.wait_for(live.__anext__(), 5)) == model.events(before + 1)
    await agrees(store, model)
    await store.close()


@settings(max_examples=150, deadline=None)
@given(steps)
def test_the_memory_engine_agrees_with_the_model(plan: list[tuple[object, ...]]) -> None:
    asyncio.run(run(plan, None))


@settings(max_examples=40, deadline=None)
@given(steps)
def test_the_lmdb_engine_agrees_with_the_model(plan: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(plan, Path(directory)))
