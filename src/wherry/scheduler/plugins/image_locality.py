"""ImageLocality: nodes that have the pod's images already are better, the more bytes they save."""

import numpy as np

from wherry.scheduler.framework import MAX_NODE_SCORE, Change
from wherry.scheduler.snapshot import Column, Mask, PodInfo, Snapshot

MIB = 1024 * 1024
MIN_BYTES = 23 * MIB
MAX_BYTES_PER_CONTAINER = 1000 * MIB


class ImageLocality:
    """Score."""

    name = "ImageLocality"

    def score(self, info: PodInfo, nodes: Snapshot, feasible: Mask) -> Column | None:
        containers = [*info.pod.spec.initContainers, *info.pod.spec.containers]
        total: Column | None = None
        for container in containers:
            known = nodes.images.get(normalized_name(container.image or ""))
            if known is not None:
                size, mask = known
                # An image that is on few nodes counts for less, or one warm node would draw every pod.
                spread = int(np.count_nonzero(mask)) / max(nodes.count, 1)
                share = mask.astype(np.int64) * int(size * spread)
                total = share if total is None else total + share
        if total is None:
            return None
        most = MAX_BYTES_PER_CONTAINER * len(containers)
        scores: Column = (np.clip(total, MIN_BYTES, most) - MIN_BYTES) * MAX_NODE_SCORE // (most - MIN_BYTES)
        return scores

    def helps(self, info: PodInfo, change: Change) -> bool:
        return False


def normalized_name(image: str) -> str:
    """An image name with its tag, as nodes list it."""
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"
