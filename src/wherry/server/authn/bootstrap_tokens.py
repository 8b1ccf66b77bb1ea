"""Bootstrap tokens (`abcdef.0123456789abcdef`): what a new node joins with, kept as Secrets in kube-system.

Source: kubernetes plugin/pkg/auth/authenticator/token/bootstrap and its documented secret format.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Sequence

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Secret
from wherry.meta.time import parse_time
from wherry.server.authn.identity import Verified
from wherry.server.http import UserInfo
from wherry.server.strategies.strategy import Caches

SECRET_TYPE = "bootstrap.kubernetes.io/token"
USER_PREFIX, GROUP = "system:bootstrap:", "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class BootstrapTokens:
    """Recognises tokens whose Secret allows authentication and has not expired."""

    def __init__(self, caches: Caches, clock: Clock) -> None:
        self._caches = caches
        self._clock = clock

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """system:bootstrap:<id>, or None."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        token_id, token_secret = parts.groups()
        secret = self._caches.get(Secret, "kube-system", f"bootstrap-token-{token_id}")
        if secret is None or secret.type != SECRET_TYPE or secret.metadata.deletionTimestamp:
            return None
        data = {name: _text(value) for name, value in secret.data.items()}
        known = data.get("token-id") == token_id and hmac.compare_digest(data.get("token-secret", ""), token_secret)
        if not known or data.get("usage-bootstrap-authentication") != "true" or self._expired(data):
            return None
        groups = [group for group in data.get("auth-extra-groups", "").split(",") if group]
        if not all(_GROUP.fullmatch(group) for group in groups):
            return None
        return Verified(UserInfo(USER_PREFIX + token_id, "", sorted({GROUP, *groups})))

    def _expired(self, data: dict[str, str]) -> bool:
        try:
            return bool(data.get("expiration")) and parse_time(data["expiration"]) <= self._clock.now()
        except ValueError:
            return True  # an end that cannot be read has passed, as upstream decides


def _text(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
