"""Admission webhooks: who is asked what, in which order, and what their answers do."""

from typing import Any

import pytest

from tests.unit.server.webhooks.hooks import (
    ANY_CONFIGMAP,
    GROUP,
    Json,
    allow,
    configmap,
    deny,
    hooked,
    patching,
    setting,
)
from wherry.meta.errors import forbidden
from wherry.server.admission.plugin import AdmissionPlugin, Attributes
from wherry.server.options import ServerOptions

MAPS = "/api/v1/namespaces/default/configmaps"


async def test_a_webhook_sees_everything_about_a_write() -> None:
    async with hooked() as world:
        await world.add("validating", "v", allow)
        await world.ok("POST", MAPS, configmap("a", labels={"l": "1"}), fieldManager="me")
        await world.ok("PATCH", f"{MAPS}/a", {"data": {"more": "1"}})
        await world.ok("DELETE", f"{MAPS}/a", {"gracePeriodSeconds": 0})
        create, update, delete = world.asked["v"]
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    assert create["kind"] == create["requestKind"] == kind
    assert create["resource"] == create["requestResource"] == resource
    assert (create["operation"], create["name"], create["namespace"]) == ("CREATE", "a", "default")
    assert create["userInfo"] == {"username": "system:apiserver", "groups": ["system:masters", "system:authenticated"]}
    assert create["object"]["data"] == {"start": "yes"}
    assert create["object"]["metadata"]["uid"]
    assert create["oldObject"] is None and create["dryRun"] is False
    assert create["options"]["kind"] == "CreateOptions" and create["options"]["fieldManager"] == "me"
    assert update["oldObject"]["data"] == {"start": "yes"}
    assert update["object"]["data"] == {"start": "yes", "more": "1"}
    assert update["options"]["kind"] == "UpdateOptions"
    assert delete["object"] is None and delete["oldObject"]["data"]["more"] == "1"
    assert delete["options"] == {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 0}


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        ({"message": "no"}, 400, 'admission webhook "v.webhook.test" denied the request: no'),
        ({"message": "no", "code": 403, "reason": "Forbidden"}, 403, "denied the request: no"),
        ({"reason": "Forbidden"}, 400, "denied the request: Forbidden"),
        ({"message": "no", "code": 200}, 400, "denied the request: no"),
        ({}, 400, 'admission webhook "v.webhook.test" denied the request without explanation'),
    ],
)
async def test_a_denial_is_the_webhooks_status(status: Json, code: int, says: str) -> None:
    async with hooked() as world:
        await world.add("validating", "v", lambda _: {"allowed": False, "status": status})
        assert says in await world.refused(code, "POST", MAPS, configmap("a"))
        assert (await world.send("GET", f"{MAPS}/a")).status == 404


async def test_mutations_add_up_in_the_order_of_configurations() -> None:
    async with hooked() as world:
        await world.add("mutating", "second", patching({"op": "test", "path": "/data/one", "value": "1"}, ADD_TWO))
        await world.add("mutating", "first", setting("one", "1"))
        made = await world.ok("POST", MAPS, configmap("a"))
    assert made["data"] == {"start": "yes", "one": "1", "two": "2"}


ADD_TWO = {"op": "add", "path": "/data/two", "value": "2"}


async def test_who_was_asked_before_a_change_is_asked_again_if_it_wants() -> None:
    async with hooked() as world:
        await world.add("mutating", "a-again", allow, reinvocationPolicy="IfNeeded")
        await world.add("mutating", "b-once", allow)
        await world.add("mutating", "c-changes", setting("late", "1"))
        await world.ok("POST", MAPS, configmap("a"))
        seen = [sorted(item["object"]["data"]) for item in world.asked["a-again"]]
        assert seen == [["start"], ["late", "start"]]
        assert len(world.asked["b-once"]) == len(world.asked["c-changes"]) == 1


