"""Keys of service accounts' tokens, as flags name them."""

from collections.abc import Callable
from pathlib import Path

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import ServiceAccount
from wherry.cluster.components import read_file
from wherry.cluster.failure import ClusterError
from wherry.server.tokens import SigningKey, TokenIssuer


def signing_key(path: Path) -> bytes:
    """A private key's PEM. Raises ClusterError."""
    pem = read_file(path)
    try:
        SigningKey(pem)
    except (ValueError, TypeError) as error:
        raise ClusterError(f"{path}: not an unencrypted private key in PEM") from error
    return pem


def legacy_signer(path: Path) -> Callable[[ServiceAccount, str], str]:
    """Who signs tokens that live in Secrets. Raises ClusterError."""
    return TokenIssuer(SigningKey(signing_key(path)), "", SystemClock(), Entropy()).issue_legacy
