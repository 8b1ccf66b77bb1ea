"""What each verb puts on the wire, and what becomes of the answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import orjson
import pytest

from wherry.aio.clock import LoopClock
from wherry.aio.entropy import Entropy
from wherry.api.apps_v1 import Deployment
from wherry.api.authentication_v1 import TokenReview
from wherry.api.autoscaling_v1 import Scale
from wherry.api.core_v1 import Binding, Node, ObjectReference, Pod
from wherry.api.policy_v1 import Eviction
from wherry.api.registry import resource_for
from wherry.client.client import Client, WatchEvent
from wherry.client.transport import Response
from wherry.meta.errors import StatusError, expired, too_many_requests
from wherry.meta.object import ObjectMeta, PartialObjectMetadata
from wherry.sim.loop import run_virtual
from wherry.testing import builders


class Sent(msgspec.Struct):
    """One request as it left."""

    line: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class Wiretap:
    """A transport that writes requests down and gives prepared answers."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.sent: list[Sent] = []
        self.lines: list[bytes] = []

    def _note(self, method: str, path: str, query: Any, body: bytes, headers: Any) -> None:
        self.sent.append(
            Sent(f"{method} {path}", dict(query or {}), orjson.loads(body) if body else None, dict(headers or {}))
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        self._note(method, path, query, body, headers)
        return self.answers.pop(0) if self.answers else Response(200, {}, body or b"{}")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        self._note(method, path, query, body, headers)

        async def each() -> AsyncIterator[bytes]:
            for line in self.lines:
                yield line

        yield each()

    async def close(self) -> None:
        self.sent.clear()


def client(tap: Wiretap) -> Client:
    return Client(tap, clock=LoopClock(), entropy=Entropy(1), field_manager="tester")


def answer(obj: Any, status: int = 200, **headers: str) -> Response:
    return Response(status, headers, orjson.dumps(obj))


async def test_paths_follow_group_scope_and_subresource() -> None:
    tap = Wiretap()
    c = client(tap)
    await c.get(Pod, "a", "ns")
    await c.get(Deployment, "d", "ns", subresource="status")
    await c.get(Node, "n")
    await c.list(Pod)
    await c.list(Deployment, "ns", label_selector="a=b", limit=5, continue_="t")
    await c.delete_collection(Pod, "ns", field_selector="spec.nodeName=n")
    assert [sent.line for sent in tap.sent] == [
        "GET /api/v1/namespaces/ns/pods/a",
        "GET /apis/apps/v1/namespaces/ns/deployments/d/status",
        "GET /api/v1/nodes/n",
        "GET /api/v1/pods",
        "GET /apis/apps/v1/namespaces/ns/deployments",
        "DELETE /api/v1/namespaces/ns/pods",
    ]
    assert tap.sent[4].query == {"labelSelector": "a=b", "limit": "5", "continue": "t"}
    assert tap.sent[5].query == {"fieldSelector": "spec.nodeName=n"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a%2fb"])
async def test_names_that_would_lead_elsewhere_are_refused(name: str) -> None:
    tap = Wiretap()
    with pytest.raises(StatusError, match="name"):
        await client(tap).get(Pod, name, "ns")
    assert tap.sent == []


async def test_writes_say_kind_and_manager() -> None:
    tap = Wiretap()
    c = client(tap)
    await c.create(builders.pod("a"), dry_run=True)
    await c.update_status(builders.pod("a"))
    assert tap.sent[0].query == {"dryRun": "All", "fieldManager": "tester"}
    assert (tap.sent[0].body["apiVersion"], tap.sent[0].body["kind"]) == ("v1", "Pod")
    assert tap.sent[0].headers["content-type"] == "application/json"
    assert tap.sent[1].line == "PUT /api/v1/namespaces/default/pods/a/status"


async def test_subresource_kinds_keep_their_own_identity() -> None:
    status = answer({"kind": "Status", "status": "Success"}, 201)
    tap = Wiretap(status, status)
    c, pods = client(tap), resource_for(Pod)
    metadata = ObjectMeta(name="a", namespace="ns")
    binding = Binding(metadata=metadata, target=ObjectReference(kind="Node", name="n"))
    assert await c.create(binding, name="a", subresource="binding", resource=pods) is binding
    await c.create(Eviction(metadata=metadata), name="a", subresource="eviction", resource=pods)
    await c.update(Scale(metadata=metadata), subresource="scale", resource=resource_for(Deployment))
    assert [(sent.line, sent.body["apiVersion"], sent.body["kind"]) for sent in tap.sent] == [
        ("POST /api/v1/namespaces/ns/pods/a/binding", "v1", "Binding"),
        ("POST /api/v1/namespaces/ns/pods/a/eviction", "policy/v1", "Eviction"),
        ("PUT /apis/apps/v1/namespaces/ns/deployments/a/scale", "autoscaling/v1", "Scale"),
    ]


async def test_each_patch_type_has_its_media_type() -> None:
    tap = Wiretap(*(answer({}) for _ in range(4)))
    c = client(tap)
    await c.patch(Pod, "a", "ns", {"x": 1})
    await c.patch(Pod, "a", "ns", [{"op": "remove", "path": "/x"}], patch_type="json")
    await c.patch(Pod, "a", "ns", {"x": 1}, patch_type="strategic", subresource="status")
    await c.patch(Pod, "a", "ns", {"metadata": {}}, patch_type="apply", force=True, field_manager="me")
    assert [sent.headers["content-type"] for sent in tap.sent] == [
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ]
    assert tap.sent[3].query == {"fieldManager": "me", "force": "true"}
    assert tap.sent[3].body == {"metadata": {}, "apiVersion": "v1", "kind": "Pod"}


async def test_deletes_carry_only_the_options_given() -> None:
    tap = Wiretap()
    c = client(tap)
    await c.delete(Pod, "a", "ns")
    await c.delete(Pod, "a", "ns", grace_period_seconds=0, propagation_policy="Foreground", uid="u")
    assert tap.sent[0].body == {"kind": "DeleteOptions", "apiVersion": "v1"}
    assert tap.sent[1].body == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u"},
    }


async def test_a_list_decodes_its_items_and_says_where_to_go_on() -> None:
    page = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [{"metadata": {"name": "a"}}]}
    result = await client(Wiretap(answer(page))).list(Pod)
    assert (result.items[0].metadata.name, result.items[0].kind) == ("a", "Pod")
    assert (result.resource_version, result.continue_) == ("7", "more")


