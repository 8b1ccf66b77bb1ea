"""The ConfigMap kube-root-ca.crt of every namespace: how pods know the API server's certificate.

Source of the behaviour: kubernetes pkg/controller/certificates/rootcacertpublisher.
"""

from wherry.aio.clock import Clock
from wherry.api.core_v1 import ConfigMap, Namespace
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key, is_namespace_ending
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.wire import deep_copy

CONFIG_MAP = "kube-root-ca.crt"
DESCRIPTION = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using "
    "internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
}


class RootCAPublisher(Controller):
    """Keeps `root_ca` (PEM) in each namespace."""

    name = "root-ca-certificate-publisher"

    def __init__(self, client: Client, informers: Informers, clock: Clock, root_ca: str) -> None:
        super().__init__(client, informers, clock)
        self._data = {"ca.crt": root_ca}
        self._namespaces = self.watch(Namespace, self._namespace_changed)
        self._maps = self.watch(ConfigMap, self._map_changed, field_selector=f"metadata.name={CONFIG_MAP}")

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self.queue.add(("", new.metadata.name or ""))

    def _map_changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        changed = old if new is None else new
        if changed is not None:
            self.queue.add(("", changed.metadata.namespace or ""))

    async def reconcile(self, key: Key) -> None:
        namespace = self._namespaces.get(*key)
        if namespace is None or namespace.metadata.deletionTimestamp is not None:
            return
        present = self._maps.get(key[1], CONFIG_MAP)
        if present is None:
            await self._create(key[1])
        elif present.data != self._data or present.metadata.annotations != DESCRIPTION:
            changed = deep_copy(present)
            changed.data, changed.metadata.annotations = self._data, {**present.metadata.annotations, **DESCRIPTION}
            if changed != present:
                await self.client.update(changed)

    async def _create(self, namespace: str) -> None:
        metadata = ObjectMeta(name=CONFIG_MAP, namespace=namespace, annotations=DESCRIPTION)
        try:
            await self.client.create(ConfigMap(metadata=metadata, data=self._data))
        except StatusError as error:
            if error.reason != "AlreadyExists" and not is_namespace_ending(error):
                raise
