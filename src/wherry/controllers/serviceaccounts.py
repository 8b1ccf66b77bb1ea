"""The default ServiceAccount of every namespace.

Source of the behaviour: kubernetes pkg/controller/serviceaccount.
"""

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Namespace, ServiceAccount
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key, is_namespace_ending
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta

DEFAULT = "default"


class ServiceAccountController(Controller):
    """Makes `default` in each namespace, and again when it is deleted."""

    name = "serviceaccount-controller"

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        super().__init__(client, informers, clock)
        self._namespaces = self.watch(Namespace, self._namespace_changed)
        self._accounts = self.watch(ServiceAccount, self._account_changed)

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self.queue.add(("", new.metadata.name or ""))

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        if new is None and old is not None and old.metadata.name == DEFAULT:
            self.queue.add(("", old.metadata.namespace or ""))

    async def reconcile(self, key: Key) -> None:
        namespace = self._namespaces.get(*key)
        if namespace is None or namespace.metadata.deletionTimestamp is not None:
            return
        if self._accounts.get(key[1], DEFAULT) is not None:
            return
        try:
            await self.client.create(ServiceAccount(metadata=ObjectMeta(name=DEFAULT, namespace=key[1])))
        except StatusError as error:
            if error.reason != "AlreadyExists" and not is_namespace_ending(error):
                raise
