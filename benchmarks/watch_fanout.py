"""How fast events reach watchers: 500 watchers of 200 creates, and one watcher alone.

    python benchmarks/watch_fanout.py --kubeconfig FILE [--watchers N] [--creates N]

Works with any Kubernetes. Creates follow one another; the watchers share one process with them, on the cores that the
server runs on, so that the client's part is in the figures.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

import uvloop
from table import FANOUT, FANOUT_DELAY, WATCH_DELAY, Table, median
from target import Connection, Target, connect, prepared

MARK = b'"name":"event-'
DIGITS = 6
WAIT_SECONDS = 60.0


class Watcher:
    """One watch; notes when each created object came."""

    def __init__(self, connection: Connection, tracker: "Tracker") -> None:
        self._tracker = tracker
        self._rest = b""
        self.began = asyncio.get_running_loop().create_future()
        connection.on_data = self._received

    def _received(self, data: bytes) -> None:
        if not self.began.done():
            self.began.set_result(None)
        data = self._rest + data
        now, at = time.perf_counter(), data.find(MARK)
        while at >= 0 and len(data) >= at + len(MARK) + DIGITS:
            at += len(MARK)
            self._tracker.seen(int(data[at : at + DIGITS]), now)
            at = data.find(MARK, at)
        # A mark that the end of this piece cuts in two is found again with the next piece.
        self._rest = data[at:] if at >= 0 else data[-len(MARK) + 1 :]


class Tracker:
    """When objects were sent and seen."""

    def __init__(self, deliveries: int) -> None:
        self._deliveries = deliveries
        self._sent: dict[int, float] = {}
        self.delays: list[float] = []
        self.last = 0.0
        self.complete = asyncio.Event()

    def send(self, number: int) -> None:
        self._sent[number] = time.perf_counter()

    def seen(self, number: int, now: float) -> None:
        self.delays.append(now - self._sent[number])
        self.last = now
        if len(self.delays) == self._deliveries:
            self.complete.set()


async def fan_out(target: Target, watchers: int, creates: int, first: int) -> tuple[float, list[float]]:
    """Deliveries per second, and the delay of each in seconds."""
    path = target.path("configmaps")
    tracker = Tracker(watchers * creates)
    listed = json.loads(await asyncio.to_thread(target.kubectl, "get", "--raw", f"{path}?limit=1"))
    query = f"{path}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
    connections = [await connect(target) for _ in range(watchers)]
    watching = [Watcher(connection, tracker) for connection in connections]
    for connection in connections:
        connection.transport.write(target.encode("GET", query))
    await asyncio.gather(*(watcher.began for watcher in watching))
    writer = await connect(target)
    begin = time.perf_counter()
    for number in range(first, first + creates):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"event-{number:0{DIGITS}}"}}
        request = target.encode("POST", path, json.dumps(body).encode())
        tracker.send(number)
        status, answer = await writer.ask(request)
        assert status == 201, answer
    async with asyncio.timeout(WAIT_SECONDS):
        await tracker.complete.wait()
    for connection in (*connections, writer):
        connection.close()
    return len(tracker.delays) / (tracker.last - begin), tracker.delays


async def measure(target: Target, watchers: int, creates: int) -> None:
    table = Table()
    _, delays = await fan_out(target, 1, creates, 0)
    table.add(WATCH_DELAY, median(delays) * 1000)
    rate, delays = await fan_out(target, watchers, creates, creates)
    table.add(FANOUT, rate)
    table.add(FANOUT_DELAY, median(delays) * 1000)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True, type=Path)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--creates", type=int, default=200)
    given = parser.parse_args()
    with prepared(str(given.kubeconfig)) as found_target:
        uvloop.run(measure(found_target, given.watchers, given.creates))
