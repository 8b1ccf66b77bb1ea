"""The API server, composed: what wraps what.

    request ─► request info ─► authentication ─► impersonation ─► priority ─► authorization ─► dispatch ─► handler
                                                                                     │
    reads:  watch cache bytes                                                        ▼
    writes: decode ─► default ─► admission ─► strategy ─► one transaction ─► those bytes are the reply

Two frontends call `Server.handle`: HTTPS (frontend.py) and the in-process transport (transport.py). Read dispatch.py
next, then handlers/create.py.
"""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.client.client import Client
from wherry.meta.errors import StatusError, internal_error
from wherry.server.address_repair import keep_repairing
from wherry.server.admission.chain import built_in_plugins
from wherry.server.admission.configured import ConfiguredAdmission
from wherry.server.admission.plugin import AdmissionPlugin
from wherry.server.aggregation.aggregator import Aggregator
from wherry.server.allocators import PortAllocator
from wherry.server.authn.legacy_use import LegacyUse
from wherry.server.bootstrap import bootstrap, publish_authentication
from wherry.server.caches import Caches, ObjectStore
from wherry.server.customresources.serving import CustomResources
from wherry.server.deletion import Deleter
from wherry.server.dispatch import OWN_NAME, Dispatcher
from wherry.server.edges import Edges, Surroundings
from wherry.server.fairness.level import Seat
from wherry.server.filters.content import ContentFilter
from wherry.server.handlers.writes import Means
from wherry.server.http import Refusal, Request, Response, UserInfo
from wherry.server.metrics import Gauge
from wherry.server.negotiation import status_response
from wherry.server.options import ServerOptions
from wherry.server.ownership import Ownership
from wherry.server.registry import Registry
from wherry.server.routes import request_info
from wherry.server.shapes import Shapes
from wherry.server.strategies.table import strategies
from wherry.server.traffic import Traffic
from wherry.server.transport import InProcessTransport
from wherry.server.writer import Writer
from wherry.store.protocol import Store

if TYPE_CHECKING:
    from wherry.server.encryption.store import EncryptedStore

_log = logging.getLogger(__name__)
SELF = UserInfo(OWN_NAME, groups=["system:masters"])


