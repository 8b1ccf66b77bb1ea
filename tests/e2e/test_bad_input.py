"""Bad input to the API over HTTPS: each request gets kube-apiserver's code, reason and message, and leaves no trace.

Expected texts are those of kube-apiserver 1.36 (k8s.io/apiserver endpoints/handlers, k8s.io/apimachinery api/errors).
"""

import contextlib
import datetime
import http.client
import json
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.e2e.conftest import start

JSON = "application/json"
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
BODY_BYTES_MAX = 3 * 1024 * 1024
MAPS = "/api/v1/namespaces/bad/configmaps"
MAP = f"{MAPS}/settings"
DEPLOYMENTS = "/apis/apps/v1/namespaces/bad/deployments"
PODS = "/api/v1/namespaces/bad/pods"
WATCHED = (
    "/api/v1/configmaps",
    "/api/v1/secrets",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/namespaces",
    "/apis/apps/v1/deployments",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
LABEL_NAME = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VERSION_KIND = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
PATCH_TYPES = ", ".join((JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY))
BODY_TYPES = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
ONLY_BY_NAME = r'is not a known field selector: only "metadata.name", "metadata.namespace"'


@dataclass(frozen=True)
class Answer:
    """One response."""

    code: int
    body: bytes
    warning: str | None

    def status(self) -> dict[str, Any]:
        """The Status object."""
        value: dict[str, Any] = json.loads(self.body)
        assert value["kind"] == "Status", value
        return value


@dataclass(frozen=True)
class Caller:
    """A client of the server with one identity."""

    port: int
    tls: ssl.SSLContext

    def send(
        self, method: str, path: str, body: Any = None, kind: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; `body` is bytes as they are, or anything to send as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = dict(headers or {})
        if data is not None:
            sent["Content-Type"] = kind or JSON
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=30)
        try:
            # The server may refuse a large body before it has read it; its answer is there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.read(), response.headers.get("Warning"))
        finally:
            connection.close()


@dataclass(frozen=True)
class World:
    """A cluster with a namespace `bad` that holds one ConfigMap, one Deployment and one Secret."""

    pki: Path
    admin: Caller
    anonymous: Caller

    def footprint(self) -> dict[str, dict[str, str]]:
        """Every object bad input might have made or changed, with its resourceVersion."""
        found = {}
        for path in WATCHED:
            items = json.loads(self.admin.send("GET", path).body)["items"]
            found[path] = {
                f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}": item["metadata"][
                    "resourceVersion"
                ]
                for item in items
            }
        return found


def caller(pki: Path, port: int, certificate: tuple[Path, Path] | None = None) -> Caller:
    tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if certificate:
        tls.load_cert_chain(*certificate)
    return Caller(port, tls)


def config_map(name: str = "new", **members: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} | members


def deployment(name: str = "new", **spec: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "box"}]}}
    whole = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template} | spec
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": whole}


