"""The names and groups that Kubernetes gives to callers, and the protocol of what recognises one.

An `Authenticator` looks at a request and returns the user it stands for, None when the request carries no credential
of its kind, or raises 401 when the credential is broken.
"""

from typing import Protocol

from wherry.server.http import Request, UserInfo

ANONYMOUS = "system:anonymous"
AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP = "system:authenticated", "system:unauthenticated"
SERVICE_ACCOUNTS_GROUP = "system:serviceaccounts"
_SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


class Authenticator(Protocol):
    """Recognises one kind of credential."""

    def authenticate(self, request: Request) -> UserInfo | None:
        """The user; None without a credential of this kind. Raises StatusError 401 for a broken one."""


class TokenAuthenticator(Protocol):
    """Recognises one kind of bearer token."""

    def user_of(self, token: str) -> UserInfo | None:
        """The user; None when the token is not of this kind or not valid."""


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
