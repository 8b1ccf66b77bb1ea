"""One leader among several candidates, by a Lease that the leader keeps renewing.

Nobody trusts another machine's clock: a candidate waits `lease_seconds` on its own clock after it last saw the lease
change. A leader that cannot renew for `renew_deadline_seconds` stops leading before anyone else may start.

Source of the behaviour and its defaults: k8s.io/client-go, tools/leaderelection.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from wherry.aio.clock import Clock
from wherry.api.coordination_v1 import Lease, LeaseSpec
from wherry.client.client import Client
from wherry.client.events import EventRecorder
from wherry.client.transport import TransportError
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.time import format_micro_time

log = logging.getLogger(__name__)

JITTER = 1.2  # candidates try again after retry_seconds times 1 to 1 + JITTER


class LeaderElector:
    """A candidate named `identity` for the lease `namespace`/`name`."""

    def __init__(
        self,
        client: Client,
        name: str,
        namespace: str,
        identity: str,
        clock: Clock,
        *,
        lease_seconds: float = 15.0,
        renew_deadline_seconds: float = 10.0,
        retry_seconds: float = 2.0,
        recorder: EventRecorder | None = None,
    ) -> None:
        if not lease_seconds > renew_deadline_seconds > JITTER * retry_seconds:
            raise ValueError("leases must outlast the renew deadline, and that 1.2 times the retry period")
        self._client = client
        self._name, self._namespace, self._identity = name, namespace, identity
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._renew_deadline_seconds = renew_deadline_seconds
        self._retry_seconds = retry_seconds
        self._recorder = recorder
        self._observed = LeaseSpec()
        self._observed_at_seconds = float("-inf")
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Lead whenever the lease is ours: `lead` is cancelled when it is lost, and called anew when it is regained.

        Returns (or raises) when `lead` does; gives the lease back then, and when cancelled.
        """
        while True:
            await self._acquire()
            try:
                if await self._lead_while_held(lead):
                    return
            finally:
                self.leading = False
                await self._release()

    async def _acquire(self) -> None:
        while not await self._take():
            await self._clock.sleep(self._retry_seconds * self._client.entropy.uniform(1.0, 1.0 + JITTER))
        self.leading = True
        log.info("%s leads by lease %s/%s", self._identity, self._namespace, self._name)
        if self._recorder is not None:
            lease = Lease(metadata=ObjectMeta(name=self._name, namespace=self._namespace))
            self._recorder.event(lease, "Normal", "LeaderElection", f"{self._identity} became leader")

    async def _lead_while_held(self, lead: Callable[[], Awaitable[None]]) -> bool:
        leading = asyncio.ensure_future(lead())
        holding = asyncio.create_task(self._renew(), name=f"lease {self._name}")
        try:
            await asyncio.wait((leading, holding), return_when=asyncio.FIRST_COMPLETED)
            if leading.done():
                leading.result()
                return True
            log.error("%s lost lease %s/%s", self._identity, self._namespace, self._name)
            return False
        finally:
            for task in (leading, holding):
                task.cancel()
            await asyncio.gather(leading, holding, return_exceptions=True)

    async def _renew(self) -> None:
        """Returns when the lease is lost."""
        while True:
            await self._clock.sleep(self._retry_seconds)
            try:
                async with asyncio.timeout(self._renew_deadline_seconds):
                    while not await self._take():
                        await self._clock.sleep(self._retry_seconds)
            except TimeoutError:
                return

    async def _take(self) -> bool:
        """Acquire or renew once."""
        try:
            return await self._try_take()
        except (StatusError, TransportError) as error:
            log.info("lease %s/%s: %s", self._namespace, self._name, error)
            return False

    async def _try_take(self) -> bool:
        now = format_micro_time(self._clock.now())
        try:
            lease = await self._client.get(Lease, self._name, self._namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            metadata = ObjectMeta(name=self._name, namespace=self._namespace)
            lease = await self._client.create(Lease(metadata=metadata, spec=self._claim(now, now, 0)))
            self._observe(lease.spec)
            return True
        old = lease.spec
        self._observe(old)
        ours = old.holderIdentity == self._identity
        if old.holderIdentity and not ours and self._still_valid(old):
            return False
        transitions = (old.leaseTransitions or 0) + (0 if ours else 1)
        lease.spec = self._claim(old.acquireTime or now if ours else now, now, transitions)
        self._observe((await self._client.update(lease)).spec)
        return True

    def _claim(self, acquired: str, renewed: str, transitions: int) -> LeaseSpec:
        return LeaseSpec(
            holderIdentity=self._identity,
            leaseDurationSeconds=int(self._lease_seconds),
            acquireTime=acquired,
            renewTime=renewed,
            leaseTransitions=transitions,
        )

    def _observe(self, spec: LeaseSpec) -> None:
        if spec != self._observed:
            self._observed = spec
            self._observed_at_seconds = self._clock.monotonic()

    def _still_valid(self, spec: LeaseSpec) -> bool:
        duration_seconds = spec.leaseDurationSeconds or 0
        return self._clock.monotonic() < self._observed_at_seconds + duration_seconds

    async def _release(self) -> None:
        """Give the lease back if it is ours, so that the next leader need not wait it out."""
        try:
            lease = await self._client.get(Lease, self._name, self._namespace)
            if lease.spec.holderIdentity != self._identity:
                return
            now = format_micro_time(self._clock.now())
            transitions = lease.spec.leaseTransitions
            lease.spec = LeaseSpec(
                holderIdentity="",
                leaseDurationSeconds=1,
                acquireTime=now,
                renewTime=now,
                leaseTransitions=transitions,
            )
            await self._client.update(lease)
        except (StatusError, TransportError) as error:
            log.info("lease %s/%s not released: %s", self._namespace, self._name, error)
