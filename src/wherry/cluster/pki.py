"""The cluster's certificates and keys, laid out as kubeadm lays them out (pki/ca.crt, pki/sa.key, ...).

EC P-256 throughout: start-up must not wait for RSA. A file that exists is kept, so a restart keeps every identity;
serving certificates are made anew when the names they must answer to have changed or less than a third of their life
is left. Private keys are readable by their owner alone.
"""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wherry.aio.clock import Clock
from wherry.cluster.failure import ClusterError

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
# Certificates start an hour ago: clocks of one cluster differ.
BACKDATE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its private key, both PEM files."""

    cert: Path
    key: Path


class Pki:
    """All key material of one cluster under one directory."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock
        directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.ca = self._authority("ca", "kubernetes")
        self.front_proxy_ca = self._authority("front-proxy-ca", "front-proxy-ca")
        self.service_account_key = directory / "sa.key"
        if not self.service_account_key.exists():
            write_private(self.service_account_key, key_pem(ec.generate_private_key(ec.SECP256R1())))
        _private_key(self.service_account_key)

    def serving(self, name: str, common_name: str, names: Sequence[str], organizations: Sequence[str] = ()) -> KeyPair:
        """A serving certificate for DNS names and IP addresses `names`."""
        pair = KeyPair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        if not (pair.cert.exists() and pair.key.exists() and self._still_good(pair.cert, names)):
            self._issue(pair, self.ca, common_name, organizations, names, ExtendedKeyUsageOID.SERVER_AUTH)
        return pair

    def client(
        self, name: str, common_name: str, organizations: Sequence[str] = (), *, front_proxy: bool = False
    ) -> KeyPair:
        """A client certificate: `common_name` is the user, `organizations` are its groups."""
        pair = KeyPair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        if not (pair.cert.exists() and pair.key.exists() and self._still_good(pair.cert, ())):
            authority = self.front_proxy_ca if front_proxy else self.ca
            self._issue(pair, authority, common_name, organizations, (), ExtendedKeyUsageOID.CLIENT_AUTH)
        return pair

    def _authority(self, name: str, common_name: str) -> KeyPair:
        pair = KeyPair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        if pair.cert.exists() and pair.key.exists():
            _certificate(pair.cert)
            _private_key(pair.key)
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        now = self._clock.now()
        usage = x509.KeyUsage(
            digital_signature=True, key_encipherment=True, key_cert_sign=True, crl_sign=False, content_commitment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        cert = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(pair.key, key_pem(key))
        pair.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        return pair

    def _issue(
        self,
        pair: KeyPair,
        authority: KeyPair,
        common_name: str,
        organizations: Sequence[str],
        names: Sequence[str],
        usage: x509.ObjectIdentifier,
    ) -> None:
        ca_cert = _certificate(authority.cert)
        ca_key = _private_key(authority.key)
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        now = self._clock.now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(ca_cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False
            )
        cert = builder.sign(ca_key, hashes.SHA256())
        write_private(pair.key, key_pem(key))
        pair.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))

    def _still_good(self, path: Path, names: Sequence[str]) -> bool:
        cert = _certificate(path)
        if cert.not_valid_after_utc - self._clock.now() < LEAF_LIFE / 3:
            return False
        if not names:
            return True
        try:
            present = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return {_general_name(name) for name in names} <= set(present)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (ValueError, OSError) as error:
        raise _damaged(path) from error


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, OSError) as error:
        raise _damaged(path) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _damaged(path)
    return key


def _damaged(path: Path) -> ClusterError:
    return ClusterError(f"{path} is damaged: put it back, or start anew after `wherry down`")


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, replacing it atomically."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
