"""Requests per second of an API server over TLS: GET, create, merge patch, LIST; and the memory that remains.

    python benchmarks/api_rates.py --kubeconfig FILE [--pid PID ...] [--seconds S] [--client wrk|python]

Works with any Kubernetes. The load comes from wrk where it is installed (Debian: apt-get install wrk), else from a
Python client, which costs the shared cores more than the server under test may like. `--pid` names the processes whose
CPU and memory are read: etcd, kube-apiserver, kube-controller-manager, kube-scheduler; or the one of `wherry up`.
"""

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable
from pathlib import Path

import uvloop
from table import CREATE, GET, LIST, LIST_LIMIT, MEMORY_AFTER, PATCH, Measure, Table
from target import Target, cpu_seconds, hammer, memory_bytes, prepared

OBJECTS = 21_900
PATCHED = 200
MERGE_PATCH = "application/merge-patch+json"

SCRIPT = """
local number = 0
local name = nil
function setup(thread) thread:set("id", counter); counter = counter + 1 end
counter = 0
function request()
  number = number + 1
  %s
end
"""
LUA_GET = 'return wrk.format("GET", "{path}")'
LUA_CREATE = """
  return wrk.format("POST", "{path}", nil, '{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{prefix}-' ..
    id .. "-" .. number .. '"}},"data":{{"key":"value-' .. number .. '"}}}}')"""
LUA_PATCH = """
  return wrk.format("PATCH", "{path}/patched-" .. (number % {count}), nil,
    '{{"data":{{"key":"v' .. number .. '"}}}}')"""


class Load:
    """Drives the server with wrk or with the Python client."""

    def __init__(self, target: Target, client: str, seconds: float) -> None:
        self.target, self.client, self.seconds = target, client, seconds

    async def get(self, path: str, connections: int) -> float:
        """GETs of one path."""
        if self.client == "wrk":
            return await asyncio.to_thread(self._wrk, LUA_GET.format(path=path), connections)
        request = self.target.encode("GET", path)
        return (await hammer(self.target, connections, lambda _: request, seconds=self.seconds))[0]

    async def create(self, path: str, prefix: str, connections: int) -> float:
        """Creates of ConfigMaps with ever new names."""
        if self.client == "wrk":
            return await asyncio.to_thread(self._wrk, LUA_CREATE.format(path=path, prefix=prefix), connections)
        make = self._creates(path, prefix)
        return (await hammer(self.target, connections, make, seconds=self.seconds))[0]

    async def patch(self, path: str, connections: int) -> float:
        """Merge patches over `PATCHED` objects in turn."""
        if self.client == "wrk":
            script = LUA_PATCH.format(path=path, count=PATCHED)
            return await asyncio.to_thread(self._wrk, script, connections, MERGE_PATCH)

        def make(number: int) -> bytes:
            body = json.dumps({"data": {"key": f"v{number}"}}).encode()
            return self.target.encode("PATCH", f"{path}/patched-{number % PATCHED}", body, MERGE_PATCH)

        return (await hammer(self.target, connections, make, seconds=self.seconds))[0]

    async def fill(self, path: str, prefix: str, count: int) -> None:
        """So many more ConfigMaps."""
        await hammer(self.target, 16, self._creates(path, prefix), count=count)

    def _creates(self, path: str, prefix: str):  # type: ignore[no-untyped-def]
        def make(number: int) -> bytes:
            name = f"{prefix}-{number}"
            data = {"key": f"value-{number}"}
            body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
            return self.target.encode("POST", path, body.encode())

        return make

    def _wrk(self, lua: str, connections: int, content_type: str = "application/json") -> float:
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(SCRIPT % lua)
            script.flush()
            command = ["wrk", "-t1", f"-c{connections}", f"-d{self.seconds:g}s", "-s", script.name]
            command += ["-H", f"Authorization: Bearer {self.target.token}", "-H", f"Content-Type: {content_type}"]
            done = subprocess.run([*command, self.target.url], check=True, stdout=subprocess.PIPE, text=True).stdout
        if "Non-2xx" in done or "Socket errors" in done:
            print("  " + " ".join(line.strip() for line in done.splitlines() if "Non-2xx" in line or "Socket" in line))
        found = re.search(r"Requests/sec:\s+([\d.]+)", done)
        assert found is not None, done
        return float(found[1])


async def names(target: Target, path: str) -> list[str]:
    """Names of all ConfigMaps of the namespace."""
    listed = json.loads(await asyncio.to_thread(target.kubectl, "get", "--raw", path))
    return [item["metadata"]["name"] for item in listed["items"]]


async def measure(target: Target, client: str, seconds: float, pids: list[int]) -> None:
    load, path, table = Load(target, client, seconds), target.path("configmaps"), Table()
    await load.fill(path, "patched", PATCHED)

    async def add(row: Measure, rates: Awaitable[float], note: str = "") -> None:
        before = cpu_seconds(pids)
        rate = await rates
        if pids:
            note = f"{(cpu_seconds(pids) - before) / (rate * seconds) * 1e6:.0f} µs of CPU each{note}"
        table.add(row, rate, note)

    await add(GET, load.get(f"{path}/patched-1", 16))
    await add(PATCH, load.patch(path, 16))
    await add(CREATE, load.create(path, "made", 32))
    await exactly(target, load, path, OBJECTS)
    size = len(await asyncio.to_thread(target.kubectl, "get", "--raw", path))
    await add(LIST, load.get(path, 2), f", {size / 1e6:.1f} MB each")
    await add(LIST_LIMIT, load.get(f"{path}?limit=500", 4))
    if pids:
        resident = memory_bytes(pids, "Rss") / 1e6
        table.add(MEMORY_AFTER, memory_bytes(pids) / 1e6, f"RSS {resident:.0f} MB")


async def exactly(target: Target, load: Load, path: str, count: int) -> None:
    """Fill up to, or delete down to, `count` objects."""
    there = await names(target, path)
    if len(there) < count:
        await load.fill(path, "filled", count - len(there))
        return
    surplus = [name for name in there if name.startswith("made")][: len(there) - count]
    if surplus:
        await hammer(target, 16, lambda at: target.encode("DELETE", f"{path}/{surplus[at]}"), count=len(surplus))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True, type=Path)
    parser.add_argument("--pid", type=int, action="append", default=[])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--client", choices=("wrk", "python"), default="wrk" if shutil.which("wrk") else "python")
    given = parser.parse_args()
    with prepared(str(given.kubeconfig)) as found_target:
        uvloop.run(measure(found_target, given.client, given.seconds, given.pid))
