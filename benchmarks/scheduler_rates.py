"""How many scheduling decisions a second: filters, scores and the assumption, without server and network.

    python benchmarks/scheduler_rates.py [--pods N] [--nodes N ...]

Mirrors kube-scheduler's scheduler_perf workloads: plain pods, preferred affinity, spreading over zones, pod
anti-affinity, default spreading of a workload, and pods that fit nowhere.
"""

import argparse
import time
from collections.abc import Callable

from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import (
    Affinity,
    Pod,
    PodAffinityTerm,
    PodAntiAffinity,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from wherry.api.meta_v1 import LabelSelector
from wherry.meta.labels import Selector, from_map
from wherry.scheduler.cycle import decide
from wherry.scheduler.plugins import default_profile
from wherry.scheduler.plugins.default_preemption import DefaultPreemption
from wherry.scheduler.snapshot import PodInfo, Snapshot
from wherry.testing.builders import node, pod

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
ROOM = {"cpu": 32, "memory": "256Gi", "pods": 110}
SMALL = {"cpu": "100m", "memory": "500Mi"}
APP = {"app": "bench"}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--nodes", type=int, nargs="*", default=[500, 5000])
    arguments = parser.parse_args()
    for node_count in arguments.nodes:
        for name, (make, selector) in WORKLOADS.items():
            speed = rate(make, selector, node_count, arguments.pods)
            print(f"{node_count:>5} nodes  {name:<24} {speed:>8,.0f} decisions/s  {1e6 / speed:>7,.0f} µs each")


if __name__ == "__main__":
    main()
