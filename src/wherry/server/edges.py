"""The server's edges put together: who asks, what they may, discovery, OpenAPI, reviews, tokens, streams.

app.py makes one `Edges` from what the server has and then takes from it the filters, in order, and the handlers.
`follow` connects it with the watch caches; custom resources coming or going call `resources_changed`.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from wherry import KUBERNETES_VERSION
from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.api.rbac_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from wherry.meta.resource import Resource
from wherry.server import discovery as discovery_module
from wherry.server.admission.certificates import (
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from wherry.server.admission.owner_references import OwnerReferencesPermissionEnforcement
from wherry.server.admission.plugin import AdmissionPlugin
from wherry.server.authn.callers import Callers
from wherry.server.authn.options import AuthenticationOptions
from wherry.server.caches import Caches as WatchCaches
from wherry.server.callouts.client import Callouts
from wherry.server.discovery import Discovery
from wherry.server.files import FileFollower
from wherry.server.filters.authorization import AuthorizationFilter
from wherry.server.filters.impersonation import ImpersonationFilter
from wherry.server.handlers.proxying import Proxies
from wherry.server.handlers.reviews import Reviews
from wherry.server.handlers.status_endpoints import Check, Published, StatusEndpoints
from wherry.server.handlers.streaming import PodStreams
from wherry.server.handlers.token import TokenHandler
from wherry.server.http import Handler, Request
from wherry.server.kubelets import Kubelets, kubelet_context
from wherry.server.metrics import Gauge, Metrics
from wherry.server.openapi import documents
from wherry.server.openapi.documents import OpenApi, no_custom_schema
from wherry.server.openapi.paths import CustomSchema
from wherry.server.rbac.authorizer import AlwaysAllow, AlwaysDeny, Authorizer, Masters, RbacAuthorizer, Union
from wherry.server.rbac.escalation import EscalationCheck
from wherry.server.rbac.node import NodeAuthorizer
from wherry.server.rbac.node_graph import NodeGraph
from wherry.server.strategies.strategy import Caches
from wherry.server.tokens import SigningKey, TokenIssuer, TokenVerifier, VerificationKey

Who = Callable[[Request], Awaitable[None] | None]
"""A step towards knowing who asks; awaitable where somebody else must be asked first."""
MODES = ("AlwaysAllow", "AlwaysDeny", "Node", "RBAC")


@dataclass(slots=True)
class EdgeOptions:
    """Settings of the edges; file names are paths to PEM files."""

    authentication: AuthenticationOptions = field(default_factory=AuthenticationOptions)
    authorization_modes: tuple[str, ...] = ("Node", "RBAC")
    issuers: tuple[str, ...] = ("https://kubernetes.default.svc.cluster.local",)
    """`iss` of service-account tokens: the first of new ones, all of those that are believed."""
    keys_url: str = ""
    """Where others find the keys of these tokens; empty: at the advertised address."""
    audiences: tuple[str, ...] = ()
    """Audiences this server answers to; empty: the issuers."""
    token_seconds_max: int = 0
    """How long service-account tokens live at most; 0: as long as is asked for."""
    extend_tokens: bool = True
    """Give pods of old a year, see WARN_SECONDS in tokens.py."""
    signing_key: bytes | None = None
    """PEM private key of service-account tokens; None: no tokens are issued."""
    verification_keys: tuple[bytes, ...] = ()
    """Further PEM keys whose tokens are believed (keys of old)."""
    kubelet_client_certificate: str | None = None
    kubelet_client_key: str | None = None
    kubelet_authority: str | None = None
    """Whoever signs kubelets' serving certificates; None: these are not checked, as by kube-apiserver."""
    owner_references_need_permission: bool = False
    """Admission plugin OwnerReferencesPermissionEnforcement: off by default, as in kube-apiserver."""
    advertised: str = ""
    """host:port that /api tells clients."""


@dataclass(slots=True)
class Surroundings:
    """What the edges need of the rest of the server."""

    caches: Caches
    clock: Clock
    entropy: Entropy
    resources: Callable[[], Iterable[Resource]]
    custom_schema: CustomSchema = no_custom_schema
    """The OpenAPI v3 schema of a custom resource's definition."""
    gauges: Callable[[], Iterable[Gauge]] = tuple
    health: Mapping[str, Mapping[str, Check]] = field(default_factory=dict)
    """Checks by endpoint (healthz, livez, readyz) and name."""


