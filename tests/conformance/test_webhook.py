"""webhook.go: admission webhooks deny, mutate, time out and are administered."""

from typing import Any

import pytest

from tests.conformance.entry import conformance
from tests.unit.server.webhooks.hooks import GROUP, Hooked, Json, allow, configmap, deny, hooked, patching, setting

CORE = "/api/v1/namespaces/default"
MAPS, PODS = f"{CORE}/configmaps", f"{CORE}/pods"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
THINGS = "/apis/stable.example.com/v1/namespaces/default/things"
KINDS = ("mutating", "validating")


def rule(group: str, resource: str, *operations: str, version: str = "*") -> Json:
    return {
        "operations": list(operations), "apiGroups": [group], "apiVersions": [version], "resources": [resource],
    }  # fmt: skip


def pod(name: str, container: str = "main") -> Json:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": container, "image": "registry.test/app:1"}]}}


def definition(*versions: str, stored: str = "v1", **data: Any) -> Json:
    properties = {"data": {"type": "object", **data}}
    preserved = {"x-kubernetes-preserve-unknown-fields": True} if not data else {}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties, **preserved}}
    schema["openAPIV3Schema"]["properties"]["data"] |= preserved  # type: ignore[index]
    made = [{"name": it, "served": True, "storage": it == stored, "schema": schema} for it in versions]
    names = {"plural": "things", "kind": "Thing"}
    spec = {"group": "stable.example.com", "scope": "Namespaced", "names": names, "versions": made}
    return {"metadata": {"name": "things.stable.example.com"}, "spec": spec}


async def define(world: Hooked, *versions: str, **data: Any) -> None:
    await world.ok("POST", CRDS, definition(*versions, **data))
    await world.server.custom.settled()


def thing(name: str, **data: str) -> Json:
    return {"apiVersion": "stable.example.com/v1", "kind": "Thing", "metadata": {"name": name}, "data": data}


async def service_account(world: Hooked) -> None:
    await world.ok("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})


def unwanted(asked: Json) -> Json:
    """Denies what says webhook-e2e-test: webhook-disallow."""
    found = "webhook-disallow" in str((asked["object"] or {}).get("data"))
    if asked["operation"] == "DELETE":
        found = "webhook-nondeletable" in str(asked["oldObject"].get("data"))
    return {"allowed": not found, "status": {"reason": "the custom resource contains unwanted data"}}


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should include webhook resources in "
    "discovery documents [Conformance]"
)
async def test_discovery_has_webhook_configurations() -> None:
    async with hooked() as world:
        groups = (await world.ok("GET", "/apis"))["groups"]
        assert {"groupVersion": "admissionregistration.k8s.io/v1", "version": "v1"} in next(
            it["versions"] for it in groups if it["name"] == "admissionregistration.k8s.io"
        )
        names = [it["name"] for it in (await world.ok("GET", GROUP))["resources"]]
    assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= set(names)


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny pod and configmap "
    "creation [Conformance]"
)
async def test_pods_and_configmaps_are_denied() -> None:
    async with hooked() as world:
        await service_account(world)
        await world.add("validating", "deny", deny("contains unwanted data"), rules=[rule("", "pods", "CREATE")])
        await world.add("validating", "maps", unwanted, rules=[rule("", "configmaps", "CREATE", "UPDATE", "DELETE")])
        assert "contains unwanted data" in await world.refused(400, "POST", PODS, pod("a"))
        bad = {"metadata": {"name": "a"}, "data": {"webhook-e2e-test": "webhook-disallow"}}
        assert "the custom resource contains unwanted data" in await world.refused(400, "POST", MAPS, bad)
        await world.ok("POST", MAPS, configmap("b"))
        await world.refused(400, "PUT", f"{MAPS}/b", bad | {"metadata": {"name": "b"}})
        await world.refused(400, "PATCH", f"{MAPS}/b", {"data": bad["data"]})


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny attaching pod [Conformance]"
)
async def test_attaching_is_denied() -> None:
    async with hooked() as world:
        await service_account(world)
        await world.ok("POST", PODS, pod("to-be-attached", "container1"))
        text = "attaching to pod 'to-be-attached' is not allowed"
        await world.add("validating", "attach", deny(text), rules=[rule("", "pods/attach", "CONNECT")])
        path = f"{PODS}/to-be-attached/attach"
        assert text in await world.refused(400, "GET", path, stdin="true", container="container1")
        assert world.asked["attach"][0]["object"]["container"] == "container1"


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny custom resource "
    "creation, update and deletion [Conformance]"
)
async def test_custom_resources_are_denied() -> None:
    async with hooked() as world:
        await define(world, "v1")
        everything = rule("stable.example.com", "things", "CREATE", "UPDATE", "DELETE")
        await world.add("validating", "deny", unwanted, rules=[everything])
        await world.refused(400, "POST", THINGS, thing("a", x="webhook-disallow"))
        await world.ok("POST", THINGS, thing("b", x="webhook-nondeletable"))
        await world.refused(400, "PATCH", f"{THINGS}/b", {"data": {"x": "webhook-disallow"}})
        assert "unwanted data" in await world.refused(400, "DELETE", f"{THINGS}/b")
        await world.ok("PATCH", f"{THINGS}/b", {"data": {"x": "fine"}})
        await world.ok("DELETE", f"{THINGS}/b")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should unconditionally reject operations "
    "on fail closed webhook [Conformance]"
)
async def test_a_webhook_that_cannot_be_reached_closes() -> None:
    async with hooked() as world:
        webhook = world.webhook("closed", failurePolicy="Fail")
        webhook["clientConfig"] = {"service": {"name": "nobody", "namespace": "default", "path": "/x"}}
        await world.configure("validating", "closed", webhook)
        message = await world.refused(500, "POST", MAPS, configmap("a"))
    assert 'failed calling webhook "closed.webhook.test"' in message and 'services "nobody" not found' in message


