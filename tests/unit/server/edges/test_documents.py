"""Discovery, OpenAPI, health and reviews, asked as clients ask."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.server.edges.test_tokens import pem
from tests.unit.server.edges.worlds import ObjectCaches, StandingClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import ServiceAccount
from wherry.api.registry import RESOURCES
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.meta.resource import Resource, Subresource
from wherry.server.discovery import version_rank
from wherry.server.edges import EdgeOptions, Edges, Surroundings
from wherry.server.http import Handler, Request, RequestInfo, Response, UserInfo
from wherry.server.rbac import bootstrap

AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
CRON = Resource(
    "stable.example.com", "v1", "CronTab", "crontabs", True, None, "crontab", ("ct",), ("all",),
    ("get", "list", "patch"),
    (Subresource("status", "CronTab"),),
)  # fmt: skip
CRON_SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"cron": {"type": "string"}}}}}
well = {"is": True}


async def store_check() -> bool:
    return well["is"]


@pytest.fixture(scope="module")
def edges() -> Edges:
    account = ServiceAccount(metadata=ObjectMeta(name="robot", namespace="shop", uid="u1"))
    caches = ObjectCaches(account, *bootstrap.objects())
    around = Surroundings(
        caches,
        StandingClock(),
        Entropy(1),
        lambda: [*RESOURCES, CRON],
        lambda resource: CRON_SCHEMA,
        health={"readyz": {"etcd": store_check}},
    )
    made = Edges(EdgeOptions(signing_key=pem(ec.generate_private_key(ec.SECP256R1()))), around)
    made.rbac.load(caches)
    return made


async def call(edges: Edges, path: str, accept: str = "", query: dict[str, list[str]] | None = None) -> Response:
    request = Request("GET", path, query, {"accept": accept} if accept else {})
    return await handler_of(edges, path)(request)


def handler_of(edges: Edges, path: str) -> Handler:
    for _, template, handler in edges.routes():
        wanted, given = template.strip("/").split("/"), path.strip("/").split("/")
        if ":.*}" in template:
            if given[: len(wanted) - 1] == wanted[:-1] and len(given) >= len(wanted):
                return handler
        elif len(wanted) == len(given) and all(w == g or w[:1] == "{" for w, g in zip(wanted, given, strict=True)):
            return handler
    raise AssertionError(path)


async def document(edges: Edges, path: str, accept: str = "") -> Any:
    response = await call(edges, path, accept)
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def test_versions_are_ranked_as_kubernetes_ranks_them() -> None:
    versions = ["v1alpha1", "v1", "v2beta1", "v10", "v1beta2", "v2"]
    assert sorted(versions, key=version_rank) == ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1"]


async def test_plain_discovery_lists_groups_versions_and_resources(edges: Edges) -> None:
    assert (await document(edges, "/api"))["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await document(edges, "/apis"))["groups"]}
    assert groups["autoscaling"]["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    core = await document(edges, "/api/v1")
    assert "apiVersion" not in core and core["groupVersion"] == "v1"
    pods = next(item for item in core["resources"] if item["name"] == "pods")
    assert pods["shortNames"] == ["po"] and pods["categories"] == ["all"] and pods["singularName"] == "pod"
    token = next(item for item in core["resources"] if item["name"] == "serviceaccounts/token")
    assert (token["group"], token["version"], token["kind"]) == ("authentication.k8s.io", "v1", "TokenRequest")
    assert (await document(edges, "/apis/stable.example.com/v1"))["resources"][0]["kind"] == "CronTab"
    with pytest.raises(StatusError) as caught:
        await call(edges, "/apis/nowhere.io/v1")
    assert caught.value.code == 404


async def test_aggregated_discovery_has_an_etag(edges: Edges) -> None:
    response = await call(edges, "/apis", AGGREGATED)
    assert response.headers["Content-Type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    cron = next(item for item in body["items"] if item["metadata"]["name"] == "stable.example.com")
    assert cron["versions"][0]["resources"][0]["scope"] == "Namespaced"
    headers = {"accept": AGGREGATED, "if-none-match": response.headers["ETag"]}
    assert (await edges.discovery.apis(Request("GET", "/apis", None, headers))).status == 304
    core = await document(edges, "/api", AGGREGATED)
    assert [item["versions"][0]["version"] for item in core["items"]] == ["v1"]


async def test_openapi_tells_kubectl_what_patch_takes(edges: Edges) -> None:
    index = (await document(edges, "/openapi/v3"))["paths"]
    assert "?hash=" in index["apis/apps/v1"]["serverRelativeURL"]
    apps = await document(edges, "/openapi/v3/apis/apps/v1")
    patch = apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    container = apps["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]
    assert container["ports"]["x-kubernetes-patch-merge-key"] == "containerPort"
    for schema in _references(apps):
        assert schema.removeprefix("#/components/schemas/") in apps["components"]["schemas"]


async def test_openapi_describes_custom_resources(edges: Edges) -> None:
    stable = await document(edges, "/openapi/v3/apis/stable.example.com/v1")
    cron = stable["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert cron["properties"]["spec"]["properties"]["cron"] == {"type": "string"}
    patch = stable["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]


async def test_openapi_v2_is_whole_in_both_forms(edges: Edges) -> None:
    v2 = await document(edges, "/openapi/v2")
    assert v2["swagger"] == "2.0"
    for reference in _references(v2):
        assert reference.removeprefix("#/definitions/") in v2["definitions"]
    ids = [op["operationId"] for item in v2["paths"].values() for op in item.values() if isinstance(op, dict)]
    assert len(ids) == len(set(ids))
    assert {"listCoreV1NamespacedPod", "readCoreV1Node", "patchAppsV1NamespacedDeploymentScale"} <= set(ids)
    binary = await call(edges, "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert binary.headers["Content-Type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert isinstance(binary.body, bytes) and binary.body.startswith(b"\x0a\x032.0")


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for item in node for found in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [found for item in node.values() for found in _references(item)]


async def test_health_names_its_checks(edges: Edges) -> None:
    assert (await call(edges, "/healthz")).body == b"ok"
    verbose = await call(edges, "/readyz", query={"verbose": [""]})
    assert verbose.body == b"[+]ping ok\n[+]etcd ok\nreadyz check passed\n"
    well["is"] = False
    failed = await call(edges, "/readyz")
    assert failed.status == 500
    assert failed.body == b"[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n"
    assert (await call(edges, "/readyz", query={"exclude": ["etcd"]})).body == b"ok"
    assert (await call(edges, "/readyz/ping")).body == b"ok"
    well["is"] = True


async def test_version_and_keys_are_published(edges: Edges) -> None:
    version = await document(edges, "/version")
    assert (version["major"], version["minor"], version["gitVersion"]) == ("1", "36", "v1.36.2")
    keys = (await document(edges, "/openid/v1/jwks"))["keys"]
    assert keys[0]["kty"] == "EC"
    configuration = await document(edges, "/.well-known/openid-configuration")
    assert configuration["id_token_signing_alg_values_supported"] == ["ES256"]
    paths = (await document(edges, "/"))["paths"]
    assert {"/api", "/apis/apps/v1", "/healthz", "/openapi/v2", "/readyz/etcd"} <= set(paths)


async def test_metrics_bear_kubernetes_names(edges: Edges) -> None:
    edges.metrics.observe(RequestInfo("list", "", "v1", "pods", "", "a", "", True), 200, 0.03)
    body = (await call(edges, "/metrics")).body
    assert isinstance(body, bytes)
    line = (
        'apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="namespace"'
    )
    assert line in body.decode()
    assert "apiserver_request_duration_seconds_bucket{" in body.decode()


async def review(edges: Edges, plural: str, spec: dict[str, Any], user: UserInfo, namespace: str = "") -> Any:
    group = "authentication.k8s.io" if plural in ("tokenreviews", "selfsubjectreviews") else "authorization.k8s.io"
    request = Request("POST", "/", user=user, body=json.dumps({"spec": spec}).encode())
    request.info = RequestInfo("create", group, "v1", plural, "", namespace, "", True)
    response = await edges.create_handlers()[group, plural](request)
    assert response.status == 201 and isinstance(response.body, bytes)
    return json.loads(response.body)["status"]


ANN = UserInfo("ann", "7", ["system:authenticated"], {})


async def test_can_i(edges: Edges) -> None:
    spec = {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "shop"}}
    assert await review(edges, "selfsubjectaccessreviews", spec, ANN) == {"allowed": False}
    spec = {"nonResourceAttributes": {"verb": "get", "path": "/version"}}
    status = await review(edges, "selfsubjectaccessreviews", spec, ANN)
    assert status["allowed"] is True and status["reason"].startswith("RBAC: allowed by ClusterRoleBinding")
    with pytest.raises(StatusError) as caught:
        await review(edges, "subjectaccessreviews", spec | {"resourceAttributes": {}}, ANN)
    assert caught.value.code == 422


async def test_a_local_review_stays_in_its_namespace(edges: Edges) -> None:
    spec = {"user": "ann", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "a"}}
    assert await review(edges, "localsubjectaccessreviews", spec, ANN, "a") == {"allowed": False}
    with pytest.raises(StatusError) as caught:
        await review(edges, "localsubjectaccessreviews", spec, ANN, "b")
    assert "must match metadata.namespace" in caught.value.message


async def test_rules_and_whoami(edges: Edges) -> None:
    rules = await review(edges, "selfsubjectrulesreviews", {"namespace": "shop"}, ANN)
    assert {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]} in rules[
        "resourceRules"
    ]
    assert rules["incomplete"] is False
    me = await review(edges, "selfsubjectreviews", {}, ANN)
    assert me["userInfo"] == {"username": "ann", "uid": "7", "groups": ["system:authenticated"]}


async def test_a_token_review_knows_the_server_s_own_tokens(edges: Edges) -> None:
    request = Request("POST", "/", body=b"{}")
    request.info = RequestInfo("create", "", "v1", "serviceaccounts", "token", "shop", "robot", True)
    issued = await edges.subresource_handlers()["", "serviceaccounts", "token"](request)
    assert isinstance(issued.body, bytes)
    token = json.loads(issued.body)["status"]["token"]
    status = await review(edges, "tokenreviews", {"token": token}, ANN)
    assert status["authenticated"] is True and status["user"]["username"] == "system:serviceaccount:shop:robot"
    assert "system:authenticated" in status["user"]["groups"]
    status = await review(edges, "tokenreviews", {"token": token, "audiences": ["other"]}, ANN)
    assert 'is invalid for the target audiences ["other"]' in status["error"] and "authenticated" not in status


@pytest.mark.parametrize(("mode", "code"), [("Strict", 400), ("Warn", 201), ("", 201), ("Ignore", 201)])
async def test_unknown_fields_of_reviews_are_told(edges: Edges, mode: str, code: int) -> None:
    body = b'{"spec": {"token": "x", "tokn": "y"}}'
    request = Request("POST", "/", {"fieldValidation": [mode]} if mode else {}, body=body, user=ANN)
    handler = edges.create_handlers()["authentication.k8s.io", "tokenreviews"]
    if code == 400:
        with pytest.raises(StatusError) as caught:
            await handler(request)
        assert caught.value.message == (
            'TokenReview in version "v1" cannot be handled as a TokenReview: strict decoding error: '
            'unknown field "spec.tokn"'
        )
    else:
        warning = (await handler(request)).headers.get("Warning")
        assert warning == (None if mode == "Ignore" else '299 - "unknown field \\"spec.tokn\\""')
