"""`--authentication-token-webhook-config-file`: somebody else is asked whom a bearer token stands for.

The question is a TokenReview. Answers are remembered, a no as long as a yes; failures are not. Who asks about a token
that is being asked about waits for the same answer.

Source: k8s.io/apiserver, plugin/pkg/authenticator/token/webhook.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from wherry.api.authentication_v1 import TokenReview
from wherry.meta import wire
from wherry.server.authn.identity import TokenError, Verified
from wherry.server.callouts.client import CalloutError, Callouts
from wherry.server.callouts.retries import post_retrying
from wherry.server.http import UserInfo

VERSIONS = ("v1", "v1beta1")
REMEMBERED_MAX = 4096
_log = logging.getLogger(__name__)
Key = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class TokenWebhookOptions:
    """Whom to ask, and how."""

    config: Path
    """A kubeconfig file; the URL of its server is asked as it stands."""
    version: str = "v1beta1"
    """Of the TokenReview that is sent; kube-apiserver's own default."""
    cache_seconds: float = 120.0
    """How long answers are remembered; 0: not at all."""


class TokenWebhook:
    """Recognises what the webhook does."""

    def __init__(self, options: TokenWebhookOptions, callouts: Callouts, audiences: Sequence[str]) -> None:
        """`audiences`: this server's. Raises KubeconfigError, ValueError."""
        if options.version not in VERSIONS:
            raise ValueError(
                f'unsupported authentication webhook version "{options.version}", supported versions are "v1", '
                '"v1beta1"'
            )
        self._remote = callouts.from_kubeconfig(options.config)
        self._callouts = callouts
        self._options = options
        self._implied = tuple(audiences)
        self._answers: dict[Key, tuple[float, Verified | None]] = {}
        self._asking: dict[Key, asyncio.Task[Verified | TokenError | None]] = {}

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | Awaitable[Verified | None] | None:
        """See TokenAuthenticator."""
        key = token, tuple(audiences)
        known = self._answers.get(key)
        if known is not None and self._callouts.clock.monotonic() < known[0]:
            return known[1]
        return self._share(key)

    async def _share(self, key: Key) -> Verified | None:
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.get_running_loop().create_task(self._ask(key), name="token webhook")
        found = await asyncio.shield(task)  # one who gives up must not take the answer from the others
        if isinstance(found, TokenError):
            raise TokenError(str(found))
        return found

    async def _ask(self, key: Key) -> Verified | TokenError | None:
        try:
            found = await self._review(*key)
        except TokenError as error:
            return error
        finally:
            del self._asking[key]
        if self._options.cache_seconds > 0:
            if len(self._answers) >= REMEMBERED_MAX:
                self._answers.clear()
            self._answers[key] = self._callouts.clock.monotonic() + self._options.cache_seconds, found
        return found

    async def _review(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        spec: dict[str, Any] = {"token": token} | ({"audiences": list(audiences)} if audiences else {})
        api_version = f"authentication.k8s.io/{self._options.version}"
        review = {"kind": "TokenReview", "apiVersion": api_version, "metadata": {}, "spec": spec, "status": {}}
        try:
            answer = await post_retrying(self._callouts, self._remote, review)
            status = wire.convert(answer, TokenReview).status
        except (CalloutError, msgspec.ValidationError) as error:
            _log.error("Failed to make webhook authenticator request: %s", error)
            raise TokenError(str(error)) from error
        common = [item for item in audiences if item in (status.audiences or self._implied)]
        if audiences and not common:
            return None
        if status.authenticated is not True:
            if status.error:
                raise TokenError(status.error)
            return None
        user = status.user
        found = UserInfo(user.username or "", user.uid or "", list(user.groups), dict(user.extra))
        return Verified(found, common)

    async def close(self) -> None:
        """Ask no more."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
