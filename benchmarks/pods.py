"""How long pods take: one alone, twenty at once, a Deployment of sixty replicas.

    python benchmarks/pods.py --kubeconfig FILE [--image IMAGE] [--replicas N]

Works with any Kubernetes whose nodes have the image (its own entry point must go on running; the pause image does).
The figures to compare with are of two nodes on containerd.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

import uvloop
from table import DEPLOYMENT, ONE_POD, TWENTY_PODS, Table, median
from target import Target, connect, prepared

PAUSE = "registry.k8s.io/pause:3.10"
WAIT_SECONDS = 180.0
SAMPLES = 20


def pod_spec(image: str) -> dict[str, object]:
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}
    return {"containers": [container], "terminationGracePeriodSeconds": 0}


class Watch:
    """Follows a collection; remembers when each object first met a condition."""

    def __init__(self, target: Target, path: str, met: "Condition") -> None:
        self._target, self._path, self._met = target, path, met
        self._rest = b""
        self._times: dict[str, asyncio.Future[float]] = {}

    async def __aenter__(self) -> "Watch":
        self._connection = await connect(self._target)
        self._connection.on_data = self._received
        self._connection.transport.write(self._target.encode("GET", f"{self._path}?watch=1"))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connection.close()

    async def when(self, name: str) -> float:
        """The time at which the object of this name met the condition."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._future(name)

    def _future(self, name: str) -> asyncio.Future[float]:
        return self._times.setdefault(name, asyncio.get_running_loop().create_future())

    def _received(self, data: bytes) -> None:
        now = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not line.startswith(b'{"type"'):  # the response's head, the sizes of chunks
                continue
            event = json.loads(line)
            future = self._future(event["object"]["metadata"]["name"])
            if self._met(event["object"]) and not future.done():
                future.set_result(now)


class Condition:
    """Whether a pod is Ready."""

    def __call__(self, obj: dict[str, object]) -> bool:
        conditions = obj["status"].get("conditions", [])  # type: ignore[attr-defined]
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


class RolledOut(Condition):
    """Whether a Deployment has all its replicas updated and available, as `kubectl rollout status` sees it."""

    def __call__(self, obj: dict[str, object]) -> bool:
        wanted = obj["spec"]["replicas"]  # type: ignore[index]
        status: dict[str, int] = obj["status"]  # type: ignore[assignment]
        return status.get("availableReplicas", 0) == wanted == status.get("updatedReplicas", 0)


async def post(target: Target, path: str, obj: dict[str, object]) -> float:
    """Create an object; the time at which the request was sent."""
    connection = await connect(target)
    begin = time.perf_counter()
    status, answer = await connection.ask(target.encode("POST", path, json.dumps(obj).encode()))
    assert status == 201, answer
    connection.close()
    return begin


async def pod(target: Target, watch: Watch, name: str, image: str) -> float:
    """Seconds from create to Ready."""
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(image)}
    begin = await post(target, target.path("pods"), obj)
    return await watch.when(name) - begin


async def remove(target: Target, kind: str) -> None:
    await asyncio.to_thread(target.kubectl, "delete", kind, "--all", "-n", target.namespace, "--wait=true")


async def measure(target: Target, image: str, replicas: int) -> None:
    table = Table()
    async with Watch(target, target.path("pods"), Condition()) as watch:
        await pod(target, watch, "warm-up", image)
        alone = [await pod(target, watch, f"alone-{number}", image) for number in range(SAMPLES)]
        table.add(ONE_POD, median(alone), f"longest {max(alone):.2f} s")
        await remove(target, "pods")
        at_once = await asyncio.gather(*(pod(target, watch, f"crowd-{n}", image) for n in range(SAMPLES)))
        table.add(TWENTY_PODS, median(at_once), f"longest {max(at_once):.2f} s")
        await remove(target, "pods")
    path, labels = target.path("deployments", "apps/v1"), {"app": "sixty"}
    async with Watch(target, path, RolledOut()) as watch:
        template = {"metadata": {"labels": labels}, "spec": pod_spec(image)}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "sixty"}, "spec": spec}
        begin = await post(target, path, obj)
        table.add(DEPLOYMENT, await watch.when("sixty") - begin, f"{replicas} replicas")
    await remove(target, "deployments")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True, type=Path)
    parser.add_argument("--image", default=PAUSE)
    parser.add_argument("--replicas", type=int, default=60)
    given = parser.parse_args()
    with prepared(str(given.kubeconfig)) as found_target:
        uvloop.run(measure(found_target, given.image, given.replicas))
