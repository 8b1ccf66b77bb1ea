"""Client certificates: the common name is the user, the organizations are the groups.

The TLS layer takes any certificate (server/tls.py); an `Authority` says whether its CA file vouches for one. Judgements
are remembered by the certificates' bytes until the file changes, or the first of the chain ends. OpenSSL judges,
through pyOpenSSL: as kube-apiserver, it knows no more than the CA file and takes each certificate there as a root.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from wherry.aio.clock import Clock
from wherry.meta.errors import unauthorized
from wherry.server.authn.identity import CREDENTIAL_ID
from wherry.server.http import Request, UserInfo

CERTIFICATES_MAX = 4096
_UID_OID = "1.3.6.1.4.1.57683.2"
Chain = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says that an authority vouches for."""

    name: str
    organizations: list[str]
    uids: list[str]
    not_before: datetime
    not_after: datetime
    """Of the whole chain."""
    fingerprint: str


class Authority:
    """Those whom a CA file vouches for."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises OSError."""
        self.path = path
        self._clock = clock
        self._pem = path.read_bytes()
        self._judge: Callable[[Chain, datetime], Certificate | None] | None = None
        self._known: dict[Chain, Certificate | None] = {}

    def take(self) -> None:
        """Read the file anew. Raises OSError, ValueError."""
        pem = self.path.read_bytes()
        self._judge = _judge(pem)
        self._pem = pem
        self._known.clear()

    def certificate(self, chain: Chain) -> Certificate:
        """What the first of `chain` says. Raises 401 when the authority does not vouch for it now."""
        now = self._clock.now()
        found = self._known.get(chain)
        if found is None:
            if chain in self._known:
                raise unauthorized()
            if self._judge is None:  # not at start: it brings 60 ms that a server without callers need not spend
                self._judge = _judge(self._pem)
            found = self._judge(chain, now)
            if len(self._known) >= CERTIFICATES_MAX:
                self._known.clear()
            self._known[chain] = found
        if found is None or not found.not_before <= now <= found.not_after:
            raise unauthorized()
        return found


class X509Authenticator:
    """Recognises the certificate of a request's connection."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def authenticate(self, request: Request) -> UserInfo | None:
        chain = request.peer_certificates
        if not chain:
            return None
        found = self._authority.certificate(chain)
        if not found.name:
            return None
        if found.uids and (len(found.uids) != 1 or not found.uids[0]):
            raise unauthorized()
        uid = found.uids[0] if found.uids else ""
        return UserInfo(found.name, uid, found.organizations, {CREDENTIAL_ID: [f"X509SHA256={found.fingerprint}"]})


def _judge(pem: bytes) -> Callable[[Chain, datetime], Certificate | None]:
    """Who tells whether a chain leads to one of the certificates in `pem`. Raises ValueError when there is none."""
    from cryptography import x509
    from OpenSSL import crypto

    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | 0x200000)  # the time is looked at per request
    for root in x509.load_pem_x509_certificates(pem):
        store.add_cert(crypto.X509.from_cryptography(root))

    malformed = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)

    def judge(chain: Chain, now: datetime) -> Certificate | None:
        try:
            shown = [x509.load_der_x509_certificate(item) for item in chain]
            leaf, *others = (crypto.X509.from_cryptography(item) for item in shown)
            context = crypto.X509StoreContext(store, leaf, others)
            verified = [item.to_cryptography() for item in context.get_verified_chain()]
            told = _told(verified, sha256(chain[0]).hexdigest())
            return told if all(map(_for_clients, verified)) else None
        except (crypto.X509StoreContextError, crypto.Error, *malformed):
            return None

    return judge


def _for_clients(certificate: Any) -> bool:
    """Whether it may be used by clients, or does not say what for."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return bool({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usages))


def _told(chain: list[Any], fingerprint: str) -> Certificate:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    leaf = chain[0]

    def values(oid: x509.ObjectIdentifier) -> list[str]:
        return [str(attribute.value) for attribute in leaf.subject.get_attributes_for_oid(oid)]

    names = values(NameOID.COMMON_NAME)
    return Certificate(
        names[-1] if names else "",
        values(NameOID.ORGANIZATION_NAME),
        values(x509.ObjectIdentifier(_UID_OID)),
        max(item.not_valid_before_utc for item in chain),
        min(item.not_valid_after_utc for item in chain),
        fingerprint,
    )
