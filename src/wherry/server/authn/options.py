"""Settings of authentication: whose credentials are believed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.server.authn.front_proxy import FrontProxyOptions
from wherry.server.authn.static_tokens import StaticTokens
from wherry.server.authn.token_webhook import TokenWebhookOptions

if TYPE_CHECKING:
    from wherry.server.authn.configuration import AuthenticationConfiguration


@dataclass(slots=True)
class AuthenticationOptions:
    """Whom the server recognises, beside its service accounts."""

    client_ca: Path | None = None
    """Who vouches for client certificates; None: they prove nothing."""
    front_proxy: FrontProxyOptions | None = None
    """Whose word on who asks is taken."""
    anonymous: bool = True
    """Whether nobody may ask."""
    anonymous_paths: tuple[str, ...] = ()
    """The only ones where nobody may ask; empty: all."""
    static_tokens: StaticTokens | None = None
    bootstrap_tokens: bool = True
    """Secrets of type bootstrap.kubernetes.io/token in kube-system, with which nodes join."""
    webhook: TokenWebhookOptions | None = None
    """Somebody to ask about tokens that nobody here knows."""
    configuration: "AuthenticationConfiguration | None" = None
    """Issuers of JWTs, checked (`faults` in configuration.py)."""
    configuration_file: Path | None = None
    """Where it is from; taken anew when it changes."""
    algorithms: tuple[str, ...] = ("RS256",)
    """How JWTs may be signed."""
