"""The API server as a process of its own: what its flags mean, and what is made when they name no file.

Without flags for them, a serving certificate and a key for service-account tokens are made below the data directory and
kept there. What a flag names is read before anything starts, so that a bad file is one line and not a broken server.
"""

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry import KUBERNETES_VERSION
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.cluster import surface
from wherry.cluster.authentication import AuthenticationFlags
from wherry.cluster.components import log_to_stderr, read_file, run_until_stopped
from wherry.cluster.control_plane import SERVER_NAMES, ApiServer
from wherry.cluster.failure import ClusterError
from wherry.cluster.network import node_address
from wherry.cluster.pki import Pki
from wherry.cluster.signing import signing_key
from wherry.server.admission.chain import AdmissionChoice
from wherry.server.admission.configuration import read_configurations
from wherry.server.admission.owner_references import OwnerReferencesPermissionEnforcement
from wherry.server.aggregation.aggregator import AggregationOptions
from wherry.server.audit.options import AuditOptions
from wherry.server.audit.policy import Policy, PolicyError
from wherry.server.bootstrap import Advertised
from wherry.server.edges import MODES, EdgeOptions
from wherry.server.enablement import RuntimeConfig
from wherry.server.encryption import ConfigurationError
from wherry.server.features import Features
from wherry.server.frontend import ListenError
from wherry.server.kubelets import kubelet_context
from wherry.server.options import ServerOptions
from wherry.server.tls import Serving
from wherry.server.tokens import VerificationKey
from wherry.server.traffic import TrafficOptions

log = logging.getLogger(__name__)


DEBUG_VERBOSITY = 4
"""Of -v: what Kubernetes calls debug level."""


@dataclass(slots=True)
class ApiServerFlags:
    """The flags of `wherry apiserver`, by their names."""

    data_dir: Path
    secure_port: int
    bind_address: str
    advertise_address: str
    tls_cert_file: Path | None
    tls_private_key_file: Path | None
    service_account_signing_key_file: Path | None
    service_account_key_file: tuple[Path, ...]
    service_cluster_ip_range: str
    service_node_port_range: tuple[int, int]
    authorization_mode: str
    encryption_provider_config: Path | None
    encryption_provider_config_automatic_reload: bool
    enable_admission_plugins: str
    disable_admission_plugins: str
    admission_control_config_file: Path | None
    kubelet_client_certificate: Path | None
    kubelet_client_key: Path | None
    kubelet_certificate_authority: Path | None
    enable_priority_and_fairness: bool
    max_requests_inflight: int
    max_mutating_requests_inflight: int
    request_timeout: float
    shutdown_delay_duration: float
    audit_policy_file: Path | None
    audit_log_path: str
    audit_log_format: str
    audit_log_maxsize: int
    audit_log_maxage: int
    audit_log_maxbackup: int
    audit_log_compress: bool
    audit_webhook_config_file: Path | None
    runtime_config: tuple[str, ...]
    feature_gates: tuple[str, ...]
    verbosity: int
    emulated_version: tuple[str, ...]
    min_compatibility_version: tuple[str, ...]
    authentication: AuthenticationFlags
    proxy_client_cert_file: Path | None = None
    proxy_client_key_file: Path | None = None


