"""KMS v2: values enciphered with keys derived from a seed that a plugin on a Unix socket has enciphered.

The plugin's Status tells the id of its current key. A new id means a new seed; meanwhile, and for three minutes after
the plugin stops answering, the old one is used for writing. Seeds once deciphered are kept, so reading asks the plugin
once per seed. Format: the EncryptedObject message of kube-apiserver, with HKDF_SHA256_XNONCE_AES_GCM_SEED.
"""

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import grpc
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.meta.time import format_time
from wherry.server.encryption.transformers import AesGcm, TransformError
from wherry.server.protobuf.fields import by_number, last_bytes, sized

_log = logging.getLogger(__name__)
HEALTHY_SECONDS, UNHEALTHY_SECONDS = 60.0, 10.0
"""Between two looks at the plugin's status."""
_WRITE_FOR = timedelta(minutes=3)
_SEED_BYTES = _INFO_BYTES = 32
_SEEDS_MAX = 1000
_KEY_ID_MAX = _SEED_MAX = 1024
_ANNOTATIONS_MAX = 32 * 1024
_SERVICE = "/v2.KeyManagementService/"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A seed as the plugin has enciphered it."""

    key_id: str
    ciphertext: bytes
    annotations: tuple[tuple[str, bytes], ...] = ()
    derived: bool = True
    """The plaintext is a seed and not, as once, the key itself."""

    def check(self) -> None:
        """Raises TransformError for what must not be kept."""
        if not self.key_id:
            raise TransformError("failed to validate key id: keyID is empty")
        if len(self.key_id) > _KEY_ID_MAX:
            size = len(self.key_id)
            raise TransformError(
                f"failed to validate key id: keyID is {size} bytes, which exceeds the max size of {_KEY_ID_MAX}"
            )
        if not 0 < len(self.ciphertext) <= _SEED_MAX:
            raise TransformError(
                f"failed to validate encrypted DEK source: encrypted DEK source is {len(self.ciphertext)} bytes, "
                f"which must be from 1 to {_SEED_MAX}"
            )
        size = sum(len(key) + len(value) for key, value in self.annotations)
        if size > _ANNOTATIONS_MAX:
            text = f"total size of annotations is {size}, which exceeds the max size of {_ANNOTATIONS_MAX}"
            raise TransformError(f"failed to validate annotations: {text}")


class Plugin:
    """The three calls of a KMS v2 plugin."""

    def __init__(self, endpoint: str, timeout_seconds: float) -> None:
        self._channel = grpc.aio.insecure_channel(endpoint)
        self._timeout = timeout_seconds

    async def status(self) -> tuple[str, str, str]:
        """Version, health and id of the current key. Raises TransformError."""
        fields = by_number(await self._call("Status", b""))
        version, health, key = (last_bytes(fields, number).decode() for number in (1, 2, 3))
        return version, health, key

    async def encrypt(self, uid: str, plaintext: bytes) -> Sealed:
        """Raises TransformError."""
        fields = by_number(await self._call("Encrypt", sized(1, plaintext) + sized(2, uid.encode())))
        return Sealed(last_bytes(fields, 2).decode(), last_bytes(fields, 1), _annotations(fields.get(3, [])))

    async def decrypt(self, uid: str, sealed: Sealed) -> bytes:
        """Raises TransformError."""
        request = sized(1, sealed.ciphertext) + sized(2, uid.encode()) + sized(3, sealed.key_id.encode())
        request += _annotations_field(4, sealed.annotations)
        return last_bytes(by_number(await self._call("Decrypt", request)), 1)

    async def _call(self, method: str, request: bytes) -> bytes:
        call = self._channel.unary_unary(_SERVICE + method)
        try:
            answer: bytes = await call(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise TransformError(f"rpc error: code = {_code(error)} desc = {error.details()}") from error
        return answer

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _code(error: Any) -> str:
    return "".join(word.title() for word in error.code().name.split("_"))


@dataclass(slots=True)
class _State:
    cipher: "_Derived"
    sealed: Sealed
    expires: datetime


class _Derived:
    """A fresh AES-GCM key for each value, expanded from the seed and 32 random bytes."""

    def __init__(self, seed: bytes, entropy: Entropy) -> None:
        self._seed = seed
        self._entropy = entropy

    def _cipher(self, info: bytes) -> AesGcm:
        return AesGcm(HKDFExpand(SHA256(), 32, info).derive(self._seed), self._entropy)

    async def encrypt(self, data: bytes, context: bytes) -> bytes:
        info = self._entropy.token(_INFO_BYTES)
        return info + await self._cipher(info).encrypt(data, context)

    async def decrypt(self, data: bytes, context: bytes) -> tuple[bytes, bool]:
        if len(data) < _INFO_BYTES:
            raise TransformError("the stored data was shorter than the required size")
        return await self._cipher(data[:_INFO_BYTES]).decrypt(data[_INFO_BYTES:], context)


class KmsV2:
    """One provider of the configuration."""

    def __init__(self, name: str, plugin: Plugin, clock: Clock, entropy: Entropy) -> None:
        self.name = name
        self._plugin = plugin
        self._clock = clock
        self._entropy = entropy
        self._state: _State | None = None
        self._ciphers: dict[Sealed, _Derived | AesGcm] = {}
        self._poll: asyncio.Task[None] | None = None
        self.fault: str | None = "not asked yet"

    async def start(self) -> None:
        """Ask the plugin once; go on asking until `close`."""
        await self.refresh()
        self._poll = asyncio.get_running_loop().create_task(self._run(), name=f"KMS {self.name}")

    async def close(self) -> None:
        """Stop asking."""
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.gather(self._poll, return_exceptions=True)
        await self._plugin.close()

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(UNHEALTHY_SECONDS if self.fault else HEALTHY_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """See whether the plugin is well and still uses the key; rotate the seed if not."""
        before = self.fault
        try:
            version, health, key_id = await self._plugin.status()
            faults = [f"got unexpected healthz status: {health}"] if health != "ok" else []
            if version not in ("v2", "v2beta1"):
                faults.append(f"expected KMSv2 API version v2, got {version}")
            if not faults:
                await self._rotate(key_id)
            self.fault = f"kmsv2 Provider {self.name} is not healthy, error: {', '.join(faults)}" if faults else None
        except (TransformError, ValueError) as error:
            self.fault = f"kmsv2 Provider {self.name} is not healthy, error: {error}"
        if self.fault and self.fault != before:
            _log.warning("%s", self.fault)

    async def _rotate(self, key_id: str) -> None:
        expires = self._clock.now() + _WRITE_FOR
        if self._state is not None and self._state.sealed.key_id == key_id:
            self._state.expires = expires
            return
        seed = self._entropy.token(_SEED_BYTES)
        sealed = await self._plugin.encrypt(self._entropy.uid(), seed)
        sealed.check()
        if sealed.key_id != key_id:
            hashes = f"statusKeyIDHash={_hash(key_id)}, encryptKeyIDHash={_hash(sealed.key_id)}"
            raise TransformError(f"failed to rotate DEK: {hashes}")
        cipher = _Derived(seed, self._entropy)
        self._state = _State(cipher, sealed, expires)
        self._keep(sealed, cipher)

    def _keep(self, sealed: Sealed, cipher: "_Derived | AesGcm") -> None:
        if len(self._ciphers) >= _SEEDS_MAX:
            self._ciphers.pop(next(iter(self._ciphers)))
        self._ciphers[sealed] = cipher

    async def encrypt(self, data: bytes, context: bytes) -> bytes:
        state, now = self._current(), self._clock.now()
        if now > state.expires:
            raise TransformError(
                f"encryptedDEKSource with keyID hash {_hash(state.sealed.key_id)} expired at "
                f"{format_time(state.expires)} (current time is {format_time(now)})"
            )
        sealed = state.sealed
        return b"".join(
            (
                sized(1, await state.cipher.encrypt(data, context)),
                sized(2, sealed.key_id.encode()),
                sized(3, sealed.ciphertext),
                _annotations_field(4, sealed.annotations),
                b"\x28\x01",  # the source is a seed
            )
        )

    async def decrypt(self, data: bytes, context: bytes) -> tuple[bytes, bool]:
        try:
            fields = by_number(data)
            sealed = Sealed(
                last_bytes(fields, 2).decode(),
                last_bytes(fields, 3),
                _annotations(fields.get(4, [])),
                fields.get(5, [0])[-1] == 1,
            )
            value = last_bytes(fields, 1)
        except ValueError as error:
            raise TransformError(str(error)) from error
        sealed.check()
        current = self._current().sealed
        cipher = self._ciphers.get(sealed)
        if cipher is None:
            try:
                seed = await self._plugin.decrypt(self._entropy.uid(), sealed)
            except TransformError as error:
                raise TransformError(f"failed to decrypt DEK, error: {error}") from error
            cipher = _Derived(seed, self._entropy) if sealed.derived else AesGcm(seed, self._entropy)
            self._keep(sealed, cipher)
        found, _ = await cipher.decrypt(value, context)
        return found, sealed.key_id != current.key_id or not sealed.derived

    def _current(self) -> _State:
        if self._state is None:
            raise TransformError("got unexpected nil transformer")
        return self._state


def _hash(key_id: str) -> str:
    return f'"sha256:{hashlib.sha256(key_id.encode()).hexdigest()}"' if key_id else '""'


def _annotations(entries: list[Any]) -> tuple[tuple[str, bytes], ...]:
    pairs = [by_number(entry) for entry in entries]
    return tuple(sorted((last_bytes(pair, 1).decode(), last_bytes(pair, 2)) for pair in pairs))


def _annotations_field(number: int, annotations: tuple[tuple[str, bytes], ...]) -> bytes:
    return b"".join(sized(number, sized(1, key.encode()) + sized(2, value)) for key, value in annotations)
