"""Who may approve and sign certificates: the virtual resource `signers`, and no certificate for system:masters.

Approval and signing are subresources of CertificateSigningRequest; besides permission for those, a user needs the verb
`approve` or `sign` on the signer of the request, by name or as all of its domain (example.com/*).

Source: kubernetes plugin/pkg/admission/certificates.
"""

from wherry.meta.errors import StatusError, forbidden, quote
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.rbac.authorizer import MASTERS, Authorizer, settled
from wherry.server.strategies.certificates import parse_request

GROUP = "certificates.k8s.io"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_REQUESTS = frozenset({(GROUP, "certificatesigningrequests")})


async def may_use_signer(authorizer: Authorizer, user: UserInfo, verb: str, signer: str) -> bool:
    """Whether `user` may do `verb` to a signer, or to all of the signer's domain."""
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        info = RequestInfo(verb, GROUP, "*", "signers", name=name, is_resource_request=True)
        if (await settled(authorizer.authorize(user, info)))[0]:
            return True
    return False


class CertificateApproval(AdmissionPlugin):
    """The approval subresource needs `approve` on the signer."""

    name = "CertificateApproval"
    kinds = _REQUESTS

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, operation: Operation) -> bool:
        return operation == "UPDATE"

    async def validate(self, attributes: Attributes) -> None:
        if attributes.subresource != "approval":
            return
        signer = attributes.old_object.spec.signerName
        if not await may_use_signer(self._authorizer, attributes.user, "approve", signer):
            raise _refused(attributes, f"user not permitted to approve requests with signerName {quote(signer)}")


class CertificateSigning(AdmissionPlugin):
    """A change of the certificate or the conditions needs `sign` on the signer."""

    name = "CertificateSigning"
    kinds = _REQUESTS

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, operation: Operation) -> bool:
        return operation == "UPDATE"

    async def validate(self, attributes: Attributes) -> None:
        new, old = attributes.object, attributes.old_object
        if attributes.subresource != "status" or new.status == old.status:
            return
        signer = old.spec.signerName
        if not await may_use_signer(self._authorizer, attributes.user, "sign", signer):
            raise _refused(attributes, f"user not permitted to sign requests with signerName {quote(signer)}")


class CertificateSubjectRestriction(AdmissionPlugin):
    """No client certificate for the group that may do everything."""

    name = "CertificateSubjectRestriction"
    kinds = _REQUESTS

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def validate(self, attributes: Attributes) -> None:
        spec = attributes.object.spec
        if spec.signerName != CLIENT_SIGNER:
            return
        from cryptography.x509.oid import NameOID

        try:
            subject = parse_request(spec.request).subject
        except ValueError as error:
            raise _refused(attributes, f"failed to parse CSR: {error}") from error
        if MASTERS in {item.value for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}:
            raise _refused(attributes, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


def _refused(attributes: Attributes, why: str) -> StatusError:
    return forbidden(attributes.resource.group_resource, attributes.name, why)