def pod(name: str = "new", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("bad-input")
    cluster = start(f"bad-input-{os.getpid()}", directory, "--runtime", "fake")
    try:
        home = cluster.data_dir / cluster.name
        port = json.loads((home / "cluster.json").read_text())["port"]
        pki = home / "pki"
        admin = caller(pki, port, (pki / "admin.crt", pki / "admin.key"))
        made = [
            admin.send("POST", "/api/v1/namespaces", {"metadata": {"name": "bad"}}),
            admin.send("POST", MAPS, config_map("settings", data={"color": "blue"})),
            admin.send("POST", DEPLOYMENTS, deployment("web")),
            admin.send("POST", "/api/v1/namespaces/bad/secrets", {"metadata": {"name": "key"}, "immutable": True}),
        ]
        assert [answer.code for answer in made] == [201] * len(made), made
        settle(admin)
        yield World(pki, admin, caller(pki, port))
    finally:
        cluster.wherry("down", check=False)


def settle(admin: Caller) -> None:
    """Wait until controllers have done their part, so that later changes are the requests' own."""
    for _ in range(600):
        settled = json.loads(admin.send("GET", f"{DEPLOYMENTS}/web").body)
        roots = [
            json.loads(admin.send("GET", path).body)["items"] for path in ("/api/v1/namespaces", "/api/v1/configmaps")
        ]
        certificates = [item for item in roots[1] if item["metadata"]["name"] == "kube-root-ca.crt"]
        if settled["status"].get("observedGeneration") == 1 and len(certificates) == len(roots[0]):
            return
    raise AssertionError("the controllers did not settle")


@dataclass(frozen=True)
class Row:
    """One bad request and its answer."""

    name: str
    method: str
    path: str
    code: int
    reason: str
    message: str
    body: Any = None
    kind: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


def bad(why: str, kind: str = "ConfigMap") -> str:
    return f'{kind} in version "v1" cannot be handled as a {kind}: {why}'


def unreadable(why: str, data: str) -> str:
    return (
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; "
        f"json parse error: {why} ({data})"
    )


def taken(resource: str, name: str) -> str:
    return (
        f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified; please apply your '
        "changes to the latest version and try again"
    )


OTHER = {"app": "other"}
STRICT = "?fieldValidation=Strict"
FIELDS = [
    Row("an unknown field, strictly", "POST", MAPS + STRICT, 400, "BadRequest",
        bad('strict decoding error: unknown field "bogus"'), config_map(bogus=1)),
    Row("an unknown field deep down", "POST", DEPLOYMENTS + STRICT, 400, "BadRequest",
        bad('strict decoding error: unknown field "spec.template.spec.containers[0].imag"', "Deployment"),
        deployment(template={"spec": {"containers": [{"name": "a", "imag": "x"}]}})),
    Row("a repeated field", "POST", MAPS + STRICT, 400, "BadRequest",
        bad('strict decoding error: duplicate field "metadata.name"'), b'{"metadata":{"name":"new","name":"newer"}}'),
    Row("a number for a text", "POST", MAPS, 400, "BadRequest",
        bad("json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        config_map(data={"a": 1})),
    Row("a text for a number", "POST", DEPLOYMENTS, 400, "BadRequest",
        bad("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            "Deployment"), deployment(replicas="two")),
    Row("a number for a text in a list", "POST", PODS, 400, "BadRequest",
        bad("json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
            "Pod"), pod(containers=[{"name": "a", "env": [{"name": "A"}, {"name": "B", "value": 1}]}])),
    Row("an object for a list", "POST", PODS, 400, "BadRequest",
        bad("json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            "Pod"), pod(containers={})),
    Row("a text for an object", "POST", MAPS, 400, "BadRequest",
        bad("json: cannot unmarshal string into Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
        {"metadata": "x"}),
    Row("a text for a map", "POST", MAPS, 400, "BadRequest",
        bad("json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
        {"metadata": {"name": "new", "labels": "x"}}),
    Row("a number for a truth", "POST", MAPS, 400, "BadRequest",
        bad("json: cannot unmarshal number into Go struct field ConfigMap.immutable of type bool"),
        config_map(immutable=1)),
    Row("base64 that is none", "POST", "/api/v1/namespaces/bad/secrets", 400, "BadRequest",
        bad("illegal base64 data at input byte 0", "Secret"), {"metadata": {"name": "new"}, "data": {"a": "!!"}}),
]  # fmt: skip
BODIES = [
    Row("no body", "POST", MAPS, 400, "BadRequest", unreadable("unexpected end of JSON input", "<empty>"), b""),
    Row("a body that ends early", "POST", MAPS, 400, "BadRequest",
        unreadable("unexpected end of JSON input", '{"a":'), b'{"a":'),
    Row("a body that is no JSON", "POST", MAPS, 400, "BadRequest",
        unreadable("invalid character 'n' looking for beginning of object key string", "{not json"), b"{not json"),
    Row("a body with more behind it", "POST", MAPS, 400, "BadRequest",
        unreadable("invalid character 'x' after top-level value", "{} x"), b"{} x"),
    Row("a list for a body", "POST", MAPS, 400, "BadRequest",
        unreadable(f"json: cannot unmarshal array into Go value of type {VERSION_KIND}", b"[]".hex()), b"[]"),
    Row("another kind", "POST", MAPS, 400, "BadRequest",
        'Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): '
        "unknown conversion", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "new"}}),
    Row("a kind that nobody knows", "POST", MAPS, 400, "BadRequest",
        'Bogus in version "v1" cannot be handled as a ConfigMap: no kind "Bogus" is registered for version "v1" in '
        'scheme "pkg/api/legacyscheme/scheme.go:30"', {"apiVersion": "v1", "kind": "Bogus", "metadata": {"name": "n"}}),
    Row("a version that has no such kind", "POST", MAPS, 400, "BadRequest",
        'ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version '
        '"v2" in scheme "pkg/api/legacyscheme/scheme.go:30"', config_map() | {"apiVersion": "v2"}),
    Row("an oversized body", "POST", MAPS, 413, "RequestEntityTooLarge",
        f"Request entity too large: limit is {BODY_BYTES_MAX}", config_map(data={"a": "x" * BODY_BYTES_MAX})),
    Row("an oversized patch", "PATCH", MAP, 413, "RequestEntityTooLarge",
        f"Request entity too large: limit is {BODY_BYTES_MAX}", {"data": {"a": "x" * BODY_BYTES_MAX}}, MERGE_PATCH),
    Row("a format that nobody reads", "POST", MAPS, 415, "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {BODY_TYPES}",
        config_map(), "text/plain"),
    Row("a patch in a format that is none", "PATCH", MAP, 415, "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {PATCH_TYPES}",
        {"data": {"a": "b"}}, JSON),
]  # fmt: skip
OBJECTS = [
    Row("an invalid name", "POST", MAPS, 422, "Invalid",
        f'ConfigMap "Not_A_Name" is invalid: metadata.name: Invalid value: "Not_A_Name": {SUBDOMAIN}',
        config_map("Not_A_Name")),
    Row("no name", "POST", MAPS, 422, "Invalid",
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required', {"metadata": {}}),
    Row("an invalid label", "POST", MAPS, 422, "Invalid",
        f'ConfigMap "new" is invalid: metadata.labels: Invalid value: "-": {LABEL_VALUE}',
        {"metadata": {"name": "new", "labels": {"a": "-"}}}),
    Row("an invalid key", "POST", MAPS, 422, "Invalid",
        'ConfigMap "new" is invalid: data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric '
        "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
        "'[-._a-zA-Z0-9]+')", config_map(data={"a/b": ""})),
    Row("a pod without containers", "POST", PODS, 422, "Invalid",
        'Pod "new" is invalid: spec.containers: Required value', pod(containers=[])),
    Row("a negative count", "POST", DEPLOYMENTS, 422, "Invalid",
        'Deployment.apps "new" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
        deployment(replicas=-1)),
    Row("a name that is taken", "POST", MAPS, 409, "AlreadyExists", 'configmaps "settings" already exists',
        config_map("settings")),
    Row("a resourceVersion at birth", "POST", MAPS, 400, "BadRequest",
        "resourceVersion should not be set on objects to be created",
        {"metadata": {"name": "new", "resourceVersion": "1"}}),
    Row("a namespace that is not there", "POST", "/api/v1/namespaces/nowhere/configmaps", 404, "NotFound",
        'namespaces "nowhere" not found', config_map()),
    Row("another namespace than the URL's", "POST", MAPS, 400, "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
        {"metadata": {"name": "new", "namespace": "default"}}),
    Row("another name than the URL's", "PUT", MAP, 400, "BadRequest",
        "the name of the object (other) does not match the name on the URL (settings)", config_map("other")),
    Row("a stale resourceVersion", "PUT", MAP, 409, "Conflict", taken("configmaps", "settings"),
        {"metadata": {"name": "settings", "resourceVersion": "1"}}),
    Row("a stale resourceVersion in a patch", "PATCH", MAP, 409, "Conflict", taken("configmaps", "settings"),
        {"metadata": {"resourceVersion": "1"}, "data": {"a": "b"}}, MERGE_PATCH),
    Row("a wrong uid", "PUT", MAP, 409, "Conflict",
        'Operation cannot be fulfilled on configmaps "settings": Precondition failed: UID in precondition: nobody, '
        "UID in object meta: <uid>", {"metadata": {"name": "settings", "uid": "nobody"}}),
    Row("a change of what cannot change", "PATCH", f"{DEPLOYMENTS}/web", 422, "Invalid",
        'Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is '
        "immutable",
        {"spec": {"selector": {"matchLabels": OTHER}, "template": {"metadata": {"labels": OTHER}}}},
        MERGE_PATCH),
    Row("a change of an immutable Secret", "PATCH", "/api/v1/namespaces/bad/secrets/key", 422, "Invalid",
        'Secret "key" is invalid: data: Forbidden: field is immutable when `immutable` is set',
        {"data": {"a": "Yg=="}}, MERGE_PATCH),
    Row("an object that is not there", "PUT", f"{MAPS}/none", 404, "NotFound", 'configmaps "none" not found',
        config_map("none")),
]  # fmt: skip
PATCHES = [
    Row("a JSON patch that is no JSON", "PATCH", MAP, 400, "BadRequest",
        "error decoding patch: invalid character 'o' in literal null (expecting 'u')", b"nope", JSON_PATCH),
    Row("a JSON patch that is no list", "PATCH", MAP, 400, "BadRequest",
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp", {},
        JSON_PATCH),
    Row("a JSON patch whose test fails", "PATCH", MAP, 422, "Invalid",
        "the server rejected our request due to an error in our request",
        [{"op": "test", "path": "/data/color", "value": "red"}, {"op": "remove", "path": "/data"}], JSON_PATCH),
    Row("a JSON patch to nowhere", "PATCH", MAP, 422, "Invalid",
        "the server rejected our request due to an error in our request",
        [{"op": "replace", "path": "/no/where", "value": 1}], JSON_PATCH),
    Row("too many operations", "PATCH", MAP, 413, "RequestEntityTooLarge",
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
        [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_001, JSON_PATCH),
    Row("a merge patch that is a list", "PATCH", MAP, 400, "BadRequest",
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}", [],
        MERGE_PATCH),
    Row("a merge patch that ends early", "PATCH", MAP, 400, "BadRequest",
        "error decoding patch: unexpected end of JSON input", b'{"data":', MERGE_PATCH),
    Row("a strategic patch that is a list", "PATCH", MAP, 400, "BadRequest",
        "json: cannot unmarshal array into Go value of type map[string]interface {}", [], STRATEGIC),
    Row("another name in a patch", "PATCH", MAP, 400, "BadRequest",
        "the name of the object (other) does not match the name on the URL (settings)", {"metadata": {"name": "other"}},
        MERGE_PATCH),
    Row("an apply without a manager", "PATCH", MAP, 422, "Invalid",
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        config_map("settings"), APPLY),
    Row("force on another patch than apply", "PATCH", f"{MAP}?force=true", 422, "Invalid",
        'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
        {"data": {"a": "b"}}, MERGE_PATCH),
    Row("a patch of what is not there", "PATCH", f"{MAPS}/none", 404, "NotFound", 'configmaps "none" not found',
        {"data": {"a": "b"}}, MERGE_PATCH),
]  # fmt: skip
QUERIES = [
    Row("a label selector that ends early", "GET", f"{MAPS}?labelSelector=a%20in", 400, "BadRequest",
        "unable to parse requirement: found '' expected: '('"),
    Row("a label selector of invalid key", "GET", f"{MAPS}?labelSelector=-%3Dx", 400, "BadRequest",
        f'unable to parse requirement: <nil>: Invalid value: "-": {LABEL_NAME}'),
    Row("a field selector that is none", "GET", f"{MAPS}?fieldSelector=bogus", 400, "BadRequest",
        "invalid selector: 'bogus'; can't understand 'bogus'"),
    Row("a field that nobody selects", "GET", f"{MAPS}?fieldSelector=data.color%3Dblue", 400, "BadRequest",
        f'"data.color" {ONLY_BY_NAME}'),
    Row("a field that nobody selects of pods", "GET", f"{PODS}?fieldSelector=bogus%3D1", 400, "BadRequest",
        "field label not supported: bogus"),
    Row("a bad selector of a collection to delete", "DELETE", f"{MAPS}?labelSelector=a%20in", 400, "BadRequest",
        "unable to parse requirement: found '' expected: '('"),
    Row("a limit that is no number", "GET", f"{MAPS}?limit=ten", 400, "BadRequest",
        'strconv.ParseInt: parsing "ten": invalid syntax'),
    Row("a continue token that is none", "GET", f"{MAPS}?limit=1&continue=abc", 400, "BadRequest",
        "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"),
    Row("a resourceVersion that is no number", "GET", f"{MAPS}?resourceVersion=x", 400, "BadRequest",
        'invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid '
        "syntax"),
    Row("a match without a resourceVersion", "GET", f"{MAPS}?resourceVersionMatch=Exact", 422, "Invalid",
        'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden '
        "unless resourceVersion is provided"),
    Row("a dry run of an unknown kind", "POST", f"{MAPS}?dryRun=Some", 422, "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"',
        config_map()),
    Row("a field validation of an unknown kind", "POST", f"{MAPS}?fieldValidation=Loose", 422, "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Loose": supported values: "", '
        '"Ignore", "Strict", "Warn"', config_map()),
    Row("a manager of too long a name", "POST", f"{MAPS}?fieldManager={'m' * 129}", 422, "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes',
        config_map()),
    Row("a format that nobody writes", "GET", MAP, 406, "NotAcceptable",
        f"only the following media types are accepted: {BODY_TYPES}",
        headers={"Accept": "text/plain"}),
]  # fmt: skip
DELETIONS = [
    Row("deletion of what is not there", "DELETE", f"{MAPS}/none", 404, "NotFound", 'configmaps "none" not found'),
    Row("a wrong uid to delete", "DELETE", MAP, 409, "Conflict",
        'Operation cannot be fulfilled on ConfigMap "settings": the UID in the precondition (nobody) does not match '
        "the UID in record (<uid>). The object might have been deleted and then recreated",
        {"preconditions": {"uid": "nobody"}}),
    Row("a stale resourceVersion to delete", "DELETE", MAP, 409, "Conflict",
        'Operation cannot be fulfilled on ConfigMap "settings": the ResourceVersion in the precondition (1) does not '
        "match the ResourceVersion in record (<version>). The object might have been modified",
        {"preconditions": {"resourceVersion": "1"}}),
    Row("a propagation that nobody knows", "DELETE", MAP, 422, "Invalid",
        'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Sideways": supported values: '
        '"Foreground", "Background", "Orphan", "nil"', {"propagationPolicy": "Sideways"}),
    Row("options that are no JSON", "DELETE", MAP, 400, "BadRequest",
        "the object provided is unrecognized (must be of type DeleteOptions): couldn't get version/kind; json parse "
        "error: invalid character 'o' in literal null (expecting 'u') (6e6f7065)", b"nope"),
]  # fmt: skip
METHODS = [
    Row("a method that no object has", "POST", MAP, 405, "MethodNotAllowed",
        "the server does not allow this method on the requested resource", config_map("settings")),
    Row("a method that no collection has", "PUT", MAPS, 405, "MethodNotAllowed",
        "the server does not allow this method on the requested resource", config_map("settings")),
]  # fmt: skip
ROWS = [*FIELDS, *BODIES, *OBJECTS, *PATCHES, *QUERIES, *DELETIONS, *METHODS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_a_bad_request_is_refused_as_kubernetes_does_and_leaves_no_trace(world: World, row: Row) -> None:
    before = world.footprint()
    meta = json.loads(world.admin.send("GET", MAP).body)["metadata"]
    message = row.message.replace("<uid>", meta["uid"]).replace("<version>", meta["resourceVersion"])
    answer = world.admin.send(row.method, row.path, row.body, row.kind, row.headers)
    status = answer.status()
    assert (answer.code, status.get("reason"), status["message"]) == (row.code, row.reason, message)
    assert (status["apiVersion"], status["status"], status["code"]) == ("v1", "Failure", row.code)
    assert world.footprint() == before


def test_validation_errors_have_causes_and_details(world: World) -> None:
    status = world.admin.send("POST", PODS, pod(containers=[])).status()
    assert status["details"] == {
        "name": "new",
        "kind": "Pod",
        "causes": [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}],
    }


@pytest.mark.parametrize("kind", [MERGE_PATCH, JSON_PATCH, STRATEGIC])
def test_a_patch_to_a_wrong_type_is_invalid(world: World, kind: str) -> None:
    before = world.footprint()
    body: Any = {"data": {"color": 1}}
    if kind == JSON_PATCH:
        body = [{"op": "replace", "path": "/data/color", "value": 1}]
    status = world.admin.send("PATCH", MAP, body, kind).status()
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"].startswith(' "" is invalid: patch: Invalid value: "')
    assert status["details"]["causes"][0]["field"] == "patch"
    assert world.footprint() == before


def test_unknown_and_repeated_fields_are_warned_of_and_not_stored(world: World) -> None:
    answer = world.admin.send("POST", f"{MAPS}?dryRun=All", config_map(bogus=1))
    assert (answer.code, answer.warning) == (201, r'299 - "unknown field \"bogus\""')
    assert "bogus" not in json.loads(answer.body)


def test_paths_that_nothing_serves(world: World) -> None:
    for path in ("/api/v1/namespaces/bad/bogus", "/apis/bogus.example/v1/things", "/bogus"):
        answer = world.admin.send("GET", path)
        assert (answer.code, answer.body) == (404, b"404 page not found\n")


# Credentials ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credential",
    ["Bearer garbage", "Bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "bearer abcdef.0123456789abcdef"],
)
def test_a_broken_token_is_unauthorized(world: World, credential: str) -> None:
    before = world.footprint()
    for method, body in (("GET", None), ("POST", config_map())):
        answer = world.anonymous.send(method, MAPS, body, headers={"Authorization": credential})
        status = answer.status()
        assert (answer.code, status["reason"], status["message"]) == (401, "Unauthorized", "Unauthorized")
    assert world.footprint() == before


def test_a_token_that_was_tampered_with_or_ran_out_is_unauthorized(world: World) -> None:
    path = "/api/v1/namespaces/bad/serviceaccounts/default/token"
    token = json.loads(world.admin.send("POST", path, {"spec": {"expirationSeconds": 600}}).body)["status"]["token"]
    good = world.anonymous.send("GET", MAPS, headers={"Authorization": f"Bearer {token}"})
    assert (good.code, good.status()["message"]) == (
        403,
        'configmaps is forbidden: User "system:serviceaccount:bad:default" cannot list resource "configmaps" in API '
        'group "" in the namespace "bad"',
    )
    head, payload, signature = token.split(".")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    for broken in (f"{head}.{payload}.{flipped}", f"{head}.{payload}.", f"{head}.{payload}"):
        answer = world.anonymous.send("GET", MAPS, headers={"Authorization": f"Bearer {broken}"})
        assert (answer.code, answer.status()["message"]) == (401, "Unauthorized")


def test_a_caller_without_credentials_is_anonymous(world: World) -> None:
    answer = world.anonymous.send("POST", MAPS, config_map())
    status = answer.status()
    assert (answer.code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        'configmaps is forbidden: User "system:anonymous" cannot create resource "configmaps" in API group "" in the '
        'namespace "bad"'
    )
    assert status["details"] == {"kind": "configmaps"}


def signed(world: World, directory: Path, start_days: int, end_days: int) -> Caller:
    """An administrator's certificate by the cluster's own authority, valid between two days from now."""
    ca = x509.load_pem_x509_certificate((world.pki / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((world.pki / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = ca.not_valid_before_utc + datetime.timedelta(hours=1)
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, "somebody")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=start_days))
        .not_valid_after(now + datetime.timedelta(days=end_days))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return caller(world.pki, world.admin.port, (cert_file, key_file))


@pytest.mark.parametrize(("start_days", "end_days"), [(-30, -1), (1, 30)], ids=["expired", "not-yet-valid"])
def test_a_certificate_out_of_its_time_is_unauthorized(
    world: World, tmp_path: Path, start_days: int, end_days: int
) -> None:
    before = world.footprint()
    late = signed(world, tmp_path, start_days, end_days)
    answer = late.send("POST", MAPS, config_map())
    status = answer.status()
    assert (answer.code, status["reason"], status["message"]) == (401, "Unauthorized", "Unauthorized")
    assert world.footprint() == before
    assert signed(world, tmp_path, -1, 30).send("GET", MAPS).code == 200
