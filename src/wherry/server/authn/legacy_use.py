"""Secrets with service-account tokens say on which day these were last used, so that unused ones can be cleaned up.

Source: kubernetes pkg/serviceaccount/legacy.go (KEP-2799).
"""

from collections.abc import Callable

from wherry.aio.clock import Clock
from wherry.aio.tasks import TaskSet
from wherry.api.core_v1 import Secret
from wherry.client.client import Client

LAST_USED = "kubernetes.io/legacy-token-last-used"


class LegacyUse:
    """Notes uses on the side, once a day for each Secret."""

    def __init__(self, client: Callable[[], Client], clock: Clock) -> None:
        self._make_client = client
        self._clock = clock
        self._tasks = TaskSet()
        self._noted: dict[str, str] = {}

    def note(self, secret: Secret) -> None:
        """A token of this Secret was believed."""
        today, uid = self._clock.now().date().isoformat(), secret.metadata.uid or ""
        if secret.metadata.labels.get(LAST_USED) == today or self._noted.get(uid) == today:
            return
        self._noted[uid] = today
        self._tasks.spawn(self._write(secret, today), "legacy token")

    async def _write(self, secret: Secret, day: str) -> None:
        meta = secret.metadata
        await self._make_client().patch(
            Secret, meta.name or "", meta.namespace, {"metadata": {"uid": meta.uid, "labels": {LAST_USED: day}}}
        )

    async def close(self) -> None:
        """Write no more."""
        await self._tasks.cancel_all()