async def test_defaults_are_filled_in_after_a_mutation() -> None:
    container = {"op": "add", "path": "/spec/initContainers", "value": [{"name": "init", "image": "app"}]}
    async with hooked() as world:
        rule = ANY_CONFIGMAP | {"resources": ["pods"], "operations": ["CREATE"]}
        await world.add("mutating", "m", patching(container), rules=[rule])
        await world.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "app"}]}}
        made = await world.ok("POST", "/api/v1/namespaces/default/pods", pod)
        assert made["spec"]["initContainers"][0]["terminationMessagePath"] == "/dev/termination-log"
        # The service account's plugin ran again over what the webhook added.
        assert made["spec"]["initContainers"][0]["volumeMounts"] == made["spec"]["containers"][0]["volumeMounts"]


async def test_a_mutation_that_breaks_the_object_is_validated_like_any_other() -> None:
    async with hooked() as world:
        await world.add("mutating", "m", patching({"op": "add", "path": "/data/not a key", "value": "x"}))
        assert "a valid config key must consist of" in await world.refused(422, "POST", MAPS, configmap("a"))


async def test_validating_webhooks_see_the_final_object_and_the_first_refusal_counts() -> None:
    async with hooked() as world:
        await world.add("mutating", "m", setting("mutated", "1"))
        await world.add("validating", "b", deny("second"))
        await world.add("validating", "a", deny("first"))
        assert (await world.refused(400, "POST", MAPS, configmap("a"))).endswith(": first")
        assert world.asked["b"][0]["object"]["data"]["mutated"] == "1"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda _: {"uid": "other", "allowed": True}, 'expected response.uid="'),
        (lambda _: {"allowed": True, "patch": "W10="}, "webhook returned response.patch but not response.patchType"),
        (lambda _: {"allowed": True, "patchType": "JSONPatch"}, "response.patchType but not response.patch"),
        (lambda _: {"allowed": True, "patch": "!", "patchType": "JSONPatch"}, "undecodable patch"),
        (lambda _: {"allowed": True, "patch": "e30=", "patchType": "JSONPatch"}, "undecodable patch"),
        (lambda _: {"allowed": True, "patch": "W10=", "patchType": "Merge"}, 'unsupported patch type "Merge"'),
    ],
    ids=["another's uid", "no patch type", "no patch", "no base64", "no list", "unknown type"],
)
async def test_an_answer_that_does_not_count_fails_the_write(reply: Any, says: str) -> None:
    async with hooked() as world:
        await world.add("mutating", "m", reply)
        message = await world.refused(500, "POST", MAPS, configmap("a"))
    begin = 'Internal error occurred: failed calling webhook "m.webhook.test": received invalid webhook response: '
    assert message.startswith(begin)
    assert says in message


async def test_a_validating_webhook_may_not_patch() -> None:
    async with hooked() as world:
        await world.add("validating", "v", setting("x", "1"))
        message = await world.refused(500, "POST", MAPS, configmap("a"))
    assert "validating webhook may not return response.patch" in message


async def test_a_patch_that_does_not_apply_is_an_internal_error() -> None:
    async with hooked() as world:
        await world.add("mutating", "m", patching({"op": "remove", "path": "/data/nothing"}))
        await world.refused(500, "POST", MAPS, configmap("a"))


async def test_a_delete_cannot_be_patched() -> None:
    async with hooked() as world:
        await world.ok("POST", MAPS, configmap("a"))
        await world.add("mutating", "m", setting("x", "1"), rules=[ANY_CONFIGMAP | {"operations": ["DELETE"]}])
        message = await world.refused(500, "DELETE", f"{MAPS}/a")
    assert "attempted to modify the object, which is not supported for this operation" in message


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_a_webhook_that_hangs_is_weighed_by_its_failure_policy(policy: str) -> None:
    async with hooked() as world:
        await world.add("validating", "hang", allow, failurePolicy=policy, timeoutSeconds=1)
        if policy == "Ignore":
            await world.ok("POST", MAPS, configmap("a"))
        else:
            message = await world.refused(500, "POST", MAPS, configmap("a"))
            assert 'failed calling webhook "hang.webhook.test": failed to call webhook: Post "https://' in message
            assert message.endswith('/hang?timeout=1s": context deadline exceeded')


async def test_a_bundle_that_is_no_certificate_fails_closed() -> None:
    async with hooked() as world:
        webhook = world.webhook("v")
        webhook["clientConfig"]["caBundle"] = "bm9uZQ=="
        await world.configure("validating", "v", webhook)
        message = await world.refused(500, "POST", MAPS, configmap("a"))
    assert "could not get REST client: unable to load root certificates" in message


