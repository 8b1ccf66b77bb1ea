"""What the API server's flags about authentication mean. Everything they name is read before the server starts."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.aio.clock import SystemClock
from wherry.client.kubeconfig import KubeconfigError, access
from wherry.cluster.components import read_file
from wherry.cluster.failure import ClusterError
from wherry.meta.errors import aggregate
from wherry.server.authn.front_proxy import FrontProxyOptions
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.authn.static_tokens import StaticTokens
from wherry.server.authn.token_webhook import VERSIONS, TokenWebhookOptions

if TYPE_CHECKING:
    from wherry.server.authn.configuration import AuthenticationConfiguration


@dataclass(slots=True)
class AuthenticationFlags:
    """The flags by their names."""

    client_ca_file: Path | None
    requestheader_client_ca_file: Path | None
    requestheader_allowed_names: tuple[str, ...]
    requestheader_username_headers: tuple[str, ...]
    requestheader_group_headers: tuple[str, ...]
    requestheader_uid_headers: tuple[str, ...]
    requestheader_extra_headers_prefix: tuple[str, ...]
    anonymous_auth: bool | None
    """None: not given."""
    token_auth_file: Path | None
    enable_bootstrap_token_auth: bool
    service_account_issuer: tuple[str, ...]
    service_account_jwks_uri: str
    service_account_max_token_expiration: float
    service_account_extend_token_expiration: bool
    api_audiences: tuple[str, ...]
    authentication_token_webhook_config_file: Path | None
    authentication_token_webhook_version: str
    authentication_token_webhook_cache_ttl: float
    authentication_config: Path | None
    oidc_issuer_url: str | None
    oidc_client_id: str | None
    oidc_ca_file: Path | None
    oidc_username_claim: str | None
    oidc_username_prefix: str | None
    oidc_groups_claim: str | None
    oidc_groups_prefix: str | None
    oidc_signing_algs: tuple[str, ...]
    oidc_required_claim: tuple[str, ...]

    @classmethod
    def take(cls, flags: dict[str, Any]) -> "AuthenticationFlags":
        """These flags, removed from all that were given."""
        return cls(**{item.name: flags.pop(item.name) for item in fields(cls)})

    def issuers(self) -> tuple[str, ...]:
        """Of this server's own tokens. Raises ClusterError."""
        found = self.service_account_issuer
        for index, issuer in enumerate(found):
            if not issuer:
                raise ClusterError("service-account-issuer should not be an empty string")
            if issuer in found[:index]:
                raise ClusterError(f'service-account-issuer "{issuer}" is already specified')
        if self.service_account_jwks_uri and not self.service_account_jwks_uri.startswith("https://"):
            why = f"service-account-jwks-uri requires https scheme, parsed as: {self.service_account_jwks_uri}"
            raise ClusterError(why)
        return found

    def seconds_max(self) -> int:
        """How long tokens live at most; 0: no limit. Raises ClusterError."""
        limit = int(self.service_account_max_token_expiration)
        if limit and not 3600 <= limit <= 1 << 32:
            raise ClusterError("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds")
        return limit

    def options(self) -> AuthenticationOptions:
        """Raises ClusterError."""
        made = AuthenticationOptions(
            client_ca=self.client_ca_file,
            front_proxy=self._front_proxy(),
            anonymous=self.anonymous_auth is not False,
            static_tokens=_tokens(self.token_auth_file) if self.token_auth_file else None,
            bootstrap_tokens=self.enable_bootstrap_token_auth,
            webhook=self._webhook(),
        )
        self._add_jwt(made)
        return made

    def _add_jwt(self, made: AuthenticationOptions) -> None:
        path = self.authentication_config
        given = any(getattr(self, item.name) for item in fields(self) if item.name.startswith("oidc_"))
        if path is None and not given:
            return
        from wherry.server.authn import configuration
        from wherry.server.authn.issuers import ALGORITHMS

        if path is not None:
            if given:
                raise ClusterError("authentication-config file and oidc-* flags are mutually exclusive")
            try:
                found = configuration.read(read_file(path))
            except ValueError as error:
                why = f'failed to load authentication configuration from file "{path}": {error}'
                raise ClusterError(why) from error
            made.configuration_file, made.algorithms = path, ALGORITHMS
        else:
            made.algorithms = self.oidc_signing_algs or made.algorithms
            if unknown := [item for item in made.algorithms if item not in ALGORITHMS]:
                raise ClusterError(f'--oidc-signing-algs: unsupported signing alg: "{unknown[0]}"')
            found = self._oidc()
        if found.anonymous is not None:
            if self.anonymous_auth is not None:
                raise ClusterError(
                    "anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in "
                    "authentication configuration file"
                )
            made.anonymous = found.anonymous.enabled
            made.anonymous_paths = tuple(item.path for item in found.anonymous.conditions)
        if errors := list(configuration.faults(found, self.issuers())):
            raise ClusterError(f"invalid authentication configuration: {aggregate(errors)}")
        made.configuration = found

    def _oidc(self) -> "AuthenticationConfiguration":
        """The flags as a configuration."""
        from wherry.server.authn import configuration

        url, client_id = self.oidc_issuer_url, self.oidc_client_id
        if not url or not client_id:
            raise ClusterError("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags "
                               "are set")  # fmt: skip
        claim, prefix = self.oidc_username_claim or "sub", self.oidc_username_prefix or ""
        if not prefix and claim != "email":
            prefix = f"{url}#"
        mappings = configuration.ClaimMappings(configuration.Mapping(claim, "" if prefix == "-" else prefix))
        if self.oidc_groups_claim:
            mappings.groups = configuration.Mapping(self.oidc_groups_claim, self.oidc_groups_prefix or "")
        rules = []
        for text in self.oidc_required_claim:
            name, equals, value = text.partition("=")
            if not equals:
                raise ClusterError(f"--oidc-required-claim {text}: not a claim such as hd=example.org")
            rules.append(configuration.ClaimRule(name.strip(), value.strip()))
        issuer = configuration.Issuer(url, audiences=[client_id])
        if self.oidc_ca_file:
            issuer.certificateAuthority = read_file(self.oidc_ca_file).decode(errors="replace")
        jwt = configuration.Jwt(issuer, rules, mappings)
        return configuration.AuthenticationConfiguration(jwt=[jwt])

    def authorities(self) -> list[Path]:
        """Files of those who vouch for client certificates."""
        return [path for path in (self.client_ca_file, self.requestheader_client_ca_file) if path]

    def private_headers(self) -> tuple[str, ...]:
        """How the headers begin by which proxies say who asks."""
        names = (*self.requestheader_username_headers, *self.requestheader_group_headers)
        more = (*self.requestheader_uid_headers, *self.requestheader_extra_headers_prefix)
        return tuple(name.strip().lower() for name in (*names, *more))

    def _front_proxy(self) -> FrontProxyOptions | None:
        for name in ("username_headers", "group_headers", "extra_headers_prefix", "allowed_names", "uid_headers"):
            if not all(text.strip() for text in getattr(self, f"requestheader_{name}")):
                raise ClusterError(f'empty value in "requestheader-{name.replace("_", "-")}"')
        uids = self.requestheader_uid_headers
        if uids and "x-remote-uid" not in map(str.lower, uids):
            raise ClusterError("--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header"
                               " - API aggregation will not work")  # fmt: skip
        ca, names = self.requestheader_client_ca_file, self.requestheader_allowed_names
        if ca is None:
            return None
        if self.client_ca_file and not names and _pems(self.client_ca_file) & _pems(ca):
            raise ClusterError(
                "--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; "
                "--requestheader-allowed-names must be specified to ensure regular client certificates cannot set "
                "authenticating proxy headers for arbitrary users"
            )
        users, groups = self.requestheader_username_headers, self.requestheader_group_headers
        return FrontProxyOptions(ca, names, users, groups, uids, self.requestheader_extra_headers_prefix)

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


def _pems(path: Path) -> set[str]:
    end = "-----END CERTIFICATE-----"
    return {"".join(part.split()) for part in read_file(path).decode(errors="replace").split(end)[:-1]}


def _tokens(path: Path) -> StaticTokens:
    try:
        return StaticTokens.read(path)
    except OSError as error:
        raise ClusterError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ClusterError(str(error)) from error
