"""The names and groups that Kubernetes gives to callers, and the protocols of what recognises one.

An `Authenticator` looks at a request and returns the user it stands for, None when the request carries no credential
of its kind, or raises 401 when the credential is broken. A `TokenAuthenticator` does the same for bearer tokens; one
that must ask a remote party returns an awaitable, which nobody else pays for.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wherry.server.http import Request, UserInfo

ANONYMOUS = "system:anonymous"
AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP = "system:authenticated", "system:unauthenticated"
SERVICE_ACCOUNTS_GROUP = "system:serviceaccounts"
_SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
NODES_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
NODE_NAME = "authentication.kubernetes.io/node-name"


class Authenticator(Protocol):
    """Recognises one kind of credential."""

    def authenticate(self, request: Request) -> UserInfo | None:
        """The user; None without a credential of this kind. Raises StatusError 401 for a broken one."""


@dataclass(slots=True)
class Verified:
    """What a valid token says."""

    user: UserInfo
    audiences: list[str] = field(default_factory=list)
    """Those of the token that were asked for; empty when it is not bound to any."""
    annotations: dict[str, str] = field(default_factory=dict)
    """What the audit log is told of its use."""


class TokenError(Exception):
    """A token of this kind that is not good, or nobody could say; why is for logs and reviews, never for the caller."""


class TokenAuthenticator(Protocol):
    """Recognises one kind of bearer token."""

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | Awaitable[Verified | None] | None:
        """Whom the token stands for with one of `audiences`; None when it is not of this kind.

        Raises TokenError (what it returns may, too) for one that is not good.
        """


def service_account_name(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"{_SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"


def service_account_groups(namespace: str) -> list[str]:
    """The groups of every service account of a namespace."""
    return [SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{namespace}"]


def split_service_account(user_name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name; None for other users."""
    parts = user_name.removeprefix(_SERVICE_ACCOUNT_PREFIX).split(":")
    if not user_name.startswith(_SERVICE_ACCOUNT_PREFIX) or len(parts) != 2 or not all(parts):
        return None
    return parts[0], parts[1]