async def test_a_dry_run_is_refused_where_the_webhook_would_act() -> None:
    async with hooked() as world:
        await world.add("validating", "v", allow, sideEffects="NoneOnDryRun")
        await world.ok("POST", MAPS, configmap("a"), dryRun="All")
        assert world.asked["v"][0]["dryRun"] is True


async def test_warnings_reach_the_client_and_annotations_the_audit() -> None:
    async with hooked() as world:
        await world.add("validating", "v", lambda _: {"allowed": True, "warnings": ["mind the gap"]})
        answer = await world.send("POST", MAPS, configmap("a"))
    assert answer.headers["warning"] == '299 - "mind the gap"'


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({}, True),
        ({"rules": [ANY_CONFIGMAP | {"operations": ["UPDATE"]}]}, False),
        ({"rules": [ANY_CONFIGMAP | {"apiVersions": ["v2"]}]}, False),
        ({"rules": [ANY_CONFIGMAP | {"apiGroups": ["apps"]}]}, False),
        ({"rules": [ANY_CONFIGMAP | {"resources": ["*/*"], "apiGroups": ["*"], "apiVersions": ["*"]}]}, True),
        ({"rules": [ANY_CONFIGMAP | {"resources": ["configmaps/status"]}]}, False),
        ({"rules": [ANY_CONFIGMAP | {"scope": "Cluster"}]}, False),
        ({"rules": [ANY_CONFIGMAP | {"scope": "Namespaced"}]}, True),
        ({"objectSelector": {"matchLabels": {"l": "1"}}}, True),
        ({"objectSelector": {"matchLabels": {"l": "2"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}, False),
    ],
)  # fmt: skip
async def test_rules_and_selectors_choose(more: Json, asked: bool) -> None:
    async with hooked() as world:
        await world.add("validating", "v", allow, **more)
        await world.ok("POST", MAPS, configmap("a", labels={"l": "1"}))
        assert bool(world.asked.get("v")) is asked


@pytest.mark.parametrize(
    ("expression", "code"),
    [("object.data.start == 'yes'", 400), ("object.data.start == 'no'", 201), ("object.data.nothing == 'x'", 403)],
    ids=["matches", "does not match", "fails"],
)
async def test_conditions_choose(expression: str, code: int) -> None:
    async with hooked() as world:
        conditions = [{"name": "started", "expression": expression}]
        await world.add("validating", "v", deny("asked"), matchConditions=conditions)
        assert (await world.send("POST", MAPS, configmap("a"))).status == code


async def test_conditions_that_do_not_compile_are_refused() -> None:
    async with hooked() as world:
        conditions = [{"name": "broken", "expression": "object.("}]
        body = {"metadata": {"name": "c"}, "webhooks": [world.webhook("v", matchConditions=conditions)]}
        message = await world.refused(422, "POST", f"{GROUP}/validatingwebhookconfigurations", body)
    assert "webhooks[0].matchConditions[0].expression: Invalid value" in message and "compilation failed" in message