async def test_metadata_alone_is_asked_for_by_accept() -> None:
    tap = Wiretap(answer({"items": [{"kind": "PartialObjectMetadata", "metadata": {"name": "a"}}]}))
    result = await client(tap).list(PartialObjectMetadata, resource=resource_for(Pod))
    assert tap.sent[0].headers["accept"].startswith("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
    assert result.items[0].kind == "PartialObjectMetadata"


async def test_a_watch_gives_typed_events_and_raises_its_error() -> None:
    tap = Wiretap()
    tap.lines = [
        b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}',
        b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}',
        orjson.dumps({"type": "ERROR", "object": expired("too old").status()}),
    ]
    seen: list[WatchEvent[Pod]] = []
    with pytest.raises(StatusError) as caught:
        async with client(tap).watch(Pod, "ns", resource_version="5", timeout_seconds=60) as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401 - it ends in an exception
    assert caught.value.code == 410
    assert [event.type for event in seen] == ["ADDED", "BOOKMARK"]
    assert (seen[0].object.metadata.name, seen[1].object.metadata.resourceVersion) == ("a", "9")
    assert tap.sent[0].query == {
        "watch": "true",
        "resourceVersion": "5",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "60",
    }


async def test_reviews_are_posted_to_their_own_path() -> None:
    tap = Wiretap(answer({"status": {"authenticated": True}}, 201))
    review = await client(tap).post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {}}, TokenReview)
    assert review.status.authenticated


def test_a_server_that_asks_to_wait_is_obeyed_then_answered() -> None:
    async def main() -> None:
        refusal = too_many_requests("slow down", 3).status()
        waits = {"retry-after": "3"}
        tap = Wiretap(Response(429, waits, orjson.dumps(refusal)), answer({"metadata": {"name": "a"}}))
        c = client(tap)
        assert (await c.get(Pod, "a", "ns")).metadata.name == "a"
        assert c.clock.monotonic() == pytest.approx(3.0)
        tap.answers = [Response(429, {}, orjson.dumps(refusal))]
        with pytest.raises(StatusError, match="slow down"):
            await c.get(Pod, "a", "ns")

    run_virtual(main())


async def test_a_failure_without_a_status_is_explained_by_its_code() -> None:
    with pytest.raises(StatusError) as caught:
        await client(Wiretap(Response(502, {}, b"<html>"))).get(Pod, "a", "ns")
    assert caught.value.code == 502