def run(flags: ApiServerFlags, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. Raises ClusterError."""
    log_to_stderr(logging.DEBUG if flags.verbosity >= DEBUG_VERBOSITY else logging.INFO)
    settings = Settings(flags)

    async def main(stop: asyncio.Event) -> None:
        api = ApiServer(flags.data_dir / "store", settings.tls, SystemClock(), Entropy())
        async with AsyncExitStack() as stack:
            try:
                await api.start(stack, flags.bind_address, flags.secure_port, settings.server)
            except ListenError as error:
                raise ClusterError(f"{error} (--bind-address, --secure-port)") from error
            except ConfigurationError as error:
                raise ClusterError(
                    f"--encryption-provider-config {flags.encryption_provider_config}: {error}"
                ) from error
            say(f"API server: https://{settings.address}:{api.port}")
            await stop.wait()

    run_until_stopped(main)


class Settings:
    """Flags made into what a server is built from. Raises ClusterError for what cannot work."""

    def __init__(self, flags: ApiServerFlags) -> None:
        self._flags = flags
        for one, other in (
            ("tls_cert_file", "tls_private_key_file"),
            ("kubelet_client_certificate", "kubelet_client_key"),
            ("proxy_client_cert_file", "proxy_client_key_file"),
        ):
            if (getattr(flags, one) is None) != (getattr(flags, other) is None):
                raise ClusterError(f"{_flag(one)} and {_flag(other)} belong together: give both")
        if flags.encryption_provider_config:
            read_file(flags.encryption_provider_config)
        elif flags.encryption_provider_config_automatic_reload:
            raise ClusterError(
                "--encryption-provider-config-automatic-reload must be set with --encryption-provider-config"
            )
        self.service_ip = _first_address(flags.service_cluster_ip_range)
        self.address = flags.advertise_address or flags.bind_address
        if self.address in ("0.0.0.0", "::"):
            self.address = node_address()
        self._pki = self._make_pki()
        self.tls = self._tls()
        self._admission_choice = _admission_choice(flags)
        self._traffic = _traffic(flags)
        self._runtime_config, self._features = _surface(flags)
        self._edges = self._edge_options()
        self._aggregation = _aggregation(flags)

    def server(self, port: int) -> ServerOptions:
        """Options of a server that listens on `port`."""
        self._edges.advertised = f"{self.address}:{port}"
        return ServerOptions(
            edges=self._edges,
            traffic=self._traffic,
            aggregation=self._aggregation,
            runtime_config=self._runtime_config,
            features=self._features,
            service_cidr=self._flags.service_cluster_ip_range,
            node_port_range=self._flags.service_node_port_range,
            admission_choice=self._admission_choice,
            encryption_config=self._flags.encryption_provider_config,
            encryption_config_reload=self._flags.encryption_provider_config_automatic_reload,
            advertised=Advertised(self.service_ip, self.address, port),
        )

    def _make_pki(self) -> Pki | None:
        flags = self._flags
        if flags.tls_cert_file and flags.service_account_signing_key_file:
            return None
        try:
            return Pki(flags.data_dir / "pki", SystemClock())
        except OSError as error:
            raise ClusterError(f"{error.filename}: {error.strerror}: choose another --data-dir") from error

    def _tls(self) -> Serving:
        flags = self._flags
        cert, key = flags.tls_cert_file, flags.tls_private_key_file
        if cert is None or key is None:
            assert self._pki is not None
            pair = self._pki.serving("apiserver", "kube-apiserver", [*SERVER_NAMES, self.address, self.service_ip])
            cert, key = pair.cert, pair.key
        authorities = flags.authentication.authorities()
        try:
            return Serving(cert, key, authorities)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(path) for path in (cert, key, *authorities))
            raise ClusterError(f"the API server cannot serve with {files}: {error}") from error

    def _edge_options(self) -> EdgeOptions:
        flags = self._flags
        modes = tuple(flags.authorization_mode.split(","))
        if unknown := [mode for mode in modes if mode not in MODES]:
            raise ClusterError(f"--authorization-mode {unknown[0]} is not supported: choose of {', '.join(MODES)}")
        authentication = flags.authentication.options()
        configured = authentication.configuration and authentication.configuration.anonymous
        if authentication.anonymous and not configured and "AlwaysAllow" in modes:
            log.warning("anonymous requests are refused, because --authorization-mode AlwaysAllow would allow them all")
            authentication.anonymous = False
        certificate, key = flags.kubelet_client_certificate, flags.kubelet_client_key
        options = EdgeOptions(
            authentication=authentication,
            authorization_modes=modes,
            audiences=flags.authentication.api_audiences,
            issuers=flags.authentication.issuers(),
            keys_url=flags.authentication.service_account_jwks_uri,
            token_seconds_max=flags.authentication.seconds_max(),
            extend_tokens=flags.authentication.service_account_extend_token_expiration,
            signing_key=self._signing_key(),
            verification_keys=tuple(_public_key(path) for path in flags.service_account_key_file),
            owner_references_need_permission=OwnerReferencesPermissionEnforcement.name
            in self._admission_choice.enabled,
            kubelet_client_certificate=str(certificate) if certificate else None,
            kubelet_client_key=str(key) if key else None,
            kubelet_authority=str(authority) if (authority := flags.kubelet_certificate_authority) else None,
        )
        try:
            kubelet_context(options.kubelet_client_certificate, options.kubelet_client_key, options.kubelet_authority)
        except (OSError, ssl.SSLError) as error:
            raise ClusterError(
                f"--kubelet-client-certificate, -key or --kubelet-certificate-authority: {error}"
            ) from error
        return options

    def _signing_key(self) -> bytes:
        path = self._flags.service_account_signing_key_file
        if path is None:
            assert self._pki is not None
            path = self._pki.service_account_key
        return signing_key(path)


def _admission_choice(flags: ApiServerFlags) -> AdmissionChoice:
    path = flags.admission_control_config_file
    choice = AdmissionChoice(
        _names(flags.enable_admission_plugins),
        _names(flags.disable_admission_plugins),
        _configurations(path) if path else {},
    )
    try:
        choice.check()
    except ValueError as error:
        flag = f"--admission-control-config-file {path}" if path else "admission plugins"
        raise ClusterError(f"{flag}: {error}") from error
    return choice


def _configurations(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        return read_configurations(path)
    except ValueError as error:
        raise ClusterError(f"--admission-control-config-file: {error}") from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _surface(flags: ApiServerFlags) -> tuple[RuntimeConfig, Features]:
    own = KUBERNETES_VERSION.removeprefix("v").rpartition(".")[0]
    for name in ("emulated_version", "min_compatibility_version"):
        for text in getattr(flags, name):
            if text.removeprefix("kube=").removeprefix("v") != own:
                raise ClusterError(f"{_flag(name)} {text}: this server speaks {own} and no other version")
    return surface.runtime_config(flags.runtime_config), surface.features(flags.feature_gates)


def _aggregation(flags: ApiServerFlags) -> AggregationOptions:
    cert, key = flags.proxy_client_cert_file, flags.proxy_client_key_file
    private = flags.authentication.private_headers()
    if cert is None or key is None:
        return AggregationOptions(private_headers=private)
    try:
        ssl.create_default_context().load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ClusterError(f"--proxy-client-cert-file, --proxy-client-key-file: {error}") from error
    return AggregationOptions(str(cert), str(key), private)


def _traffic(flags: ApiServerFlags) -> TrafficOptions:
    if flags.audit_policy_file and not (flags.audit_log_path or flags.audit_webhook_config_file):
        raise ClusterError("--audit-policy-file records nowhere: give --audit-log-path or --audit-webhook-config-file")
    policy = None
    if flags.audit_policy_file:
        try:
            policy = Policy.read(flags.audit_policy_file)
        except (OSError, PolicyError) as error:
            raise ClusterError(f"--audit-policy-file {flags.audit_policy_file}: {error}") from error
    audit = AuditOptions(
        policy=policy,
        log_path=flags.audit_log_path,
        log_format=flags.audit_log_format,
        log_size_max_megabytes=flags.audit_log_maxsize,
        log_age_max_days=flags.audit_log_maxage,
        log_backups_max=flags.audit_log_maxbackup,
        log_compress=flags.audit_log_compress,
        webhook_config=flags.audit_webhook_config_file,
    )
    return TrafficOptions(
        priority_and_fairness=flags.enable_priority_and_fairness,
        read_only_max=flags.max_requests_inflight,
        mutating_max=flags.max_mutating_requests_inflight,
        request_seconds=flags.request_timeout,
        shutdown_delay_seconds=flags.shutdown_delay_duration,
        audit=audit,
    )


def _public_key(path: Path) -> bytes:
    pem = read_file(path)
    try:
        VerificationKey.from_pem(pem)
    except (ValueError, TypeError) as error:
        raise ClusterError(f"{path}: not a key in PEM") from error
    return pem


def _first_address(cidr: str) -> str:
    try:
        return str(ipaddress.IPv4Network(cidr)[1])
    except (ValueError, IndexError) as error:
        raise ClusterError(f"--service-cluster-ip-range {cidr}: not an IPv4 range such as 10.96.0.0/16") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
