"""CertificateSigningRequests: who asks is who made it, nothing of the request changes, and three parties write its
status: the approver (approval: Approved, Denied), the signer (status: the certificate, Failed), nobody else.

Source: kubernetes pkg/registry/certificates and pkg/apis/certificates/validation.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wherry.api.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestStatus,
)
from wherry.meta import names
from wherry.meta.errors import (
    FieldError,
    duplicate,
    field_forbidden,
    invalid_value,
    not_supported,
    quote,
    required,
    too_long,
)
from wherry.server.strategies import checks, metadata
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.strategy import RequestContext, Strategy

if TYPE_CHECKING:
    from cryptography.x509 import CertificateSigningRequest as Pkcs10

LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
DOMAIN_LENGTH_MAX = 253
SIGNER_NAME_LENGTH_MAX = DOMAIN_LENGTH_MAX + 1 + 253 + 63 + 1
_USAGES = frozenset(
    "signing,digital signature,content commitment,key encipherment,key agreement,data encipherment,cert sign,crl sign,"
    "encipher only,decipher only,any,server auth,client auth,code signing,email protection,s/mime,ipsec end system,"
    "ipsec tunnel,ipsec user,timestamping,ocsp signing,microsoft sgc,netscape sgc".split(",")
)
_BLOCK = re.compile(rb"-----BEGIN ([^\n-]*)-----\r?\n(.*?)-----END \1-----", re.S)
_STATES = ("False", "True", "Unknown")


def parse_request(encoded: str) -> "Pkcs10":
    """The PKCS#10 request of `spec.request`. Raises ValueError with the words of kube-apiserver."""
    from cryptography import x509  # slow to import, and few servers see a request

    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    block = _BLOCK.search(data)
    if block is None or block[1] != b"CERTIFICATE REQUEST":
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    try:
        return x509.load_pem_x509_csr(block[0])
    except ValueError as error:
        raise ValueError("x509: malformed certificate request") from error


class SigningRequestStrategy(KindStrategy):
    """certificates.k8s.io CertificateSigningRequest."""

    name_check = staticmethod(names.path_segment)
    may_approve = False
    may_sign = False

    def part(self, subresource: str) -> Strategy:
        kind = {"approval": ApprovalStrategy, "status": SigningStrategy}.get(subresource, SigningRequestStrategy)
        return kind(namespaced=self.namespaced, has_status=self.has_status)

    def prepare_for_create(self, obj: CertificateSigningRequest, ctx: RequestContext) -> None:
        user = ctx.user
        obj.spec.username, obj.spec.uid = user.name or None, user.uid or None
        obj.spec.groups, obj.spec.extra = list(user.groups), dict(user.extra)
        obj.status = CertificateSigningRequestStatus()

    def prepare_for_update(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest, ctx: RequestContext
    ) -> None:
        new.spec, new.status = old.spec, old.status

    def fields(self, obj: CertificateSigningRequest) -> dict[str, str]:
        return {"spec.signerName": obj.spec.signerName}

    def validate(self, obj: CertificateSigningRequest) -> list[FieldError]:
        return [*metadata.validate(obj.metadata, self.namespaced, type(self).name_check), *_faults(obj, None)]

    def validate_update(self, new: CertificateSigningRequest, old: CertificateSigningRequest) -> list[FieldError]:
        return [
            *_faults(new, old),
            *self._change_faults(new, old),
            *metadata.validate_update(new.metadata, old.metadata),
        ]

    validate_status_update = validate_update

    def _change_faults(self, new: CertificateSigningRequest, old: CertificateSigningRequest) -> Faults:
        path = "status.conditions"
        for kind in (APPROVED, DENIED, FAILED):
            before, after = _of_type(old, kind), _of_type(new, kind)
            if len(after) < len(before):
                yield field_forbidden(path, f"updates may not remove a condition of type {quote(kind)}")
            elif kind == FAILED or self.may_approve:
                continue
            elif len(after) > len(before):
                yield field_forbidden(path, f"updates may not add a condition of type {quote(kind)}")
            elif before != after:
                yield field_forbidden(path, f"updates may not modify a condition of type {quote(kind)}")
        if (new.status.certificate or "") != (old.status.certificate or ""):
            if not self.may_sign:
                yield field_forbidden("status.certificate", "updates may not set certificate content")
            elif old.status.certificate:
                yield field_forbidden("status.certificate", "updates may not modify existing certificate content")


class ApprovalStrategy(SigningRequestStrategy):
    """The approval subresource: conditions alone."""

    may_approve = True

    def prepare_for_status_update(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest, ctx: RequestContext
    ) -> None:
        new.spec = old.spec
        new.status = CertificateSigningRequestStatus(
            certificate=old.status.certificate, conditions=new.status.conditions
        )
        _date(new, old, ctx.clock_now())


