"""matchConditions: one false is a no, an error is what the failure policy says."""

from collections.abc import Awaitable

import pytest

from tests.unit.server.rules.world import Objects, attributes
from wherry.api import core_v1 as core
from wherry.api.admissionregistration_v1 import MatchCondition
from wherry.meta.object import ObjectMeta
from wherry.server.admission.plugin import Attributes
from wherry.server.cel.conditions import (
    ConditionError,
    answered,
    compile_conditions,
    condition_faults,
    evaluate,
    inputs,
)
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.rbac.authorizer import Held, Verdict


class Readers:
    """Lets everybody get, and nothing else."""

    def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict | Awaitable[Verdict]:
        return info.verb == "get", "readers only"

    def rules_for(self, user: UserInfo, namespace: str) -> Held:
        return Held()


class Slow(Readers):
    """Asks somebody else first."""

    async def authorize(self, user: UserInfo, info: RequestInfo) -> Verdict:
        return info.verb == "get", "readers only"


def a_request() -> Attributes:
    namespace = core.Namespace(metadata=ObjectMeta(name="d", labels={"team": "a"}))
    pod = core.Pod(metadata=ObjectMeta(name="p", namespace="d", labels={"app": "x"}))
    return attributes(pod, Objects(namespace))


def matches(*texts: str, policy: str = "Fail") -> bool:
    conditions = compile_conditions([MatchCondition(name=str(at), expression=text) for at, text in enumerate(texts)])
    return evaluate(conditions, inputs(a_request(), Readers()), policy)


@pytest.mark.parametrize(
    "text",
    [
        "object.metadata.labels.app == 'x' && oldObject == null",
        "request.operation == 'CREATE' && request.resource.resource == 'pods' && request.kind.kind == 'Pod'",
        "request.userInfo.username == 'admin' && !has(request.subResource) && !request.dryRun",
        "namespaceObject.metadata.labels['team'] == 'a'",
        "authorizer.group('').resource('pods').namespace('d').check('get').allowed()",
        "!authorizer.requestResource.check('delete').allowed()",
        "authorizer.path('/healthz').check('post').reason() == 'readers only'",
    ],
)
def test_a_condition_sees_the_request(text: str) -> None:
    assert matches(text)


async def test_an_authorizer_may_take_its_time() -> None:
    text = "authorizer.requestResource.check('get').allowed() && !authorizer.path('/x').check('post').allowed()"
    conditions = compile_conditions([MatchCondition(name="a", expression=text)])
    variables = inputs(a_request(), Slow())
    assert await answered(lambda: evaluate(conditions, variables))


def test_one_false_outweighs_an_error() -> None:
    assert not matches("object.spec.nothing == 1", "false")


def test_an_error_refuses_under_fail_and_skips_under_ignore() -> None:
    with pytest.raises(ConditionError) as caught:
        matches("object.nothing == 1", "true")
    assert str(caught.value) == "expression 'object.nothing == 1' resulted in error: no such key: nothing"
    assert not matches("object.nothing == 1", policy="Ignore")


def test_conditions_are_bounded_together() -> None:
    hundred = "[" + ",".join(map(str, range(100))) + "]"
    loop = f"{hundred}.all(a, {hundred}.all(b, {hundred}.exists(c, c == 20)))"
    with pytest.raises(ConditionError, match="validation failed due to running out of cost budget"):
        matches(*[loop] * 8)


def test_faults_name_the_condition() -> None:
    found = condition_faults(
        "webhooks[0].matchConditions",
        [
            MatchCondition(name="a", expression="1"),
            MatchCondition(name="a", expression="object.x"),
            MatchCondition(name="-", expression=""),
        ],
    )
    text = [str(item) for item in found]
    assert text[0] == 'webhooks[0].matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int'
    assert text[1].endswith("must evaluate to bool but got dyn")
    assert text[2] == 'webhooks[0].matchConditions[1].name: Duplicate value: "a"'
    assert text[3] == "webhooks[0].matchConditions[2].expression: Required value"
    assert text[4].startswith('webhooks[0].matchConditions[2].name: Invalid value: "-": name part must consist of')
