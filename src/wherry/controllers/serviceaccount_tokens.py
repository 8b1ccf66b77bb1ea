"""Secrets of type kubernetes.io/service-account-token: filled with a token that lives as long as they do.

Who makes such a Secret names a ServiceAccount in its annotations; without that account the Secret goes. Source of the
behaviour: kubernetes pkg/controller/serviceaccount/tokens_controller.go.
"""

import base64
from collections.abc import Callable

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Secret, ServiceAccount
from wherry.client.client import Client
from wherry.client.informer import Informers
from wherry.controllers.controller import Controller, Key, is_missing
from wherry.meta.errors import StatusError
from wherry.meta.wire import deep_copy

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
Sign = Callable[[ServiceAccount, str], str]
"""An account and the name of its Secret to a token."""


class ServiceAccountTokensController(Controller):
    """Keeps token, namespace and `root_ca` (PEM) in each of them."""

    name = "tokens-controller"

    def __init__(self, client: Client, informers: Informers, clock: Clock, sign: Sign, root_ca: str) -> None:
        super().__init__(client, informers, clock)
        self._sign = sign
        self._root_ca = root_ca
        self._accounts = self.watch(ServiceAccount, self._account_changed)
        self._secrets = self.watch(Secret, self.enqueue, field_selector=f"type={TYPE}")

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        account = old if new is None else new
        if account is not None and (old is None or new is None):
            for secret in self._secrets.list():
                meta = secret.metadata
                if (meta.namespace, meta.annotations.get(NAME)) == (account.metadata.namespace, account.metadata.name):
                    self.queue.add((meta.namespace or "", meta.name or ""))

    async def reconcile(self, key: Key) -> None:
        secret = self._secrets.get(*key)
        if secret is None or secret.metadata.deletionTimestamp is not None:
            return
        account = await self._account(secret)
        try:
            if account is None:
                await self.client.delete(Secret, key[1], key[0], uid=secret.metadata.uid)
                return
            changed = self._filled(secret, account)
            if changed != secret:
                await self.client.update(changed)
        except StatusError as error:
            if not is_missing(error):
                raise

    async def _account(self, secret: Secret) -> ServiceAccount | None:
        annotations, namespace = secret.metadata.annotations, secret.metadata.namespace or ""
        account = self._accounts.get(namespace, annotations[NAME])
        if account is None:  # perhaps made just before its Secret, and not seen yet
            try:
                account = await self.client.get(ServiceAccount, annotations[NAME], namespace)
            except StatusError as error:
                if not is_missing(error):
                    raise
                return None
        return account if annotations.get(UID) in (None, "", account.metadata.uid) else None

    def _filled(self, secret: Secret, account: ServiceAccount) -> Secret:
        made = deep_copy(secret)
        if self._root_ca:
            made.data["ca.crt"] = _encoded(self._root_ca)
        if not made.data.get("namespace"):
            made.data["namespace"] = _encoded(account.metadata.namespace or "")
        if not made.data.get("token"):
            made.data["token"] = _encoded(self._sign(account, secret.metadata.name or ""))
        made.metadata.annotations[UID] = account.metadata.uid or ""
        return made


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
