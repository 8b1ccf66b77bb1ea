"""Authorities and certificates of every kind, good and bad, as files."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
EC, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()


class Signed:
    """A certificate, its key, and who signed it."""

    def __init__(
        self,
        name: str,
        signer: "Signed | None" = None,
        *organizations: str,
        ca: bool = False,
        usages: tuple[ObjectIdentifier, ...] = (),
        start: datetime | None = None,
        days: float = 2,
        key: Key | None = None,
        uids: tuple[str, ...] = (),
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.signer = signer
        pairs = [(NameOID.ORGANIZATION_NAME, item) for item in organizations]
        pairs += [(ObjectIdentifier("1.3.6.1.4.1.57683.2"), uid) for uid in uids]
        pairs += [(NameOID.COMMON_NAME, name)] if name else []
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])
        start = start or datetime.now(UTC) - timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.certificate.subject if signer else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
        )
        if ca:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if SERVER in usages:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
            builder = builder.add_extension(names, critical=False)
        signing = signer.key if signer else self.key
        self.certificate: x509.Certificate = builder.sign(
            signing, None if isinstance(signing, ed25519.Ed25519PrivateKey) else SHA256()
        )

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def write(self, folder: Path, name: str, *more: "Signed") -> tuple[Path, Path]:
        """The certificate's file, followed by `more`, and the key's."""
        pem = b"".join(item.certificate.public_bytes(Encoding.PEM) for item in (self, *more))
        (folder / f"{name}.crt").write_bytes(pem)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(key)
        return folder / f"{name}.crt", folder / f"{name}.key"
