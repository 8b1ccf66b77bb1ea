"""Client certificates: the common name is the user, the organizations are the groups.

The TLS layer has checked that a known authority signed the certificate; the time is checked here, so that an expired
certificate gets a proper 401 instead of a failed handshake. Parsed certificates are remembered by their bytes.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from wherry.aio.clock import Clock
from wherry.meta.errors import unauthorized
from wherry.server.authn.identity import CREDENTIAL_ID
from wherry.server.http import Request, UserInfo

CERTIFICATES_MAX = 4096
_UID_OID = "1.3.6.1.4.1.57683.2"


@dataclass(frozen=True, slots=True)
class _Parsed:
    user: UserInfo
    not_before: datetime
    not_after: datetime


class X509Authenticator:
    """Recognises `request.peer_certificate`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parsed: dict[bytes, _Parsed] = {}

    def authenticate(self, request: Request) -> UserInfo | None:
        der = request.peer_certificate
        if not der:
            return None
        parsed = self._parsed.get(der)
        if parsed is None:
            if len(self._parsed) >= CERTIFICATES_MAX:
                self._parsed.clear()
            parsed = self._parsed[der] = _parse(der)
        if not parsed.not_before <= self._clock.now() <= parsed.not_after:
            raise unauthorized()
        user = parsed.user
        return UserInfo(user.name, user.uid, user.groups, user.extra) if user.name else None


def _parse(der: bytes) -> _Parsed:
    from cryptography import x509  # 40 ms that a server without callers need not spend
    from cryptography.x509.oid import NameOID

    certificate = x509.load_der_x509_certificate(der)

    def values(oid: x509.ObjectIdentifier) -> list[str]:
        return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]

    names, uids = values(NameOID.COMMON_NAME), values(x509.ObjectIdentifier(_UID_OID))
    groups = values(NameOID.ORGANIZATION_NAME)
    extra = {CREDENTIAL_ID: [f"X509SHA256={sha256(der).hexdigest()}"]}
    user = UserInfo(names[0] if names else "", uids[0] if uids else "", groups, extra)
    return _Parsed(user, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
