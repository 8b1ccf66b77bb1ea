"""ReplicationControllers: what ReplicaSets do, for the kind that came before them (selectors are plain maps)."""

from typing import Any

from wherry.api.core_v1 import ReplicationController
from wherry.controllers.replicaset import ReplicaSetController
from wherry.meta.labels import NOTHING, Selector, from_map


class ReplicationControllerController(ReplicaSetController):
    """Keeps the pods of ReplicationControllers."""

    name = "replication-controller"
    kind = ReplicationController

    def selector_of(self, rs: Any) -> Selector:
        return from_map(rs.spec.selector) if rs.spec.selector else NOTHING
