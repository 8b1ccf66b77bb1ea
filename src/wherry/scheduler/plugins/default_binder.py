"""DefaultBinder: tell the server where the pod goes (pods/binding)."""

from wherry.api.core_v1 import Binding, ObjectReference
from wherry.client.client import Client
from wherry.meta.object import ObjectMeta
from wherry.scheduler.framework import Change
from wherry.scheduler.snapshot import PodInfo


class DefaultBinder:
    """Bind."""

    name = "DefaultBinder"

    def __init__(self, client: Client) -> None:
        self._client = client

    async def bind(self, info: PodInfo, node_name: str) -> bool:
        namespace, name = info.key
        binding = Binding(
            apiVersion="v1",
            kind="Binding",
            metadata=ObjectMeta(name=name, namespace=namespace, uid=info.pod.metadata.uid),
            target=ObjectReference(kind="Node", name=node_name),
        )
        await self._client.post(f"/api/v1/namespaces/{namespace}/pods/{name}/binding", binding, dict)
        return True

    def helps(self, info: PodInfo, change: Change) -> bool:
        return False