@conformance("[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate configmap [Conformance]")
async def test_configmaps_are_mutated_in_stages() -> None:
    async with hooked() as world:
        await world.add("mutating", "one", setting("mutation-stage-1", "yes"))
        await world.add("mutating", "two", lambda it: (
            setting("mutation-stage-2", "yes")(it) if "mutation-stage-1" in it["object"]["data"] else allow(it)
        ))  # fmt: skip
        made = await world.ok("POST", MAPS, configmap("a"))
    assert made["data"] == {"start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate pod and apply defaults "
    "after mutation [Conformance]"
)
async def test_pods_get_defaults_after_mutation() -> None:
    init = {"op": "add", "path": "/spec/initContainers", "value": [{"image": "webhook-added", "name": "added"}]}
    async with hooked() as world:
        await service_account(world)
        await world.add("mutating", "init", patching(init), rules=[rule("", "pods", "CREATE")])
        made = (await world.ok("POST", PODS, pod("a")))["spec"]["initContainers"][0]
    assert (made["name"], made["terminationMessagePolicy"]) == ("added", "File")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should not be able to mutate or prevent "
    "deletion of webhook configuration objects [Conformance]"
)
async def test_configurations_are_beyond_reach() -> None:
    everything = [rule("*", "*", "*")]
    label = patching({"op": "add", "path": "/metadata/labels", "value": {"e2e": "x"}})
    async with hooked() as world:
        await world.add("validating", "deny", deny("no"), rules=everything)
        await world.add("mutating", "label", label, rules=everything)
        for kind in KINDS:
            made = await world.configure(kind, "dummy", world.webhook("dummy"))
            assert "labels" not in made["metadata"]
            await world.ok("DELETE", f"{GROUP}/{kind}webhookconfigurations/dummy")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource [Conformance]"
)
async def test_custom_resources_are_mutated() -> None:
    async with hooked() as world:
        await define(world, "v1")
        of_things = [rule("stable.example.com", "things", "CREATE", "UPDATE")]
        await world.add("mutating", "one", setting("mutation-stage-1", "yes"), rules=of_things)
        await world.add("mutating", "two", setting("mutation-stage-2", "yes"), rules=of_things)
        made = await world.ok("POST", THINGS, thing("a", start="yes"))
    assert made["data"] == {"start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with "
    "different stored version [Conformance]"
)
async def test_custom_resources_are_mutated_in_either_storage_version() -> None:
    async with hooked() as world:
        await define(world, "v1", "v2")
        of_things = [rule("stable.example.com", "things", "CREATE", "UPDATE", version="v1")]
        await world.add("mutating", "one", setting("mutation-stage-1", "yes"), rules=of_things)
        await world.ok("POST", THINGS, thing("a", start="yes"))
        versions = definition("v1", "v2", stored="v2")["spec"]["versions"]
        await world.ok("PATCH", f"{CRDS}/things.stable.example.com", {"spec": {"versions": versions}})
        await world.server.custom.settled()
        patch = {"data": {"other": "dummy"}}
        made = await world.ok("PATCH", THINGS.replace("/v1/", "/v2/") + "/a", patch)
    assert made["apiVersion"] == "stable.example.com/v2"
    assert made["data"] == {"start": "yes", "mutation-stage-1": "yes", "other": "dummy"}


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with "
    "pruning [Conformance]"
)
async def test_what_a_webhook_adds_is_pruned() -> None:
    async with hooked() as world:
        text = {"type": "string"}
        await define(world, "v1", properties={"start": text, "mutation-stage-1": text})
        of_things = [rule("stable.example.com", "things", "CREATE", "UPDATE")]
        await world.add("mutating", "one", setting("mutation-stage-1", "yes"), rules=of_things)
        await world.add("mutating", "two", setting("mutation-stage-2", "yes"), rules=of_things)
        made = await world.ok("POST", THINGS, thing("a", start="yes"))
    assert made["data"] == {"start": "yes", "mutation-stage-1": "yes"}


@conformance("[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should deny crd creation [Conformance]")
async def test_definitions_are_denied() -> None:
    async with hooked() as world:
        of_definitions = [rule("apiextensions.k8s.io", "*", "CREATE")]
        await world.add("validating", "crd", deny("the crd contains unwanted label"), rules=of_definitions)
        assert "the crd contains unwanted label" in await world.refused(400, "POST", CRDS, definition("v1"))


