"""test/e2e/apimachinery/crd_publish_openapi.go: what kubectl learns of custom kinds from the published schemas."""

import json
import re
from typing import Any

from tests.conformance.definitions import DEFINITIONS, definition, version
from tests.conformance.entry import conformance
from tests.conformance.world import Json, World

BAR: Json = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"description": "Name of Bar.", "type": "string"},
        "age": {"description": "Age of Bar.", "type": "string"},
        "feeling": {"description": "Whether Bar is feeling great.", "type": "string", "enum": ["Great", "Down"]},
        "bazs": {"description": "List of Bazs.", "type": "array", "items": {"type": "string"}},
    },
}
FOO: Json = {
    "description": "Foo CRD for Testing",
    "type": "object",
    "properties": {
        "spec": {
            "description": "Specification of Foo",
            "type": "object",
            "properties": {
                "bars": {"description": "List of Bars and their specs.", "type": "array", "items": BAR},
            },
        },
        "status": {"description": "Status of Foo", "type": "object"},
    },
}
WALDO: Json = {
    "description": "Waldo CRD for Testing",
    "type": "object",
    "properties": {
        "spec": {
            "description": "Specification of Waldo",
            "type": "object",
            "properties": {"dummy": {"description": "Dummy property.", "type": "string"}},
        }
    },
}
ROOT: Json = {
    "description": "preserve-unknown-properties at root for Testing",
    "x-kubernetes-preserve-unknown-fields": True,
    "type": "object",
    "properties": {"spec": {"description": "Specification of Waldo", "type": "object"}},
}
NESTED: Json = {
    "description": "preserve-unknown-properties in nested field for Testing",
    "type": "object",
    "properties": {
        "spec": {
            "description": "Specification of Waldo",
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"dummy": {"description": "Dummy property.", "type": "string"}},
        }
    },
}


def made(schema: Json | None, group: str, *versions: str, kind: str = "Foo") -> Json:
    """A definition whose first version is stored and all of whose versions have one schema."""
    listed = [version(name, schema, storage=not number) for number, name in enumerate(versions)]
    return definition(*listed, kind=kind, group=f"openapi-test-{group}.example.com")


def name_of(it: Json, version_name: str) -> str:
    """The name under which OpenAPI has a version of a definition."""
    return ".".join([*reversed(it["spec"]["group"].split(".")), version_name, it["spec"]["names"]["kind"]])


async def published(world: World, it: Json, version_name: str) -> Any:
    """What /openapi/v2 says, without what the server adds to the schema; None where it says nothing."""
    found = (await world.get("/openapi/v2"))["definitions"].get(name_of(it, version_name))
    if found is None:
        return None
    properties = {
        key: item for key, item in found.get("properties", {}).items() if key not in ("apiVersion", "kind", "metadata")
    }
    found = {key: item for key, item in found.items() if key not in ("x-kubernetes-group-version-kind", "properties")}
    return found | ({"properties": properties} if properties else {})


async def shown(world: World, it: Json, schema: Json | None, *versions: str) -> None:
    """Wait until OpenAPI has the schema (None: has nothing) of these versions."""
    for name in versions:

        async def as_wanted(name: str = name) -> bool:
            return bool(await published(world, it, name) == schema)

        await world.until(as_wanted, f"{name_of(it, name)} is published otherwise")


async def created_and_applied(world: World, it: Json, content: Json) -> None:
    """kubectl creates an object, deletes it, applies it, deletes it."""
    spec = it["spec"]
    obj = {"kind": spec["names"]["kind"], "apiVersion": f"{spec['group']}/{spec['versions'][0]['name']}"}
    obj |= {"metadata": {"name": "test"}, **content}
    for verb in ("create", "apply"):
        await world.kubectl(verb, "-f", "-", stdin=json.dumps(obj))
        await world.kubectl("delete", spec["names"]["plural"], "test")


