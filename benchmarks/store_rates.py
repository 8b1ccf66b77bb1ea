"""What the store does on this machine: synced writes, reads, opening time and memory.

    python benchmarks/store_rates.py [--directory DIR] [--keys N] [--seconds S]

The directory must be on the disk that is to be measured; it is created and removed.
"""

import argparse
import asyncio
import gc
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from wherry.aio.clock import SystemClock
from wherry.store.local import LocalStore, memory_store, open_store
from wherry.store.protocol import Compare, PutOp, prefix_end

VALUE = b"x" * 256
PREFIX = b"/registry/configmaps/default/"

Action = Callable[[LocalStore, int], Awaitable[object]]


def key(number: int) -> bytes:
    return PREFIX + b"name-%09d" % number


async def create(store: LocalStore, number: int) -> None:
    await store.put_if(key(number), VALUE, 0)


async def compare_and_put(store: LocalStore, number: int) -> None:
    await store.txn([Compare(key(number), "mod", "=", 0)], [PutOp(key(number), VALUE)])


async def rate(store: LocalStore, action: Action, workers: int, seconds: float, first: int) -> tuple[float, int]:
    """Calls per second of `workers` concurrent callers, and the next unused number."""
    start = time.perf_counter()
    number = first

    async def work() -> None:
        nonlocal number
        while time.perf_counter() - start < seconds:
            number += 1
            await action(store, number)

    await asyncio.gather(*(work() for _ in range(workers)))
    return (number - first) / (time.perf_counter() - start), number


async def watched(store: LocalStore, counter: list[int]) -> None:
    async with store.watch(b"/registry/", prefix_end(b"/registry/"), events_max=1_000_000) as watch:
        async for events in watch:
            counter[0] += len(events)


def resident_bytes(field: str = "RssAnon") -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


async def measure_engine(name: str, store: LocalStore, seconds: float) -> None:
    number = 0
    for workers in (1, 32, 100):
        value, number = await rate(store, create, workers, seconds, number)
        print(f"{name}: put_if (create), {workers:3} callers   {value:10,.0f}/s")
    value, number = await rate(store, compare_and_put, 100, seconds, number)
    print(f"{name}: txn compare-and-put, 100 callers {value:10,.0f}/s")
    counter = [0]
    task = asyncio.create_task(watched(store, counter))
    value, number = await rate(store, create, 100, seconds, number)
    print(f"{name}: put_if with a watch on all       {value:10,.0f}/s   {counter[0]:,} events delivered")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    recent = key(number - 10)
    value, _ = await rate(store, lambda store, _: store.range(recent), 1, seconds, 0)
    print(f"{name}: range of one recent key          {value:10,.0f}/s")
    value, _ = await rate(store, lambda store, at: store.range(key(1 + at % 1000)), 1, seconds, 0)
    print(f"{name}: range of one old key             {value:10,.0f}/s")
    value, _ = await rate(store, lambda store, _: store.range(PREFIX, key(501)), 1, seconds, 0)
    print(f"{name}: range of 500 keys                {value:10,.0f}/s")


async def measure_size(directory: Path, keys: int) -> None:
    store = await open_store(directory, SystemClock())
    gc.collect()
    before = resident_bytes()
    for first in range(0, keys, 1000):
        await asyncio.gather(*(create(store, number) for number in range(first, first + 1000)))
    print(f"lmdb: memory per key after {keys:,} creates {(resident_bytes() - before) / keys:6.0f} bytes")
    await store.close()
    del store
    start = time.perf_counter()
    store = await open_store(directory, SystemClock())
    print(f"lmdb: opening {keys:,} keys takes {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    await store.compact(store.revision)
    print(f"lmdb: compacting the history of {keys:,} revisions takes {time.perf_counter() - start:.2f} s")
    await store.close()


async def main(parent: Path | None, keys: int, seconds: float) -> None:
    directory = Path(tempfile.mkdtemp(dir=parent, prefix="store-rates-"))
    try:
        await measure_size(directory / "size", keys)
        store = await open_store(directory / "rates", SystemClock())
        await measure_engine("lmdb", store, seconds)
        await store.close()
        await measure_engine("memory", memory_store(SystemClock()), seconds)
        print(f"peak resident memory of this process {resident_bytes('VmHWM') / 1e6:.0f} MB")
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.directory, arguments.keys, arguments.seconds))
