"""FlowSchema and PriorityLevelConfiguration as API objects: what is there, what is refused, what conditions say."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.server.core.conftest import Api
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.server.app import Server
from wherry.server.http import Request, UserInfo
from wherry.server.routes import request_info
from wherry.store.local import memory_store

GROUP = "/apis/flowcontrol.apiserver.k8s.io/v1"
SCHEMAS, LEVELS = f"{GROUP}/flowschemas", f"{GROUP}/prioritylevelconfigurations"
Json = dict[str, Any]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy)
    await server.start()
    yield Api(server, store)
    await server.close()
    await store.close()


async def until(check: Any) -> Any:
    async with asyncio.timeout(5):
        while True:
            found = await check()
            if found:
                return found
            await asyncio.sleep(0.01)


async def dangling(api: Api, name: str) -> Json:
    async def check() -> Any:
        answer = await api.send("GET", f"{SCHEMAS}/{name}")
        if answer.status != 200:
            return None
        conditions = (await api.ok("GET", f"{SCHEMAS}/{name}")).get("status", {}).get("conditions", [])
        return next((item for item in conditions if item["type"] == "Dangling"), None)

    found: Json = await until(check)
    return found


def level(name: str = "jam", shares: int = 1, **limited: Any) -> Json:
    limited = {"nominalConcurrencyShares": shares, "limitResponse": {"type": "Reject"}, **limited}
    return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}}


def schema(name: str = "jam", level: str = "jam", user: str = "bob") -> Json:
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    policy = {"subjects": [{"kind": "User", "user": {"name": user}}], "resourceRules": [rule]}
    spec = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": 50, "rules": [policy]}
    return {"metadata": {"name": name}, "spec": spec}


async def test_the_suggested_objects_are_there_and_none_dangles(api: Api) -> None:
    condition = await dangling(api, "catch-all")
    assert (condition["status"], condition["reason"]) == ("False", "Found")
    schemas = (await api.ok("GET", SCHEMAS))["items"]
    assert len(schemas) == 13
    assert {item["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] for item in schemas} == {"true"}
    assert len((await api.ok("GET", LEVELS))["items"]) == 8


async def test_a_schema_without_its_level_says_so_until_the_level_comes(api: Api) -> None:
    await api.ok("POST", SCHEMAS, schema())
    condition = await dangling(api, "jam")
    assert (condition["status"], condition["reason"]) == ("True", "NotFound")
    assert condition["message"].endswith('object named "jam" but there is no such object')
    await api.ok("POST", LEVELS, level())

    async def found() -> bool:
        return bool((await dangling(api, "jam"))["status"] == "False")

    await until(found)


async def test_a_level_without_seats_answers_429_and_tells_whose_it_is(api: Api) -> None:
    made = [await api.ok("POST", LEVELS, level(borrowingLimitPercent=0)), await api.ok("POST", SCHEMAS, schema())]
    user = UserInfo("bob", groups=["system:authenticated"])
    occupied = Request("GET", "/api/v1/pods", user=user)
    occupied.info = request_info(occupied)
    gate = api.server.traffic.gate
    seats = [gate.enter(occupied) for _ in range(3)]  # 600 seats in 246 shares
    answer = await api.server.transport(user).request("GET", "/api/v1/pods")
    assert answer.status == 429
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-kubernetes-pf-prioritylevel-uid"] == made[0]["metadata"]["uid"]
    assert answer.headers["x-kubernetes-pf-flowschema-uid"] == made[1]["metadata"]["uid"]
    for seat in seats:
        assert seat is not None
        gate.leave(seat, 0.1)
    answer = await api.server.transport(user).request("GET", "/api/v1/pods")
    assert answer.status == 403
    assert answer.headers["x-kubernetes-pf-flowschema-uid"] == made[1]["metadata"]["uid"]
    text = (await api.send("GET", "/metrics")).body.decode()
    rejected = 'apiserver_flowcontrol_rejected_requests_total{flow_schema="jam",priority_level="jam"'
    assert f'{rejected},reason="concurrency-limit"}} 1.0' in text
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="jam"} 3.0' in text


async def test_dumps_show_levels_queues_and_requests(api: Api) -> None:
    await api.send("GET", "/api/v1/pods")
    root = "/debug/api_priority_and_fairness"
    levels = (await api.send("GET", f"{root}/dump_priority_levels")).body.decode().splitlines()
    assert levels[0].split() == [
        *("PriorityLevelName,", "ActiveQueues,", "IsIdle,", "IsQuiescing,", "WaitingRequests,", "ExecutingRequests")
    ]
    assert [line.split()[0] for line in levels[1:]][:2] == ["catch-all,", "exempt,"]
    queues = (await api.send("GET", f"{root}/dump_queues")).body.decode().splitlines()
    assert sum(line.startswith("workload-low,") for line in queues) == 128
    requests = await api.send("GET", f"{root}/dump_requests", includeRequestDetails="1")
    assert requests.body.decode().split()[-1] == "SubResource"


async def test_a_suggested_object_that_was_taken_over_is_left_alone(api: Api) -> None:
    await dangling(api, "service-accounts")
    found = await api.ok("GET", f"{LEVELS}/workload-low")
    found["metadata"]["annotations"] = {"apf.kubernetes.io/autoupdate-spec": "false"}
    found["spec"]["limited"]["nominalConcurrencyShares"] = 7
    await api.ok("PUT", f"{LEVELS}/workload-low", found)
    server = Server(api.store, SystemClock(), Entropy(2))
    await server.start()
    try:
        again = Api(server, api.store)
        assert (await again.ok("GET", f"{LEVELS}/workload-low"))["spec"]["limited"]["nominalConcurrencyShares"] == 7
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (level(lendablePercent=101), "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100"),
        (level("exempt"), "type must be 'Exempt' if and only if name is 'exempt'"),
        (
            level(limitResponse={"type": "Queue", "queuing": {"queues": 2, "handSize": 3, "queueLengthLimit": 1}}),
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 3: should not be greater than queues (2)",
        ),
        (
            level(limitResponse={"type": "Queue", "queuing": {"queues": 512, "handSize": 8, "queueLengthLimit": 1}}),
            "required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
        ),
        (level(limitResponse={"type": "Queue"}), "must not be empty if limited.limitResponse.type is Limited"),
        ({"metadata": {"name": "x"}, "spec": {"type": "Limited"}}, "must not be empty when type is Limited"),
    ],
)
async def test_a_level_that_cannot_work_is_refused(api: Api, body: Json, message: str) -> None:
    assert message in (await api.refused(422, "POST", LEVELS, body))["message"]


async def test_a_schema_that_cannot_work_is_refused(api: Api) -> None:
    body = schema()
    body["spec"] |= {"matchingPrecedence": 1, "priorityLevelConfiguration": {}, "distinguisherMethod": {"type": "X"}}
    body["spec"]["rules"] = [{"subjects": [{"kind": "User"}], "nonResourceRules": [{"verbs": ["eat"]}]}]
    message = (await api.refused(422, "POST", SCHEMAS, body))["message"]
    for part in (
        "only the schema named 'exempt' may have matchingPrecedence 1",
        "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
        'spec.distinguisherMethod.type: Unsupported value: "X"',
        "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
        "spec.rules[0].nonResourceRules[0].verbs: Unsupported value",
        "spec.rules[0].nonResourceRules[0].nonResourceURLs: Required value",
    ):
        assert part in message


async def test_a_mandatory_object_keeps_its_spec(api: Api) -> None:
    await dangling(api, "catch-all")
    found = await api.ok("GET", f"{LEVELS}/catch-all")
    found["spec"]["limited"]["nominalConcurrencyShares"] = 50
    message = (await api.refused(422, "PUT", f"{LEVELS}/catch-all", found))["message"]
    assert "spec of 'catch-all' must equal the fixed value" in message
    exempt = await api.ok("GET", f"{LEVELS}/exempt")
    exempt["spec"]["exempt"]["nominalConcurrencyShares"] = 5
    await api.ok("PUT", f"{LEVELS}/exempt", exempt)
