"""How many pods are placed a second: end to end through the API server in process, and decisions alone.

    python benchmarks/scheduler_rates.py [--pods N] [--nodes N ...]

Mirrors kube-scheduler's scheduler_perf workloads: plain pods, preferred affinity, spreading over zones, pod
anti-affinity, default spreading of a workload, and pods that fit nowhere.
"""

import argparse
import asyncio
import time
from collections.abc import Callable

import uvloop

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import (
    Affinity,
    Pod,
    PodAffinityTerm,
    PodAntiAffinity,
    ServiceAccount,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from wherry.api.meta_v1 import LabelSelector
from wherry.client.informer import Informers
from wherry.meta.labels import Selector, from_map
from wherry.meta.object import ObjectMeta
from wherry.scheduler.cycle import decide
from wherry.scheduler.plugins import default_profile
from wherry.scheduler.plugins.default_preemption import DefaultPreemption
from wherry.scheduler.scheduler import Scheduler
from wherry.scheduler.snapshot import PodInfo, Snapshot
from wherry.server.app import Server
from wherry.store.local import memory_store
from wherry.testing.builders import node, pod

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
ROOM: dict[str, str | int] = {"cpu": 32, "memory": "256Gi", "pods": 110}
SMALL: dict[str, str | int] = {"cpu": "100m", "memory": "500Mi"}
APP = {"app": "bench"}
CREATES_AT_ONCE = 50


def plain(number: int) -> Pod:
    made = pod(f"pod-{number}", requests=SMALL, labels=APP)
    made.metadata.uid = f"uid-{number}"
    return made


def spreading(number: int) -> Pod:
    made = plain(number)
    selector = LabelSelector(matchLabels=APP)
    made.spec.topologySpreadConstraints = [
        TopologySpreadConstraint(topologyKey=ZONE, maxSkew=5, whenUnsatisfiable="DoNotSchedule", labelSelector=selector)
    ]
    return made


def preferring_company(number: int) -> Pod:
    made = plain(number)
    term = PodAffinityTerm(topologyKey=ZONE, labelSelector=LabelSelector(matchLabels=APP))
    apart = PodAntiAffinity(
        preferredDuringSchedulingIgnoredDuringExecution=[WeightedPodAffinityTerm(weight=1, podAffinityTerm=term)]
    )
    made.spec.affinity = Affinity(podAntiAffinity=apart)
    return made


def alone(number: int) -> Pod:
    made = plain(number)
    made.metadata.labels = {"group": f"g{number % 100}"}
    selector = LabelSelector(matchLabels=dict(made.metadata.labels))
    term = PodAffinityTerm(topologyKey=HOST, labelSelector=selector)
    made.spec.affinity = Affinity(
        podAntiAffinity=PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term])
    )
    return made


def too_big(number: int) -> Pod:
    made = pod(f"pod-{number}", requests={"cpu": 33, "memory": "1Gi"})
    made.metadata.uid = f"uid-{number}"
    return made


WORKLOADS: dict[str, tuple[Callable[[int], Pod], Selector | None]] = {
    "plain": (plain, None),
    "default spreading": (plain, from_map(APP)),
    "hard zone spreading": (spreading, None),
    "preferred anti-affinity": (preferring_company, None),
    "required anti-affinity": (alone, None),
    "unschedulable": (too_big, None),
}


def rate(make: Callable[[int], Pod], selector: Selector | None, node_count: int, pod_count: int) -> float:
    """Decisions a second."""
    entropy = Entropy(1)
    preemption = DefaultPreemption(entropy, list)
    profile = default_profile(selector_of=lambda _: selector, preemption=preemption)
    nodes = Snapshot()
    for number in range(node_count):
        name = f"node-{number}"
        nodes.set_node(node(name, capacity=ROOM, labels={ZONE: f"zone-{number % 3}", HOST: name}))
    pods = [make(number) for number in range(pod_count)]
    started = time.perf_counter()
    for each in pods:
        info = PodInfo.of(each)
        decision = decide(profile, info, nodes, entropy)
        if decision.node_name is not None:
            nodes.add_pod(info, decision.node_name)
    return pod_count / (time.perf_counter() - started)


async def end_to_end(node_count: int, pod_count: int) -> float:
    """Pods a second from the first create to the last binding seen, through an API server and store in memory."""
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy)
    await server.start()
    client = server.client()
    informers = Informers(client)
    scheduler = Scheduler(client, informers, clock, entropy)
    pods = informers.informer(Pod)
    bound: set[str] = set()
    done = asyncio.Event()

    def seen(_: Pod | None, new: Pod | None) -> None:
        if new is not None and new.spec.nodeName:
            bound.add(new.metadata.name or "")
            if len(bound) == pod_count:
                done.set()

    pods.add_handler(seen)
    await client.create(ServiceAccount(metadata=ObjectMeta(name="default", namespace="default")))
    for number in range(node_count):
        name = f"node-{number}"
        made = await client.create(node(name, capacity=ROOM, labels={ZONE: f"zone-{number % 3}", HOST: name}))
        made.spec.taints = []
        await client.update(made)
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(scheduler.run())]
    await informers.wait_synced()
    started = time.perf_counter()
    for start in range(0, pod_count, CREATES_AT_ONCE):
        numbers = range(start, min(start + CREATES_AT_ONCE, pod_count))
        await asyncio.gather(*(client.create(pod(f"pod-{number}", requests=SMALL)) for number in numbers))
    await done.wait()
    seconds = time.perf_counter() - started
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.close()
    await store.close()
    return pod_count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--nodes", type=int, nargs="*", default=[500, 5000])
    arguments = parser.parse_args()
    for node_count in arguments.nodes:
        placed = uvloop.run(end_to_end(node_count, arguments.pods))
        print(f"{node_count:>5} nodes  {'end to end':<24} {placed:>8,.0f} pods/s")
        for name, (make, selector) in WORKLOADS.items():
            speed = rate(make, selector, node_count, arguments.pods)
            print(f"{node_count:>5} nodes  {name:<24} {speed:>8,.0f} decisions/s  {1e6 / speed:>7,.0f} µs each")


if __name__ == "__main__":
    main()
