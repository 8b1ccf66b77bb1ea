"""Admission policies: parameters, actions, failure policy, patches, and what a policy may say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.policies import GROUP, binding, policy
from tests.unit.server.custom.world import World
from wherry.aio.clock import SystemClock
from wherry.store.local import memory_store

Json = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"
RULES = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}


@asynccontextmanager
async def a_server() -> AsyncIterator[World]:
    world = World(memory_store(SystemClock()))
    await world.server.start()
    try:
        await world.good("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}})
        yield world
    finally:
        await world.server.close()


def a_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def validating(world: World, bound: Json | None = None, **spec: Any) -> None:
    constraints = {"resourceRules": [{**RULES, "operations": ["CREATE", "UPDATE"]}]}
    made = policy("ValidatingAdmissionPolicy", "p", **{"matchConstraints": constraints, **spec})
    await world.good("POST", f"{GROUP}/validatingadmissionpolicies", made)
    more = bound or {"validationActions": ["Deny"]}
    made = binding("ValidatingAdmissionPolicy", "b", "p", **more)
    await world.good("POST", f"{GROUP}/validatingadmissionpolicybindings", made)


async def mutating(world: World, kind: str, text: str, **spec: Any) -> None:
    field = "applyConfiguration" if kind == "ApplyConfiguration" else "jsonPatch"
    mutation = {"patchType": kind, field: {"expression": text}}
    constraints = {"resourceRules": [{**RULES, "operations": ["CREATE"]}]}
    more = {"matchConstraints": constraints, "mutations": [mutation], "reinvocationPolicy": "Never", **spec}
    await world.good("POST", f"{GROUP}/mutatingadmissionpolicies", policy("MutatingAdmissionPolicy", "p", **more))
    bound = binding("MutatingAdmissionPolicy", "b", "p")
    await world.good("POST", f"{GROUP}/mutatingadmissionpolicybindings", bound)


async def test_parameters_come_from_the_object_that_the_binding_names() -> None:
    async with a_server() as world:
        await world.good("POST", MAPS, a_map("limits", most="2"))
        await validating(
            world,
            {"validationActions": ["Deny"], "paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}},
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            validations=[{"expression": "size(object.data) <= int(params.data.most)", "message": "too many"}],
        )
        await world.good("POST", MAPS, a_map("a", one="1", two="2"))
        code, text = await world.refused("POST", MAPS, a_map("b", one="1", two="2", three="3"))
        assert code == 422 and text.endswith("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: too many")
        await world.good("DELETE", f"{MAPS}/limits")
        _, text = await world.refused("POST", MAPS, a_map("c"))
        assert text.endswith(
            "configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )


async def test_warn_lets_the_write_pass_with_a_warning() -> None:
    async with a_server() as world:
        await validating(world, {"validationActions": ["Warn", "Audit"]}, validations=[{"expression": "false"}])
        code, _, headers = await world.call("POST", MAPS, a_map("a"))
        text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false"
        assert code == 201 and text in {key.lower(): value for key, value in headers.items()}["warning"]


@pytest.mark.parametrize(("failure_policy", "code"), [("Fail", 422), ("Ignore", 201)])
async def test_an_expression_that_fails_is_what_the_failure_policy_says(failure_policy: str, code: int) -> None:
    async with a_server() as world:
        await validating(world, failurePolicy=failure_policy, validations=[{"expression": "object.data.no == 'x'"}])
        answer, found, _ = await world.call("POST", MAPS, a_map("a", b="c"))
        assert answer == code
        if code == 422:
            assert "expression 'object.data.no == 'x'' resulted in error: no such key: no" in found["message"]


async def test_conditions_selectors_and_the_authorizer_decide_whom_it_concerns() -> None:
    async with a_server() as world:
        await validating(
            world,
            matchConditions=[{"name": "not-mine", "expression": "!object.metadata.name.startsWith('mine')"}],
            validations=[{"expression": "!authorizer.requestResource.check('create').allowed()"}],
        )
        await world.good("POST", MAPS, a_map("mine"))
        await world.refused("POST", MAPS, a_map("other"))


async def test_a_json_patch_changes_the_object() -> None:
    async with a_server() as world:
        text = "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('a/b'), value: 'x'}]"
        await mutating(world, "JSONPatch", text.replace("jsonpatch.escapeKey('a/b')", "'added'"))
        found = await world.good("POST", MAPS, a_map("a", own="1"))
        assert found["data"] == {"own": "1", "added": "x"}


async def test_an_apply_configuration_must_name_its_types_right() -> None:
    async with a_server() as world:
        await mutating(world, "ApplyConfiguration", "Object{metadata: Object.spec{labels: {'a': 'b'}}}")
        code, text = await world.refused("POST", MAPS, a_map("a"))
        assert code == 403 and text.startswith("policy 'p' with binding 'b' denied request: type mismatch: unexpected")


async def test_an_apply_configuration_leaves_atomic_lists_alone() -> None:
    async with a_server() as world:
        await mutating(world, "ApplyConfiguration", "Object{metadata: Object.metadata{labels: {'a': 'b'}}}")
        found = await world.good("POST", MAPS, a_map("a"))
        assert found["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {"validations": [{"expression": "1"}]},
            "must evaluate to bool but got int",
        ),
        ({"validations": [{"expression": "params.x"}]}, "undeclared reference to 'params' (in container '')"),
        ({"validations": []}, "validations or auditAnnotations must contain at least one item"),
        ({"validations": [{"expression": "true", "reason": "x"}]}, "spec.validations[0].reason: Unsupported value"),
        (
            {"variables": [{"name": "a b", "expression": "1"}], "validations": [{"expression": "true"}]},
            "name is not a valid CEL identifier",
        ),
        (
            {"validations": [{"expression": "true", "messageExpression": "authorizer.path('/')"}]},
            "undeclared reference to 'authorizer'",
        ),
    ],
)
async def test_a_policy_is_looked_at_when_it_is_written(spec: Json, text: str) -> None:
    async with a_server() as world:
        made = policy("ValidatingAdmissionPolicy", "p", **spec)
        code, message = await world.refused("POST", f"{GROUP}/validatingadmissionpolicies", made)
        assert code == 422 and text in message
