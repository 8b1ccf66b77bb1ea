"""Values to ciphertext and back: AES-CBC, AES-GCM, secretbox, identity, and several of them behind prefixes.

A value written by a provider begins with the provider's prefix and the name of its key, so that data, keys and their
rotation work as they do under kube-apiserver, and its etcd data can be read here. The context is the storage key, which
the authenticated ciphers bind a value to. Source of formats and messages: k8s.io/apiserver, storage/value/encrypt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wherry.aio.entropy import Entropy

ENCRYPTED = b"k8s:enc:"
_BLOCK, _GCM_NONCE, _BOX_NONCE, _BOX_OVERHEAD = 16, 12, 24, 16
_TOO_SHORT = "the stored data was shorter than the required size"


class TransformError(Exception):
    """A value cannot be read, or not be written; the message says why."""


class Transformer(Protocol):
    """One way of keeping values."""

    async def encrypt(self, data: bytes, context: bytes) -> bytes:
        """What to store. Raises TransformError."""

    async def decrypt(self, data: bytes, context: bytes) -> tuple[bytes, bool]:
        """The value, and whether it should be written anew. Raises TransformError."""


class Identity:
    """Values as they are; ciphertext is not taken for one."""

    async def encrypt(self, data: bytes, context: bytes) -> bytes:
        return data

    async def decrypt(self, data: bytes, context: bytes) -> tuple[bytes, bool]:
        if data.startswith(ENCRYPTED):
            raise TransformError("identity transformer tried to read encrypted data")
        return data, False


class AesCbc:
    """AES in CBC mode with PKCS#7 padding; not authenticated."""

    def __init__(self, key: bytes, entropy: Entropy) -> None:
        self._algorithm = algorithms.AES(key)
        self._entropy = entropy

    async def encrypt(self, data: bytes, context: bytes) -> bytes:
        vector = self._entropy.token(_BLOCK)
        padding = _BLOCK - len(data) % _BLOCK
        cipher = Cipher(self._algorithm, modes.CBC(vector)).encryptor()
        return vector + cipher.update(data + bytes([padding]) * padding) + cipher.finalize()

    async def decrypt(self, data: bytes, context: bytes) -> tuple[bytes, bool]:
        if len(data) < _BLOCK:
            raise TransformError(_TOO_SHORT)
        if len(data) % _BLOCK:
            raise TransformError("the stored data is not a multiple of the block size")
        cipher = Cipher(self._algorithm, modes.CBC(data[:_BLOCK])).decryptor()
        padded = cipher.update(data[_BLOCK:]) + cipher.finalize()
        padding = padded[-1] if padded else 0
        if not 0 < padding <= len(padded):
            raise TransformError("invalid PKCS7 data (empty or not padded)")
        if padded[-padding:] != bytes([padding]) * padding:
            raise TransformError("invalid padding on input")
        return padded[:-padding], False


class AesGcm:
    """AES in GCM mode, bound to the storage key."""

    def __init__(self, key: bytes, entropy: Entropy) -> None:
        self._cipher = AESGCM(key)
        self._entropy = entropy

    async def encrypt(self, data: bytes, context: bytes) -> bytes:
        nonce = self._entropy.token(_GCM_NONCE)
        return nonce + self._cipher.encrypt(nonce, data, context)

    async def decrypt(self, data: bytes, context: bytes) -> tuple[bytes, bool]:
        if len(data) < _GCM_NONCE:
            raise TransformError(_TOO_SHORT)
        try:
            return self._cipher.decrypt(data[:_GCM_NONCE], data[_GCM_NONCE:], context), False
        except (InvalidTag, ValueError) as error:
            raise TransformError("cipher: message authentication failed") from error


class SecretBox:
    """XSalsa20 and Poly1305."""

    def __init__(self, key: bytes, entropy: Entropy) -> None:
        from nacl.secret import SecretBox as Box

        self._box = Box(key)
        self._entropy = entropy

    async def encrypt(self, data: bytes, context: bytes) -> bytes:
        return bytes(self._box.encrypt(data, self._entropy.token(_BOX_NONCE)))

    async def decrypt(self, data: bytes, context: bytes) -> tuple[bytes, bool]:
        from nacl.exceptions import CryptoError

        if len(data) < _BOX_NONCE + _BOX_OVERHEAD:
            raise TransformError(_TOO_SHORT)
        try:
            return self._box.decrypt(data), False
        except CryptoError as error:
            raise TransformError("output array was not large enough for encryption") from error


@dataclass(frozen=True, slots=True)
class Prefixed:
    """A transformer and what its values begin with."""

    prefix: bytes
    transformer: Transformer


class Prefixes:
    """Writes with the first, reads with whichever fits: how keys and providers are rotated."""

    def __init__(self, unmatched: str, prefixed: Sequence[Prefixed]) -> None:
        self._unmatched = unmatched
        self._prefixed = prefixed

    async def encrypt(self, data: bytes, context: bytes) -> bytes:
        first = self._prefixed[0]
        return first.prefix + await first.transformer.encrypt(data, context)

    async def decrypt(self, data: bytes, context: bytes) -> tuple[bytes, bool]:
        faults = []
        for index, item in enumerate(self._prefixed):
            if not data.startswith(item.prefix):
                continue
            if not item.prefix and data.startswith(ENCRYPTED):
                continue  # several providers may share the prefix of what another of them wrote
            try:
                value, stale = await item.transformer.decrypt(data[len(item.prefix) :], context)
            except TransformError as error:
                faults.append(str(error))
                continue
            return value, stale or index > 0
        if not faults:
            raise TransformError(self._unmatched)
        raise TransformError(faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")
