"""Getting a container's image onto the node: pull policies, back-off, credentials, events."""

import asyncio
import base64
import json
from collections.abc import Callable

from wherry.aio.clock import Clock
from wherry.api.core_v1 import Pod, Secret
from wherry.kubelet.backoff import Backoff
from wherry.kubelet.environment import Lookup
from wherry.kubelet.machine import AnyContainer
from wherry.kubelet.runtimes.protocol import Image, ImageAuth, ImageFailure, Runtime, RuntimeFailure
from wherry.meta.errors import quote

Tell = Callable[[Pod, AnyContainer, str, str, str], None]
"""(pod, container, event type, reason, message)"""


class Images:
    """One node's images; pulls of the same image by several pods happen once."""

    def __init__(self, runtime: Runtime, clock: Clock, tell: Tell) -> None:
        self._runtime = runtime
        self._clock = clock
        self._tell = tell
        self._backoff = Backoff()
        self._last_error: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure(self, pod: Pod, container: AnyContainer, lookup: Lookup) -> Image:
        """The image, pulled if the policy says so. Raises RuntimeFailure with the container's waiting reason."""
        name = with_tag(container.image or "")
        policy = container.imagePullPolicy or default_policy(name)
        found = await self._runtime.find_image(name)
        if found and policy != "Always":
            self._tell(
                pod,
                container,
                "Normal",
                "Pulled",
                f"Container image {quote(container.image or '')} already present on machine",
            )
            return found
        if policy == "Never":
            text = f"Container image {quote(container.image or '')} is not present with pull policy of Never"
            self._tell(pod, container, "Warning", "ErrImageNeverPull", text)
            raise RuntimeFailure(text, "ErrImageNeverPull")
        key = f"{pod.metadata.uid}_{name}"
        self._check_backoff(pod, container, key)
        await self._pull(pod, container, name, key, lookup)
        pulled = await self._runtime.find_image(name)
        if pulled is None:
            raise RuntimeFailure(f"image {quote(name)} is not there after it was pulled", "ImageInspectError")
        return pulled

    def remaining_seconds(self, pod: Pod, container: AnyContainer) -> float:
        """How long until the image may be tried again."""
        key = f"{pod.metadata.uid}_{with_tag(container.image or '')}"
        return self._backoff.remaining_since_update(key, self._clock.monotonic())

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._backoff.entries if key.startswith(f"{uid}_")]:
            self._backoff.forget(key)
            self._last_error.pop(key, None)

    def _check_backoff(self, pod: Pod, container: AnyContainer, key: str) -> None:
        if self._backoff.remaining_since_update(key, self._clock.monotonic()) <= 0:
            return
        text = f"Back-off pulling image {quote(container.image or '')}"
        self._tell(pod, container, "Normal", "BackOff", text)
        last = self._last_error.get(key)
        raise RuntimeFailure(f"{text}: {last}" if last else text, "ImagePullBackOff")

    async def _pull(self, pod: Pod, container: AnyContainer, name: str, key: str, lookup: Lookup) -> None:
        shown = quote(container.image or "")
        self._tell(pod, container, "Normal", "Pulling", f"Pulling image {shown}")
        asked = self._clock.monotonic()
        async with self._locks.setdefault(name, asyncio.Lock()):
            began = self._clock.monotonic()
            try:
                await self._try_credentials(pod, name, lookup)
            except ImageFailure as error:
                text = f"Failed to pull image {shown}: {error}"
                self._tell(pod, container, "Warning", "Failed", text)
                self._tell(pod, container, "Warning", "Failed", "Error: ErrImagePull")
                self._backoff.grow(key, self._clock.monotonic())
                self._last_error[key] = f"ErrImagePull: {error}"
                raise RuntimeFailure(str(error), "ErrImagePull") from error
        self._backoff.forget(key)
        image = await self._runtime.find_image(name)
        now = self._clock.monotonic()
        took, waited = f"{now - began:.3f}s", f"{now - asked:.3f}s"
        size = image.size_bytes if image else 0
        text = f"Successfully pulled image {shown} in {took} ({waited} including waiting). Image size: {size} bytes."
        self._tell(pod, container, "Normal", "Pulled", text)

    async def _try_credentials(self, pod: Pod, name: str, lookup: Lookup) -> None:
        failures: list[str] = []
        # Without credentials for the registry anyone's rights; with them, theirs alone.
        attempts: list[ImageAuth | None] = [*await credentials(pod, name, lookup)]
        for auth in attempts or [None]:
            try:
                await self._runtime.pull_image(name, auth)
            except ImageFailure as error:
                failures.append(str(error))
            else:
                return
        distinct = list(dict.fromkeys(failures))
        raise ImageFailure(distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]")


def default_policy(image: str) -> str:
    """Always for :latest, IfNotPresent for anything else."""
    return "Always" if image.endswith(":latest") else "IfNotPresent"


def with_tag(image: str) -> str:
    """An image's name with :latest where it has neither tag nor digest."""
    if "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"


def registry_of(image: str) -> str:
    """docker.io, localhost:5000, …"""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


async def credentials(pod: Pod, image: str, lookup: Lookup) -> list[ImageAuth]:
    """What the pod's imagePullSecrets say for the image's registry."""
    found = []
    for reference in pod.spec.imagePullSecrets:
        secret = await lookup(Secret, pod.metadata.namespace or "", reference.name or "")
        if isinstance(secret, Secret):
            found += docker_config_auths(secret, registry_of(image), image)
    return found


def docker_config_auths(secret: Secret, registry: str, image: str) -> list[ImageAuth]:
    """Entries of a kubernetes.io/dockerconfigjson (or dockercfg) Secret that fit; unreadable ones are none."""
    raw = secret.data.get(".dockerconfigjson") or secret.data.get(".dockercfg")
    if not raw:
        return []
    try:
        config = json.loads(base64.b64decode(raw))
    except ValueError:
        return []
    entries = config.get("auths", {}) if ".dockerconfigjson" in secret.data else config
    return [_auth(entry) for server, entry in entries.items() if _fits(server, registry, image)]


def _fits(server: str, registry: str, image: str) -> bool:
    bare = server.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = bare.partition("/")
    if host in ("index.docker.io", "registry-1.docker.io"):
        host, path = "docker.io", ""
    if host != registry:
        return False
    return not path or path in ("v1", "v2") or image.startswith(bare)


def _auth(entry: dict[str, str]) -> ImageAuth:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth") and not username:
        username, _, password = base64.b64decode(entry["auth"]).decode(errors="replace").partition(":")
    return ImageAuth(username, password, entry.get("identitytoken", ""), entry.get("registrytoken", ""))
