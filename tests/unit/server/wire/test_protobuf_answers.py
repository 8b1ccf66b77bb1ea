"""Every built-in kind in protobuf, there and back; what the server answers when protobuf or CBOR is asked for."""

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any, get_args

import cbor2
import msgspec
import pytest

from tests.unit.server.core.conftest import MAPS, Api, api, config_map, pod, server_options
from tests.unit.server.edges.test_protobuf import DEPLOYMENT, field, varint
from tests.unit.server.wire.objects import random_object
from wherry.api.resources import RESOURCES
from wherry.meta.resource import Resource
from wherry.server.http import Request, UserInfo
from wherry.server.protobuf.decode import to_json
from wherry.server.protobuf.encode import from_json
from wherry.server.protobuf.messages import annotations, tables

__all__ = ["DEPLOYMENT", "api", "config_map", "server_options"]
PROTOBUF, CBOR = "application/vnd.kubernetes.protobuf", "application/cbor"
GO_CLIENT = f"{PROTOBUF},application/json"
Json = dict[str, Any]


def of(resource: Resource) -> str:
    return f"{resource.api_version} {resource.kind}"


@pytest.mark.parametrize("resource", RESOURCES, ids=of)
def test_a_random_object_comes_back_from_protobuf_as_it_went(resource: Resource) -> None:
    for seed in range(5):
        wanted = random_object(resource, Random(seed))
        made = from_json(json.dumps(wanted).encode())
        assert made is not None
        assert _significant(json.loads(to_json(made))) == _significant(wanted)


def _significant(value: Any) -> Any:
    """Without what protobuf cannot tell from nothing."""
    if isinstance(value, dict):
        shown = {key: _significant(item) for key, item in value.items()}
        return {key: item for key, item in shown.items() if item not in ({}, [], None)}
    return [_significant(item) for item in value] if isinstance(value, list) else value


def test_every_field_of_every_struct_has_a_number() -> None:
    missing: list[str] = []
    seen: set[type] = set()

    def visit(kind: type) -> None:
        if kind in seen:
            return
        seen.add(kind)
        name = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
        numbered = set(_names(name))
        known = set(annotations(kind)) - {"apiVersion", "kind"}
        missing.extend(f"{name}.{item}" for item in known - numbered if name in tables())
        if name not in tables():
            missing.append(name)
        for annotation in annotations(kind).values():
            for part in parts(annotation):
                visit(part)

    def parts(annotation: Any) -> list[type]:
        inner = annotation if isinstance(annotation, frozenset) else get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return [annotation]
        return [found for item in inner for found in parts(item)]

    for resource in RESOURCES:
        assert resource.type is not None
        visit(resource.type)
    assert missing == []


def _names(message: str) -> list[str]:
    module = message.partition(".")[0]
    found = []
    for name, _ in tables()[message].values():
        found += _names(f"{module}.{name[1:]}") if name.startswith(">") else [name]
    return found


async def read(api: Api, path: str, accept: str = GO_CLIENT, **query: str) -> tuple[str, bytes]:
    answer = await api.send("GET", path, accept=accept, **query)
    assert answer.status == 200, answer.body
    return answer.headers["content-type"], answer.body


async def test_get_list_and_writes_answer_in_protobuf(api: Api, config_map: Any) -> None:
    answer = await api.send("POST", MAPS, config_map("one"), accept=GO_CLIENT)
    assert answer.status == 201 and answer.headers["content-type"] == PROTOBUF
    assert json.loads(to_json(answer.body))["data"] == {"a": "1"}
    kind, body = await read(api, f"{MAPS}/one")
    assert kind == PROTOBUF and json.loads(to_json(body)) == await api.ok("GET", f"{MAPS}/one")
    body_of_update = {**config_map("one"), "data": {"a": "2"}}
    answer = await api.send("PUT", f"{MAPS}/one", from_json(json.dumps(body_of_update).encode()), PROTOBUF)
    assert json.loads(answer.body)["data"] == {"a": "2"}


def items_of(message: bytes) -> list[bytes]:
    """The items of an enveloped list."""
    _, raw = fields_of(message.removeprefix(b"k8s\x00"))[:2]
    return [value for number, value in fields_of(raw[1]) if number == 2]


def fields_of(data: bytes) -> list[tuple[int, bytes]]:
    found, position = [], 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(data):
        tag = number()
        assert tag & 7 == 2
        length = number()
        found.append((tag >> 3, data[position : position + length]))
        position += length
    return found


async def test_a_long_list_has_all_its_items(api: Api, config_map: Any) -> None:
    for index in range(60):
        await api.ok("POST", MAPS, config_map(f"m-{index:02}"))
    kind, body = await read(api, MAPS)
    assert kind == PROTOBUF
    names = [dict(fields_of(dict(fields_of(item))[1]))[1].decode() for item in items_of(body)]
    assert [name for name in names if name.startswith("m-")] == [f"m-{index:02}" for index in range(60)]


