"""Who may use the kubelet's server: the API server by its client certificate, others as the API server decides.

A certificate counts if the cluster's CA signed it (TLS has checked that); a bearer token is asked about with a
TokenReview. Then a SubjectAccessReview on nodes/<subresource> decides, as with kubelet's webhook mode.
"""

from typing import Any

from aiohttp import web

from wherry.api.authentication_v1 import TokenReview, TokenReviewSpec
from wherry.api.authorization_v1 import ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec
from wherry.client.client import Client

MASTERS = "system:masters"
API_SERVER_USER = "kube-apiserver-kubelet-client"
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SUBRESOURCES = {
    "stats": "stats",
    "metrics": "metrics",
    "logs": "log",
    "healthz": "healthz",
    "configz": "configz",
    "pods": "pods",
}


class Authorization:
    """The door of one node's server."""

    def __init__(self, client: Client, node_name: str) -> None:
        self._client = client
        self._node_name = node_name

    async def check(self, request: web.BaseRequest) -> None:
        """Raises HTTPUnauthorized or HTTPForbidden."""
        user = certificate_user(request) or await self._token_user(request)
        if user is None:
            raise web.HTTPUnauthorized(text="Unauthorized")
        name, groups = user
        if name == API_SERVER_USER or MASTERS in groups:
            return
        verb = _VERBS.get(request.method, "get")
        subresource = _SUBRESOURCES.get(request.path.split("/")[1], "proxy")
        attributes = ResourceAttributes(
            verb=verb, version="v1", resource="nodes", subresource=subresource, name=self._node_name
        )
        spec = SubjectAccessReviewSpec(user=name, groups=groups, resourceAttributes=attributes)
        review = SubjectAccessReview(apiVersion="authorization.k8s.io/v1", kind="SubjectAccessReview", spec=spec)
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        answer = await self._client.post(path, review, SubjectAccessReview)
        if not answer.status.allowed:
            text = f"Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])"
            raise web.HTTPForbidden(text=text)

    async def _token_user(self, request: web.BaseRequest) -> tuple[str, list[str]] | None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            return None
        review = TokenReview(
            apiVersion="authentication.k8s.io/v1", kind="TokenReview", spec=TokenReviewSpec(token=token)
        )
        answer = await self._client.post("/apis/authentication.k8s.io/v1/tokenreviews", review, TokenReview)
        if not answer.status.authenticated:
            return None
        return answer.status.user.username or "", list(answer.status.user.groups)


def certificate_user(request: web.BaseRequest) -> tuple[str, list[str]] | None:
    """Common name and organizations of the caller's verified certificate."""
    transport = request.transport
    certificate: dict[str, Any] | None = transport.get_extra_info("peercert") if transport else None
    if not certificate:
        return None
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    common = next((value for key, value in names if key == "commonName"), "")
    return common, [value for key, value in names if key == "organizationName"]