@conformance("[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should honor timeout [Conformance]")
async def test_timeouts_are_honored() -> None:
    async with hooked() as world:
        await world.add("validating", "hang", allow, timeoutSeconds=1, failurePolicy="Fail")
        assert "context deadline exceeded" in await world.refused(500, "POST", MAPS, configmap("a"))
        patch = {"webhooks": [world.webhook("hang", timeoutSeconds=1, failurePolicy="Ignore")]}
        await world.ok("PATCH", f"{GROUP}/validatingwebhookconfigurations/hang", patch)
        await world.ok("POST", MAPS, configmap("a"))
        unset = await world.configure("validating", "unset", world.webhook("unset"))
    assert unset["webhooks"][0]["timeoutSeconds"] == 10


async def _patched(kind: str) -> None:
    async with hooked() as world:
        world.replies["w"] = setting("x", "1") if kind == "mutating" else deny("no")
        path = f"{GROUP}/{kind}webhookconfigurations/w"
        made = await world.configure(kind, "w", world.webhook("w"))

        async def acts(name: str) -> bool:
            answer = await world.send("POST", MAPS, configmap(name))
            return answer.status >= 400 or b'"x":"1"' in answer.body

        assert await acts("a")
        made["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
        await world.ok("PUT", path, made)
        assert not await acts("b")
        await world.ok("PATCH", path, {"webhooks": [world.webhook("w")]})
        assert await acts("c")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a validating webhook "
    "should work [Conformance]"
)
async def test_a_validating_configuration_changes() -> None:
    await _patched("validating")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a mutating webhook "
    "should work [Conformance]"
)
async def test_a_mutating_configuration_changes() -> None:
    await _patched("mutating")


async def _listed(kind: str) -> None:
    async with hooked() as world:
        path = f"{GROUP}/{kind}webhookconfigurations"
        for index in range(3):
            webhook = world.webhook("w")
            body = {"metadata": {"name": f"w{index}", "labels": {"e2e": "list"}}, "webhooks": [webhook]}
            await world.ok("POST", path, body)
        world.replies["w"] = setting("x", "1") if kind == "mutating" else deny("no")
        assert len((await world.ok("GET", path, labelSelector="e2e=list"))["items"]) == 3
        answer = await world.send("POST", MAPS, configmap("a"))
        assert answer.status == 400 if kind == "validating" else b'"x":"1"' in answer.body
        await world.ok("DELETE", path, labelSelector="e2e=list")
        assert (await world.ok("GET", path))["items"] == []
        assert (await world.ok("POST", MAPS, configmap("b")))["data"] == {"start": "yes"}


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing validating webhooks should work "
    "[Conformance]"
)
async def test_validating_configurations_are_listed_and_deleted() -> None:
    await _listed("validating")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing mutating webhooks should work [Conformance]"
)
async def test_mutating_configurations_are_listed_and_deleted() -> None:
    await _listed("mutating")


async def _with_conditions(kind: str) -> None:
    async with hooked() as world:
        conditions = [{"name": "skip", "expression": "object.metadata.name != 'skip-me'"}]
        path = f"{GROUP}/{kind}webhookconfigurations/w"
        made = await world.configure(kind, "w", world.webhook("w", matchConditions=conditions))
        assert made["webhooks"][0]["matchConditions"] == conditions
        made["webhooks"][0]["matchConditions"].append({"name": "second", "expression": "true"})
        updated = await world.ok("PUT", path, made)
        assert len(updated["webhooks"][0]["matchConditions"]) == 2


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update "
    "validating webhook configurations with match conditions [Conformance]"
)
async def test_validating_conditions_are_kept() -> None:
    await _with_conditions("validating")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update "
    "mutating webhook configurations with match conditions [Conformance]"
)
async def test_mutating_conditions_are_kept() -> None:
    await _with_conditions("mutating")


async def _with_broken_conditions(kind: str) -> None:
    async with hooked() as world:
        conditions = [{"name": "broken", "expression": "... [] bad expression"}]
        body = {"metadata": {"name": "w"}, "webhooks": [world.webhook("w", matchConditions=conditions)]}
        message = await world.refused(422, "POST", f"{GROUP}/{kind}webhookconfigurations", body)
    assert "compilation failed" in message


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject validating webhook "
    "configurations with invalid match conditions [Conformance]"
)
async def test_broken_validating_conditions_are_refused() -> None:
    await _with_broken_conditions("validating")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject mutating webhook "
    "configurations with invalid match conditions [Conformance]"
)
async def test_broken_mutating_conditions_are_refused() -> None:
    await _with_broken_conditions("mutating")


@conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate everything except 'skip-me' "
    "configmaps [Conformance]"
)
@pytest.mark.parametrize(("name", "mutated"), [("skip-me", False), ("a", True)])
async def test_conditions_skip_by_name(name: str, mutated: bool) -> None:
    async with hooked() as world:
        conditions = [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]
        await world.add("mutating", "w", setting("mutation-stage-1", "yes"), matchConditions=conditions)
        made = await world.ok("POST", MAPS, configmap(name))
    assert ("mutation-stage-1" in made["data"]) is mutated