class Server:
    """One API server over one store."""

    def __init__(self, store: Store, clock: Clock, entropy: Entropy, options: ServerOptions | None = None) -> None:
        self.options = options or ServerOptions()
        self.store, self.clock, self.entropy = store, clock, entropy
        self.encrypted = self._make_encrypted()
        objects: ObjectStore = self.encrypted or store
        self.caches = Caches(objects, clock)
        given = self.options
        ports = PortAllocator(*given.node_port_range, *given.node_port_part)
        table = strategies(self.caches, given.service_cidr, ports, self.loopback_client)
        self.registry = Registry(self.caches, table, self.options.runtime_config)
        self.writer = Writer(objects, self.caches, clock, entropy, Ownership(self.options.managed_fields))
        self.means = Means(
            self.writer,
            Deleter(self.writer),
            Shapes(clock),
            self.options.features,
            lambda user, info: self.edges.authorizer.authorize(user, info),
        )
        self.custom = CustomResources(self.registry, self.caches, self.writer, self.means.deleter)
        around = Surroundings(
            self.caches,
            clock,
            entropy,
            self.registry.resources,
            self.custom.openapi_schema,
            gauges=self._gauges,
            health={
                "healthz": {"etcd": self._store_is_well},
                "livez": {"etcd": self._store_is_well},
                "readyz": {"etcd": self._store_is_well, "shutdown": self._serves_on},
            },
        )
        if self.encrypted is not None:
            self.caches.stale = self.encrypted.stale
            around.health = {
                name: {**checks, "kms-providers": self.encrypted.healthy} for name, checks in around.health.items()
            }
        self.edges = Edges(self.options.edges, around)
        self.custom.callouts = self.edges.callouts
        self._legacy_use = LegacyUse(self.loopback_client, clock)
        self.edges.verifier.legacy_used = self._legacy_use.note
        self.content = ContentFilter(self.registry.find)
        self.registry.on_change(self.edges.resources_changed)
        self.dispatch = Dispatcher(self.registry, self.means)
        self.dispatch.add_routes(self.edges.routes())
        self.dispatch.add_creates(self.edges.create_handlers())
        self.dispatch.add_subresources(self.edges.subresource_handlers())
        self.admission = ConfiguredAdmission(
            self.options.admission,
            self.caches,
            self.registry,
            self.edges.callouts,
            self.writer.plugins_changed,
            self.edges.authorizer,
        )
        self.writer.use_plugins(self._plugins())
        self.aggregator = Aggregator(
            self.options.aggregation,
            self.caches,
            self.loopback_client,
            self.edges.callouts,
            self.registry.resources,
            self.edges.resources_changed,
        )
        self.edges.discovery.others = self.edges.openapi.others = self.aggregator
        self.dispatch.fallback = self.aggregator.handler
        self.registry.on_change(self.aggregator.resources_changed)
        self.traffic = Traffic(self.options.traffic, self.registry, self.caches, self.loopback_client, self.edges)
        self.dispatch.add_routes(self.traffic.routes())
        self._repair: asyncio.Task[None] | None = None

    def _make_encrypted(self) -> "EncryptedStore | None":
        """Raises OSError, ConfigurationError."""
        path = self.options.encryption_config
        if path is None:
            return None
        from wherry.server.encryption.store import EncryptedStore

        return EncryptedStore(self.store, path, self.clock, self.entropy)

    def _plugins(self) -> list[AdmissionPlugin]:
        choice, configured = self.options.admission_choice, self.admission.plugins
        chain = built_in_plugins(self.caches, self.loopback_client, self.clock, configured, choice)
        return [*chain, *(plugin for plugin in self.edges.plugins if plugin.name not in choice.disabled)]

    async def start(self) -> None:
        """Load the store, make sure that what every cluster has is there. Raises StatusError, StoreError."""
        if self.encrypted is not None:
            await self.encrypted.start(reload=self.options.encryption_config_reload)
        await self.caches.start()
        self.edges.follow(self.caches)
        self.admission.follow()
        await self.custom.start()
        self.traffic.start(keep=self.options.bootstrap)
        if self.options.bootstrap:
            authentication, client = self.options.edges.authentication, self.loopback_client()
            await bootstrap(client, self.caches, self.options.advertised, authentication, self.options.service_cidr)
            self._repair = asyncio.create_task(keep_repairing(client, self.caches), name="address repair")
            publish = partial(publish_authentication, client, self.caches, authentication)
            self.edges.callers.authorities_changed = publish
        self.aggregator.start()

    async def close(self) -> None:
        """End watches and connections. The store is the caller's to close."""
        if self._repair is not None:
            self._repair.cancel()
            await asyncio.gather(self._repair, return_exceptions=True)
        await self.traffic.close()
        await self._legacy_use.close()
        await self.aggregator.close()
        await self.custom.close()
        await self.caches.close()
        await self.edges.close()
        if self.encrypted is not None:
            await self.encrypted.close()

    async def handle(self, request: Request) -> Response:
        """Answer any request; raises nothing but cancellation."""
        begin = self.clock.monotonic()
        chosen = ""
        seat: Seat | None = None
        traffic = self.traffic
        gate = traffic.gate
        try:
            request.info = request_info(request)
            traffic.begin(request, begin)
            chosen = self.content.choose(request)
            edges = self.edges
            for who in edges.who:
                pending = who(request)
                if pending is not None:
                    await pending
            wanted = gate.enter(request)
            if wanted is not None and wanted.granted is not None:
                await gate.wait(wanted)
            seat = wanted
            pending = edges.authorization.check(request)
            if pending is not None:
                await pending
            self.content.read(request)
            response = await self.dispatch(request)
            if chosen:
                response = await self.content.write(request, response, chosen)
        except StatusError as error:
            response = await self._refusal(request, error, chosen)
        except Refusal as refusal:
            response = refusal.response
        except asyncio.CancelledError:
            ran_out = traffic.lifecycle.ran_out(request)
            if ran_out is None:
                raise
            response = await self._refusal(request, ran_out, chosen)
        except Exception as error:  # noqa: BLE001 - one broken request must not take the server with it
            _log.exception("%s %s failed", request.method, request.path)
            response = await self._refusal(request, internal_error(f"{type(error).__name__}: {error}"), chosen)
            traffic.crashed(request, error)
        finally:
            seconds = self.clock.monotonic() - begin
            if seat is not None:
                gate.leave(seat, seconds)
            traffic.end(request)
        traffic.answered(request, response)
        self.edges.metrics.observe(request.info, response.status, seconds)
        return response

    async def _refusal(self, request: Request, error: StatusError, chosen: str) -> Response:
        response = status_response(request, error)
        return await self.content.write(request, response, chosen) if chosen else response

    def transport(self, user: UserInfo) -> InProcessTransport:
        """A client transport into this server, as `user`, without sockets."""
        return InProcessTransport(self.handle, user)

    def loopback_client(self) -> Client:
        """The server's own client to itself."""
        return Client(self.transport(SELF), clock=self.clock, entropy=self.entropy, user_agent="wherry-apiserver")

    def client(self, user: str = "admin", groups: Iterable[str] = ("system:masters",)) -> Client:
        """A client in process for anyone; by default for an administrator."""
        transport = self.transport(UserInfo(user, groups=list(groups)))
        return Client(transport, clock=self.clock, entropy=self.entropy)

    async def _serves_on(self) -> bool:
        return not self.traffic.lifecycle.stopping

    async def _store_is_well(self) -> bool:
        return not self.store.trouble

    def _gauges(self) -> Iterable[Gauge]:
        for served in self.registry.served():
            if served.resource is served.stored:
                labels = {"resource": served.resource.group_resource}
                yield "apiserver_storage_objects", "Number of stored objects.", labels, len(served.cache.entries)
        text = "This metric records the data about the stage and enablement of a k8s feature."
        for name, stage, on in self.options.features.states():
            yield "kubernetes_feature_enabled", text, {"name": name, "stage": stage}, float(on)
        for group, version, resource, subresource in self.dispatch.deprecated:
            labels = {"group": group, "version": version, "removed_release": "", "resource": resource}
            labels["subresource"] = subresource
            text = "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, "
            text += "subresource, and removed_release."
            yield "apiserver_requested_deprecated_apis", text, labels, 1