async def explained(world: World, path: str, pattern: str) -> None:
    """kubectl explain says what the pattern wants."""
    out = (await world.kubectl("explain", path)).out
    assert re.search(pattern, out, re.DOTALL), out


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for CRD with validation schema [Conformance]"
)
async def test_a_schema_is_explained(served: World) -> None:
    it = made(FOO, "foo", "v1")
    await served.define(it)
    await shown(served, it, FOO, "v1")
    await created_and_applied(served, it, {"spec": {"bars": [{"name": "test-bar"}]}})
    fields = "FIELDS:.*apiVersion.*<string>.*APIVersion defines.*spec.*<Object>.*Specification of Foo"
    await explained(served, "foos", "DESCRIPTION:.*Foo CRD for Testing.*" + fields)
    stamp = "FIELDS:.*creationTimestamp.*<string>.*CreationTimestamp is a timestamp"
    await explained(served, "foos.metadata", "DESCRIPTION:.*Standard object's metadata.*" + stamp)
    bars = r"FIELDS:.*bars.*<\[\]Object>.*List of Bars and their specs"
    await explained(served, "foos.spec", "DESCRIPTION:.*Specification of Foo.*" + bars)
    inner = r"List of Bars and their specs.*FIELDS:.*bazs.*<\[\]string>.*List of Bazs.*name.*<string>.*Name of Bar"
    await explained(served, "foos.spec.bars", r"bars.*<\[\]Object>.*DESCRIPTION:.*" + inner)
    missing = await served.kubectl("explain", "foos.spec.bars2", check=False)
    assert missing.code and 'field "bars2" does not exist' in missing.err
    await served.delete(f"{DEFINITIONS}/{it['metadata']['name']}")
    await shown(served, it, None, "v1")


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for CRD without validation schema [Conformance]"
)
async def test_without_a_schema_anything_goes(served: World) -> None:
    it = made(None, "empty", "v1")
    await served.define(it)
    await shown(served, it, {"type": "object"}, "v1")
    await created_and_applied(served, it, {"a": {"b": [{"c": "d"}]}})
    await explained(served, "foos", "DESCRIPTION:.*<empty>")


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for CRD preserving unknown fields at the schema root [Conformance]"
)
async def test_unknown_fields_at_the_root_are_kept(served: World) -> None:
    it = made(ROOT, "unknown-at-root", "v1")
    await served.define(it)
    await created_and_applied(served, it, {"a": {"b": [{"c": "d"}]}})
    await explained(served, "foos", "KIND:.*Foo")


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for CRD preserving unknown fields in an embedded object [Conformance]"
)
async def test_unknown_fields_of_a_member_are_kept(served: World) -> None:
    it = made(NESTED, "unknown-in-nested", "v1")
    await served.define(it)
    await created_and_applied(served, it, {"spec": {"a": None, "b": [{"c": "d"}]}})
    await explained(served, "foos", "DESCRIPTION:.*preserve-unknown-properties in nested field for Testing")


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for multiple CRDs of different groups [Conformance]"
)
async def test_two_groups(api: World) -> None:
    foo, waldo = made(FOO, "foo", "v1"), made(WALDO, "waldo", "v1beta1", kind="Waldo")
    for it in (foo, waldo):
        await api.define(it)
    await shown(api, waldo, WALDO, "v1beta1")
    await shown(api, foo, FOO, "v1")


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for multiple CRDs of same group but different versions [Conformance]"
)
async def test_two_versions(api: World) -> None:
    several = made(FOO, "multi-ver", "v2", "v3")
    await api.define(several)
    await shown(api, several, FOO, "v2", "v3")
    foo, waldo = made(FOO, "common-group", "v4"), made(WALDO, "common-group", "v5", kind="Waldo")
    for it in (foo, waldo):
        await api.define(it)
    await shown(api, waldo, WALDO, "v5")
    await shown(api, foo, FOO, "v4")


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for multiple CRDs of same group and version but different kinds [Conformance]"
)
async def test_two_kinds(api: World) -> None:
    foo, waldo = made(FOO, "common-group", "v6"), made(WALDO, "common-group", "v6", kind="Waldo")
    for it in (foo, waldo):
        await api.define(it)
    await shown(api, waldo, WALDO, "v6")
    await shown(api, foo, FOO, "v6")


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "updates the published spec when one version gets renamed [Conformance]"
)
async def test_a_version_is_renamed(api: World) -> None:
    it = made(FOO, "multi-ver", "v2", "v3")
    await api.define(it)
    await shown(api, it, FOO, "v2", "v3")
    change = [
        {"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
        {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"},
    ]
    await api.patch(f"{DEFINITIONS}/{it['metadata']['name']}", change, "json")
    await shown(api, it, FOO, "v4")
    await shown(api, it, None, "v3")
    await shown(api, it, FOO, "v2")


@conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "removes definition from spec when one version gets changed to not be served [Conformance]"
)
async def test_a_version_is_no_longer_served(api: World) -> None:
    it = made(FOO, "multi-to-single-ver", "v5", "v6alpha1")
    await api.define(it)
    await shown(api, it, FOO, "v5", "v6alpha1")
    stored = await api.get(f"{DEFINITIONS}/{it['metadata']['name']}")
    stored["spec"]["versions"][1]["served"] = False
    await api.replace(f"{DEFINITIONS}/{it['metadata']['name']}", stored)
    await shown(api, it, None, "v6alpha1")
    await shown(api, it, FOO, "v5")
