"""What the API server's flags about authentication mean. Everything they name is read before the server starts."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from wherry.aio.clock import SystemClock
from wherry.client.kubeconfig import KubeconfigError, access
from wherry.cluster.failure import ClusterError
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.authn.static_tokens import StaticTokens
from wherry.server.authn.token_webhook import VERSIONS, TokenWebhookOptions


@dataclass(slots=True)
class AuthenticationFlags:
    """The flags by their names."""

    client_ca_file: Path | None
    anonymous_auth: bool | None
    """None: not given."""
    token_auth_file: Path | None
    enable_bootstrap_token_auth: bool
    api_audiences: tuple[str, ...]
    authentication_token_webhook_config_file: Path | None
    authentication_token_webhook_version: str
    authentication_token_webhook_cache_ttl: float

    @classmethod
    def take(cls, flags: dict[str, Any]) -> "AuthenticationFlags":
        """These flags, removed from all that were given."""
        return cls(**{item.name: flags.pop(item.name) for item in fields(cls)})

    def options(self) -> AuthenticationOptions:
        """Raises ClusterError."""
        return AuthenticationOptions(
            anonymous=self.anonymous_auth is not False,
            static_tokens=_tokens(self.token_auth_file) if self.token_auth_file else None,
            bootstrap_tokens=self.enable_bootstrap_token_auth,
            webhook=self._webhook(),
        )

    def _webhook(self) -> TokenWebhookOptions | None:
        path, version = self.authentication_token_webhook_config_file, self.authentication_token_webhook_version
        if path is None:
            return None
        if version not in VERSIONS:
            raise ClusterError(f"--authentication-token-webhook-version {version}: choose of {', '.join(VERSIONS)}")
        try:
            access(path, clock=SystemClock())
        except KubeconfigError as error:
            raise ClusterError(f"--authentication-token-webhook-config-file: {error}") from error
        return TokenWebhookOptions(path, version, self.authentication_token_webhook_cache_ttl)


def _tokens(path: Path) -> StaticTokens:
    try:
        return StaticTokens.read(path)
    except OSError as error:
        raise ClusterError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ClusterError(str(error)) from error