class Edges:
    """Built once per server."""

    def __init__(self, options: EdgeOptions, around: Surroundings) -> None:
        self.callouts = Callouts(around.caches, around.entropy, around.clock)
        self.rbac = RbacAuthorizer()
        self.node_graph = NodeGraph()
        self._authorization_modes = options.authorization_modes
        self.authorizer = self._make_authorizer(options.authorization_modes)
        audiences = list(options.audiences or options.issuers)
        signing = SigningKey(options.signing_key) if options.signing_key else None
        keys = [signing.public] if signing else []
        keys += [key for pem in options.verification_keys for key in VerificationKey.from_pem(pem)]
        self.verifier = TokenVerifier(keys, options.issuers, audiences, around.caches, around.clock)
        self.issuer = TokenIssuer(signing, options.issuers[0], around.clock, around.entropy) if signing else None
        self.files = FileFollower(around.clock)
        self.callers = Callers(
            options.authentication, self.verifier, audiences, around.caches, self.callouts, around.clock, self.files
        )
        self.authentication = self.callers.filter
        self.impersonation = ImpersonationFilter(self.authorizer)
        self.authorization = AuthorizationFilter(self.authorizer)
        self.who: tuple[Who, ...] = (self.authentication.apply, self.impersonation.apply)
        """Each in turn; what one returns is awaited: only where a remote party decides."""
        self.plugins: tuple[AdmissionPlugin, ...] = (
            CertificateApproval(self.authorizer),
            CertificateSigning(self.authorizer),
            CertificateSubjectRestriction(),
            EscalationCheck(self.authorizer, self.rbac.index),
        )
        if options.owner_references_need_permission:
            owners = OwnerReferencesPermissionEnforcement(self.authorizer, around.resources)
            self.plugins = (*self.plugins, owners)
        """Admission that asks the authorizer."""
        self.metrics = Metrics(around.gauges)
        self.metrics.families.append(self.authentication.collect)
        self.discovery = Discovery(around.resources, options.advertised)
        self.openapi = OpenApi(around.resources, KUBERNETES_VERSION, around.custom_schema)
        self.kubelets = Kubelets(around.caches, lambda: _context(options))
        self._reviews = Reviews(self.authorizer, self.authentication, audiences)
        self._token = (
            TokenHandler(
                self.issuer,
                audiences,
                around.caches,
                extend=options.extend_tokens,
                seconds_max=options.token_seconds_max,
            )
            if self.issuer
            else None
        )
        self._streams = PodStreams(around.caches, self.kubelets)
        self._proxies = Proxies(around.caches, self.kubelets, around.entropy)
        health = [(name, around.health.get(name, {})) for name in ("healthz", "livez", "readyz")]
        published = Published(
            options.issuers[0], options.keys_url or f"https://{options.advertised}/openid/v1/jwks", keys
        )
        self._status = StatusEndpoints(self.metrics, health, published, self._paths)

    def _make_authorizer(self, modes: Iterable[str]) -> Authorizer:
        made: dict[str, Callable[[], Authorizer]] = {
            "AlwaysAllow": AlwaysAllow,
            "AlwaysDeny": AlwaysDeny,
            "Node": lambda: NodeAuthorizer(self.node_graph),
            "RBAC": lambda: self.rbac,
        }
        return Union(Masters(), *(made[mode]() for mode in modes))

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Handlers of all paths that are no resources: method, path template, handler."""
        return [
            *discovery_module.routes(self.discovery),
            *documents.routes(self.openapi),
            *self._status.routes(),
        ]

    def create_handlers(self) -> dict[tuple[str, str], Handler]:
        """In place of the generic create, by API group and plural: reviews, which are never stored."""
        return self._reviews.create_handlers()

    def subresource_handlers(self) -> dict[tuple[str, str, str], Handler]:
        """By API group, plural and subresource, for every method the subresource has."""
        token: dict[tuple[str, str, str], Handler] = {}
        if self._token:
            token[("", "serviceaccounts", "token")] = self._token
        return self._streams.subresource_handlers() | self._proxies.subresource_handlers() | token

    def follow(self, caches: WatchCaches) -> None:
        """Learn every role and binding there is, where the pods are, and each later change."""
        self.files.start()
        caches.on_change(ClusterRole, self.rbac.role_changed)
        caches.on_change(Role, self.rbac.role_changed)
        caches.on_change(ClusterRoleBinding, self.rbac.binding_changed)
        caches.on_change(RoleBinding, self.rbac.binding_changed)
        if "Node" in self._authorization_modes:
            self.node_graph.follow(caches)

    def resources_changed(self) -> None:
        """Custom resources came, went or changed: discovery and OpenAPI are made anew when next asked for."""
        self.discovery.refresh()
        self.openapi.refresh()

    async def close(self) -> None:
        """Close connections to kubelets, webhooks and extension servers."""
        await self.files.close()
        await self.callers.close()
        await self.callouts.close()
        await self.kubelets.close()

    def _paths(self) -> list[str]:
        fixed = {path.rstrip("/") or "/" for _, path, _ in self.routes() if "{" not in path} - {"/"}
        groups = {f"/apis/{group}" for group, _ in self.discovery.group_versions() if group}
        versions = {
            f"/apis/{group}/{version}" if group else f"/api/{version}"
            for group, version in self.discovery.group_versions()
        }
        checks = {f"/{name}/{check}" for name, health in self._status.health.items() for check in health.checks}
        return sorted(fixed | groups | versions | checks)


def _context(options: EdgeOptions) -> ssl.SSLContext:
    return kubelet_context(options.kubelet_client_certificate, options.kubelet_client_key, options.kubelet_authority)