async def test_another_version_is_shown_where_the_rule_names_one() -> None:
    rule = {"operations": ["*"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["*"]}
    scaler: Json = {
        "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3},
    }
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    async with hooked() as world:
        patch = patching({"op": "add", "path": "/spec/targetCPUUtilizationPercentage", "value": 7})
        await world.add("mutating", "equivalent", patch, rules=[rule])
        await world.add("validating", "exact", allow, rules=[rule], matchPolicy="Exact")
        made = await world.ok("POST", path, scaler)
        assert made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 7
        seen = world.asked["equivalent"][0]
        assert seen["kind"]["version"] == seen["resource"]["version"] == "v1"
        assert seen["requestKind"]["version"] == seen["requestResource"]["version"] == "v2"
        assert seen["object"]["apiVersion"] == "autoscaling/v1"
        assert "exact" not in world.asked


async def test_subresources_show_their_own_kinds() -> None:
    def rule(*resources: str) -> Json:
        return {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": list(resources)}

    labels = {"app": "d"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "app"}]}}
    deployment = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    apps = "/apis/apps/v1/namespaces/default/deployments"
    async with hooked() as world:
        await world.add("validating", "v", allow, rules=[rule("deployments/scale", "pods/binding", "pods/attach")])
        await world.ok("POST", apps, deployment)
        await world.ok("PATCH", f"{apps}/d/scale", {"spec": {"replicas": 3}})
        await world.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        await world.ok("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}, "spec": template["spec"]})
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
        await world.ok("POST", "/api/v1/namespaces/default/pods/p/binding", binding)
        await world.send("GET", "/api/v1/namespaces/default/pods/p/attach", stdin="true", container="main")
        scale, bound, attach = world.asked["v"]
    assert (scale["operation"], scale["kind"]["kind"], scale["object"]["spec"]) == ("UPDATE", "Scale", {"replicas": 3})
    assert (bound["operation"], bound["kind"]["kind"], bound["subResource"]) == ("CREATE", "Binding", "binding")
    assert bound["object"]["target"]["name"] == "n"
    assert attach["operation"] == "CONNECT" and attach["options"] is None
    wanted = {"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": True, "container": "main"}
    assert attach["object"] == wanted


async def test_every_object_of_a_collection_is_asked_about() -> None:
    async with hooked() as world:
        await world.add("validating", "v", lambda it: {"allowed": it["operation"] != "DELETE" or it["name"] != "b"})
        for name in ("a", "b", "c"):
            await world.ok("POST", MAPS, configmap(name))
        await world.refused(400, "DELETE", MAPS)
        assert [item["name"] for item in world.asked["v"][3:]] == ["a", "b", "c"]
        assert (await world.send("GET", f"{MAPS}/b")).status == 200


async def test_configurations_themselves_are_never_intercepted() -> None:
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    async with hooked() as world:
        await world.add("validating", "v", deny("no"), rules=[everything])
        await world.refused(400, "POST", MAPS, configmap("a"))
        await world.ok("DELETE", f"{GROUP}/validatingwebhookconfigurations/v")
        await world.ok("POST", MAPS, configmap("a"))


async def test_the_first_version_that_both_speak_is_spoken() -> None:
    async with hooked() as world:
        await world.add("validating", "v", allow, admissionReviewVersions=["v2", "v1beta1", "v1"])
        await world.ok("POST", MAPS, configmap("a"))
        assert world.party.asked[0]["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_nobody_is_asked_and_nothing_looked_up_while_nothing_is_configured() -> None:
    async with hooked() as world:
        await world.ok("POST", MAPS, configmap("a"))
        tables = world.server.writer._mutating, world.server.writer._validating
        names = {plugin.name for table in tables for plugins in table.values() for plugin in plugins}
    assert not {"MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"} & names


async def test_a_function_is_an_admission_plugin() -> None:
    async def stamp(attributes: Attributes) -> None:
        if attributes.resource.plural == "configmaps" and attributes.object is not None:
            if attributes.object.data.get("secret"):
                raise forbidden("configmaps", attributes.name, "secrets belong in Secrets")
            attributes.object.data["stamped"] = "yes"

    async with hooked(ServerOptions(admission=[stamp])) as world:
        assert (await world.ok("POST", MAPS, configmap("a")))["data"]["stamped"] == "yes"
        refusal = await world.refused(403, "POST", MAPS, {"metadata": {"name": "b"}, "data": {"secret": "x"}})
    assert refusal == 'configmaps "b" is forbidden: secrets belong in Secrets'


async def test_a_class_is_an_admission_plugin() -> None:
    class NoDeletes(AdmissionPlugin):
        name = "NoDeletes"
        kinds = frozenset({("", "configmaps")})

        def handles(self, operation: str) -> bool:
            return operation == "DELETE"

        async def validate(self, attributes: Attributes) -> None:
            raise forbidden("configmaps", attributes.name, "nothing is ever deleted")

    async with hooked(ServerOptions(admission=[NoDeletes()])) as world:
        await world.ok("POST", MAPS, configmap("a"))
        assert "nothing is ever deleted" in await world.refused(403, "DELETE", f"{MAPS}/a")