class SigningStrategy(SigningRequestStrategy):
    """The status subresource: the certificate and every condition but the approver's."""

    may_sign = True

    def prepare_for_status_update(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest, ctx: RequestContext
    ) -> None:
        new.spec = old.spec
        for kind in (APPROVED, DENIED):
            kept, given = _of_type(old, kind), _of_type(new, kind)
            if len(kept) == len(given):
                source = iter(kept)
                new.status.conditions = [next(source) if c.type == kind else c for c in new.status.conditions]
        _date(new, old, ctx.clock_now())


def _of_type(request: CertificateSigningRequest, kind: str) -> list[CertificateSigningRequestCondition]:
    return [condition for condition in request.status.conditions if condition.type == kind]


def _date(new: CertificateSigningRequest, old: CertificateSigningRequest, now: str) -> None:
    """Conditions without times get them; one that was there before keeps the time of its transition."""
    for condition in new.status.conditions:
        condition.lastUpdateTime = condition.lastUpdateTime or now
        if not condition.lastTransitionTime:
            same = (c for c in _of_type(old, condition.type) if c.status == condition.status and c.lastTransitionTime)
            before = next(same, None)
            condition.lastTransitionTime = before.lastTransitionTime if before else now


# Faults; an update tolerates those that the stored object has already ------------------------------------------------


def _faults(obj: CertificateSigningRequest, old: CertificateSigningRequest | None) -> Faults:
    spec = obj.spec
    if old is None or spec != old.spec:
        yield from _request(spec.request)
        yield from _usages(spec.usages)
        if spec.signerName == LEGACY_SIGNER:
            why = "the legacy signerName is not allowed via this API version"
            yield invalid_value("spec.signerName", spec.signerName, why)
        else:
            yield from signer_name("spec.signerName", spec.signerName)
        if spec.expirationSeconds is not None and spec.expirationSeconds < 600:
            why = "may not specify a duration less than 600 seconds (10 minutes)"
            yield invalid_value("spec.expirationSeconds", spec.expirationSeconds, why)
    if old is None or obj.status.conditions != old.status.conditions:
        yield from _conditions(obj)
    if obj.status.certificate and (old is None or obj.status.certificate != old.status.certificate):
        why = _certificate_fault(obj.status.certificate)
        if why:
            yield invalid_value("status.certificate", "<certificate data>", why)


def _request(encoded: str) -> Faults:
    try:
        valid = parse_request(encoded).is_signature_valid
    except ValueError as error:
        yield invalid_value("spec.request", encoded, str(error))
    else:
        if not valid:
            yield invalid_value("spec.request", encoded, "x509: signature verification error")


def _usages(usages: list[str]) -> Faults:
    if not usages:
        yield required("spec.usages")
    for index, usage in enumerate(usages):
        if usage not in _USAGES:
            yield not_supported(f"spec.usages[{index}]", usage, sorted(_USAGES))
    for index, usage in enumerate(usages):
        if usage in usages[:index]:
            yield duplicate(f"spec.usages[{index}]", usage)


def signer_name(path: str, name: str) -> Faults:
    """A domain and a path: example.com/signer-name."""
    if not name:
        yield required(path)
        return
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield invalid_value(path, name, why)
        return
    if len(domain) > DOMAIN_LENGTH_MAX:
        yield too_long(path, DOMAIN_LENGTH_MAX)
    yield from _labels(path, domain, names.dns1123_label)
    if "." not in domain:
        yield invalid_value(path, domain, "should be a domain with at least two segments separated by dots")
    yield from _labels(path, rest, names.dns1123_subdomain)
    if len(name) > SIGNER_NAME_LENGTH_MAX:
        yield too_long(path, SIGNER_NAME_LENGTH_MAX)


def _labels(path: str, text: str, check: checks.NameCheck) -> Faults:
    for label in text.split("."):
        faults = check(label)
        if faults:
            yield from (invalid_value(path, text, f"validating label {quote(label)}: {fault}") for fault in faults)
            return


def _conditions(obj: CertificateSigningRequest) -> Iterator[FieldError]:
    path, seen = "status.conditions", set[str]()
    for index, condition in enumerate(obj.status.conditions):
        kind, at = condition.type, f"{path}[{index}]"
        if not kind:
            yield required(f"{at}.type")
        allowed = ("True",) if kind in (APPROVED, DENIED, FAILED) else _STATES
        yield from checks.one_of_required(f"{at}.status", condition.status, allowed)
        if {APPROVED, DENIED} <= seen | {kind} and kind in (APPROVED, DENIED):
            yield invalid_value(path, kind, "Approved and Denied conditions are mutually exclusive")
        if kind in seen:
            yield duplicate(f"{at}.type", kind)
        seen.add(kind)


def _certificate_fault(encoded: str) -> str:
    """What is wrong with a PEM bundle of certificates, base64 once more; "" when nothing is."""
    from cryptography import x509

    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        return str(error)
    blocks = list(_BLOCK.finditer(data))
    for block in blocks:
        if block[1] != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quote(block[1].decode(errors='replace'))}"
        if b":" in block[2]:
            return "no PEM block headers are permitted"
        try:
            x509.load_pem_x509_certificate(block[0])
        except ValueError:
            return "x509: malformed certificate"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"
