"""The default profile: which plugins, in which order, with which weights (kube-scheduler 1.36's defaults)."""

from wherry.scheduler.framework import Profile
from wherry.scheduler.plugins.image_locality import ImageLocality
from wherry.scheduler.plugins.node_affinity import NodeAffinity
from wherry.scheduler.plugins.node_name import NodeName
from wherry.scheduler.plugins.node_ports import NodePorts
from wherry.scheduler.plugins.node_resources import BalancedAllocation, NodeResourcesFit
from wherry.scheduler.plugins.node_unschedulable import NodeUnschedulable
from wherry.scheduler.plugins.scheduling_gates import SchedulingGates
from wherry.scheduler.plugins.taint_toleration import TaintToleration


def default_profile(scheduler_name: str = "default-scheduler") -> Profile:
    """A fresh default profile."""
    taints, affinity, fit = TaintToleration(), NodeAffinity(), NodeResourcesFit()
    return Profile(
        scheduler_name=scheduler_name,
        pre_enqueue=[SchedulingGates()],
        filters=[NodeUnschedulable(), NodeName(), taints, affinity, NodePorts(), fit],
        scores=[(taints, 3), (affinity, 2), (fit, 1), (BalancedAllocation(), 1), (ImageLocality(), 1)],
    )
