"""The default profile: which plugins, in which order, with which weights (kube-scheduler 1.36's defaults)."""

from wherry.scheduler.framework import DEFAULT_SCHEDULER, Bind, PostFilter, Profile
from wherry.scheduler.plugins.image_locality import ImageLocality
from wherry.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from wherry.scheduler.plugins.node_affinity import NodeAffinity
from wherry.scheduler.plugins.node_name import NodeName
from wherry.scheduler.plugins.node_ports import NodePorts
from wherry.scheduler.plugins.node_resources import BalancedAllocation, NodeResourcesFit
from wherry.scheduler.plugins.node_unschedulable import NodeUnschedulable
from wherry.scheduler.plugins.pod_topology_spread import PodTopologySpread, SelectorOf
from wherry.scheduler.plugins.priority_sort import PrioritySort
from wherry.scheduler.plugins.scheduling_gates import SchedulingGates
from wherry.scheduler.plugins.taint_toleration import TaintToleration


def default_profile(
    scheduler_name: str = DEFAULT_SCHEDULER,
    *,
    selector_of: SelectorOf | None = None,
    preemption: PostFilter | None = None,
    binder: Bind | None = None,
) -> Profile:
    """A fresh default profile; what needs more than the snapshot is given."""
    taints, affinity, fit = TaintToleration(), NodeAffinity(), NodeResourcesFit()
    spread, pods = PodTopologySpread(selector_of), InterPodAffinity()
    return Profile(
        scheduler_name=scheduler_name,
        pre_enqueue=[SchedulingGates()],
        queue_sort=PrioritySort(),
        pre_filters=[affinity],
        filters=[NodeUnschedulable(), NodeName(), taints, affinity, NodePorts(), fit, spread, pods],
        post_filters=[preemption] if preemption is not None else [],
        scores=[
            (taints, 3),
            (affinity, 2),
            (fit, 1),
            (spread, 2),
            (pods, 2),
            (BalancedAllocation(), 1),
            (ImageLocality(), 1),
        ],
        binds=[binder] if binder is not None else [],
    )