async def test_a_refusal_is_a_status_in_protobuf(api: Api) -> None:
    answer = await api.send("GET", f"{MAPS}/none", accept=GO_CLIENT)
    assert answer.status == 404 and answer.headers["content-type"] == PROTOBUF
    names, raw = fields_of(answer.body.removeprefix(b"k8s\x00"))[:2]
    assert names[1] == field(1, b"v1") + field(2, b"Status")
    assert b'configmaps "none" not found' in raw[1]


async def test_tables_stay_json_and_metadata_alone_is_protobuf(api: Api, config_map: Any) -> None:
    await api.ok("POST", MAPS, config_map("one"))
    table = "as=Table;g=meta.k8s.io;v=v1"
    assert (await read(api, MAPS, f"{PROTOBUF};{table},application/json;{table}"))[0] == "application/json"
    partial = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    kind, body = await read(api, MAPS, f"{PROTOBUF};{partial},application/json;{partial}")
    assert kind == PROTOBUF and b"PartialObjectMetadataList" in body and len(items_of(body)) == 1


async def test_the_weights_of_an_accept_header_count(api: Api, config_map: Any) -> None:
    await api.ok("POST", MAPS, config_map("one"))
    assert (await read(api, f"{MAPS}/one", f"{PROTOBUF};q=0.5,application/json"))[0] == "application/json"
    assert (await read(api, f"{MAPS}/one", f"application/yaml;q=0.5,{PROTOBUF}"))[0] == PROTOBUF


async def test_a_watch_in_protobuf_is_framed_by_lengths(api: Api, config_map: Any) -> None:
    await api.ok("POST", MAPS, config_map("one"))
    body, kind = await watched(api, MAPS, GO_CLIENT)
    assert kind == f"{PROTOBUF};stream=watch"
    chunk = await anext(body)
    length = int.from_bytes(chunk[:4], "big")
    first = dict(fields_of(chunk[4 : 4 + length]))
    assert first[1] == b"ADDED"
    assert json.loads(to_json(dict(fields_of(first[2]))[1]))["kind"] == "ConfigMap"
    await body.aclose()  # type: ignore[attr-defined]


async def watched(api: Api, path: str, accept: str) -> tuple[AsyncIterator[bytes], str]:
    user = UserInfo("admin", groups=["system:masters"])
    answer = await api.server.handle(Request("GET", path, {"watch": ["1"]}, {"accept": accept}, user=user))
    assert not isinstance(answer.body, bytes | list)
    return answer.body, answer.headers["Content-Type"]


async def test_custom_resources_are_json_for_clients_that_prefer_protobuf(api: Api) -> None:
    names = {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "t.example", "scope": "Cluster", "names": names, "versions": [version]}
    body = {"metadata": {"name": "things.t.example"}, "spec": spec}
    made = await api.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body, accept=GO_CLIENT)
    assert made.headers["content-type"] == PROTOBUF
    things = "/apis/t.example/v1/things"
    async with asyncio.timeout(10):
        while (await api.send("GET", things)).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await api.ok("POST", things, {"apiVersion": "t.example/v1", "kind": "Thing", "metadata": {"name": "a"}})
    assert (await read(api, f"{things}/a"))[0] == "application/json"
    await api.refused(406, "GET", f"{things}/a", accept=PROTOBUF)
    kind, listed = await read(api, f"{things}", f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
    assert kind == PROTOBUF and len(items_of(listed)) == 1
    items = (await api.ok("GET", things))["items"]
    assert items[0]["kind"] == "Thing"  # items of built-in lists have none


async def test_cbor_is_read_written_applied_and_watched(api: Api) -> None:
    body = cbor2.dumps({b"metadata": {b"name": b"one"}, "data": {"a": b"1"}})
    answer = await api.send("POST", MAPS, body, CBOR, accept=CBOR)
    assert answer.status == 201 and answer.headers["content-type"] == CBOR
    assert cbor2.loads(answer.body)["data"] == {"a": "1"}
    applied = cbor2.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}, "data": {"b": "2"}})
    answer = await api.send("PATCH", f"{MAPS}/two", applied, "application/apply-patch+cbor", fieldManager="m")
    assert answer.status == 201
    stream, kind = await watched(api, MAPS, CBOR)
    assert kind == "application/cbor-seq" and cbor2.loads(await anext(stream))["type"] == "ADDED"
    await stream.aclose()  # type: ignore[attr-defined]
    await api.refused(400, "POST", MAPS, b"\xff\xff", content_type=CBOR)


async def test_items_of_built_in_lists_carry_no_kind(api: Api) -> None:
    await api.ok("POST", "/api/v1/namespaces/default/pods", pod("a"))
    for path in ("/api/v1/pods", "/apis/events.k8s.io/v1/events"):
        assert all("kind" not in item and item["metadata"] for item in (await api.ok("GET", path))["items"])


def test_numbers_over_a_byte_are_written_in_several() -> None:
    made = from_json(json.dumps({"apiVersion": "v1", "kind": "Status", "code": 404}).encode())
    assert made is not None and b"\x30" + varint(404) in made
