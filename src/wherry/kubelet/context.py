"""What all pods of one node share: the runtime, the client, the caches, and whom to tell."""

import asyncio
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import ConfigMap, ObjectReference, Pod, Secret, Service
from wherry.client.client import Client
from wherry.kubelet.configs import pod_log_directory, reference
from wherry.kubelet.downward import Node
from wherry.kubelet.environment import Lookup
from wherry.kubelet.images import Images
from wherry.kubelet.machine import AnyContainer
from wherry.kubelet.objects import ObjectCache
from wherry.kubelet.options import KubeletOptions
from wherry.kubelet.runtimes.protocol import Runtime
from wherry.kubelet.tokens import TokenCache
from wherry.kubelet.volumes.manager import Volumes


@dataclass(slots=True)
class NodeContext:
    """Made once by kubelet.py."""

    options: KubeletOptions
    client: Client
    runtime: Runtime
    clock: Clock
    entropy: Entropy
    objects: ObjectCache
    tokens: TokenCache
    volumes: Volumes
    images: Images
    record_event: Callable[[ObjectReference, str, str, str], None]
    services: Callable[[], Iterable[Service]]
    downward: Node
    runtime_scheme: str = ""
    """Before the :// of container ids."""

    def tell(self, pod: Pod, kind: str, reason: str, message: str) -> None:
        """An event about a pod."""
        self.record_event(reference(pod), kind, reason, message)

    def tell_container(self, pod: Pod, container: AnyContainer, kind: str, reason: str, message: str) -> None:
        """An event about one container of a pod."""
        self.record_event(reference(pod, container), kind, reason, message)

    def lookup(self, pod: Pod) -> Lookup:
        """ConfigMaps and Secrets, watched as long as `pod` lives."""
        uid = pod.metadata.uid or ""

        async def find(kind: type, namespace: str, name: str) -> ConfigMap | Secret | None:
            return await self.objects.get(kind, namespace, name, uid)

        return find

    async def remove_logs(self, pod: Pod) -> None:
        """Delete a pod's log files."""
        await asyncio.to_thread(shutil.rmtree, pod_log_directory(self.options, pod), True)
