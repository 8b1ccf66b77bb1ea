"""The audit log: who is recorded, how much, when, and where it goes."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.unit.server.core.conftest import Api
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.server.app import Server
from wherry.server.audit.events import source_addresses
from wherry.server.audit.logfile import LogFile
from wherry.server.audit.options import AuditOptions
from wherry.server.audit.policy import LEVELS, Policy, PolicyError
from wherry.server.audit.webhook import BatchOptions
from wherry.server.http import Request, UserInfo
from wherry.server.options import ServerOptions
from wherry.server.routes import request_info
from wherry.server.traffic import TrafficOptions
from wherry.store.local import memory_store

Json = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"
EVERYTHING = [{"level": "RequestResponse"}]


def policy(rules: list[Json], **more: Any) -> Policy:
    return Policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules, **more}, "policy.yaml")


@asynccontextmanager
async def audited(audit: AuditOptions) -> AsyncIterator[Api]:
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy, ServerOptions(traffic=TrafficOptions(audit=audit), bootstrap=False))
    await server.start()
    try:
        api = Api(server, store)
        await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}})
        yield api
    finally:
        await server.close()
        await store.close()


def lines(path: Path, uri: str = MAPS) -> list[Json]:
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return [event for event in events if event["requestURI"].startswith(uri)]


def verdict(rules: list[Json], path: str, method: str = "GET", user: str = "bob", **more: Any) -> str:
    request = Request(method, path)
    info = request_info(request)
    found = policy(rules, **more).verdict(UserInfo(user, groups=["dev", "system:authenticated"]), info)
    return LEVELS[found.level]


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [
        ({}, "/healthz", True),
        ({"users": ["bob"]}, MAPS, True),
        ({"users": ["eve"]}, MAPS, False),
        ({"userGroups": ["dev"]}, MAPS, True),
        ({"verbs": ["watch"]}, MAPS, False),
        ({"namespaces": ["default"]}, MAPS, True),
        ({"namespaces": [""]}, "/api/v1/nodes", True),
        ({"namespaces": ["default"]}, "/healthz", False),
        ({"resources": [{"group": "", "resources": ["configmaps"]}]}, MAPS, True),
        ({"resources": [{"group": "apps"}]}, MAPS, False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, "/api/v1/namespaces/a/pods/x/log", False),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, "/api/v1/namespaces/a/pods/x/log", True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, "/api/v1/namespaces/a/pods/x/log", True),
        (
            {"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["y"]}]},
            "/api/v1/namespaces/a/pods/x",
            False,
        ),
        ({"nonResourceURLs": ["/health*"]}, "/healthz", True),
        ({"nonResourceURLs": ["*"]}, MAPS, False),
    ],
)
def test_a_rule_matches_what_it_names(rule: Json, path: str, matches: bool) -> None:
    assert verdict([{"level": "Request", **rule}], path) == ("Request" if matches else "None")


def test_the_first_rule_decides() -> None:
    assert verdict([{"level": "None", "users": ["bob"]}, {"level": "Metadata"}], MAPS) == "None"
    assert verdict([{"level": "None", "users": ["eve"]}, {"level": "Metadata"}], MAPS) == "Metadata"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not an audit policy"),
        ({"kind": "Policy", "apiVersion": "audit.k8s.io/v1beta1"}, "use audit.k8s.io/v1"),
        ({"kind": "Policy", "apiVersion": "audit.k8s.io/v1"}, "0 rules"),
        ({"kind": "Policy", "apiVersion": "audit.k8s.io/v1", "rules": [{"level": "All"}]}, 'Unsupported value: "All"'),
        (
            {
                "kind": "Policy",
                "apiVersion": "audit.k8s.io/v1",
                "rules": [{"level": "None", "namespaces": ["a"], "nonResourceURLs": ["/x"]}],
            },
            "both regular resources and non-resource URLs",
        ),
        (
            {"kind": "Policy", "apiVersion": "audit.k8s.io/v1", "rules": [{"level": "None", "omitStages": ["End"]}]},
            'Unsupported value: "End"',
        ),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(value: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Policy(value, "policy.yaml")


async def test_an_event_tells_who_asked_what_and_how_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "audit" / "audit.log"
    async with audited(AuditOptions(policy(EVERYTHING, omitManagedFields=True), str(log))) as api:
        await api.ok("POST", MAPS, {"metadata": {"name": "one"}, "data": {"a": "1"}})
        bob = api.server.transport(UserInfo("bob"))
        await bob.request("GET", f"{MAPS}/one", headers={"User-Agent": "curl/8", "Audit-ID": "mine"})
    created, refused = lines(log)[1], lines(log, f"{MAPS}/one")[-1]
    assert created["stage"] == "ResponseComplete"
    assert created["user"] == {"username": "admin", "groups": ["system:masters", "system:authenticated"]}
    assert created["objectRef"] == {
        "resource": "configmaps",
        "namespace": "default",
        "name": "one",
        "apiVersion": "v1",
    }
    assert created["responseStatus"] == {"metadata": {}, "code": 201}
    assert created["requestObject"]["data"] == {"a": "1"}
    assert created["responseObject"]["metadata"]["uid"]
    assert "managedFields" not in created["responseObject"]["metadata"]
    assert created["sourceIPs"] == ["127.0.0.1"]
    assert created["annotations"] == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
    assert refused["auditID"] == "mine"
    assert refused["userAgent"] == "curl/8"
    assert refused["responseStatus"]["reason"] == "Forbidden"
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    stages = [event["stage"] for event in lines(log, f"{MAPS}/one")]
    assert stages == ["RequestReceived", "ResponseComplete"]


async def test_metadata_says_nothing_of_contents_and_stages_can_be_left_out(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    async with audited(AuditOptions(policy([{"level": "Metadata"}], omitStages=["RequestReceived"]), str(log))) as api:
        await api.ok("POST", MAPS, {"metadata": {"name": "one"}, "data": {"secret": "1"}})
        assert 'apiserver_audit_level_total{level="Metadata"}' in (await api.send("GET", "/metrics")).body.decode()
    (event,) = lines(log)
    assert "requestObject" not in event and "responseObject" not in event


async def test_impersonation_names_both(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    async with audited(AuditOptions(policy(EVERYTHING), str(log))) as api:
        await api.transport.request("GET", MAPS, headers={"Impersonate-User": "eve"})
    event = lines(log)[-1]
    assert (event["user"]["username"], event["impersonatedUser"]["username"]) == ("admin", "eve")


async def test_a_watch_is_recorded_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    options, query = AuditOptions(policy(EVERYTHING), str(log)), {"watch": "1"}
    async with audited(options) as api, api.transport.stream("GET", MAPS, query=query):
        assert [event["stage"] for event in lines(log)] == ["RequestReceived", "ResponseStarted"]
    stages = [event["stage"] for event in lines(log)]
    assert stages == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_a_request_of_nobody_known_is_recorded(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    async with audited(AuditOptions(policy(EVERYTHING), str(log))) as api:
        await api.server.handle(Request("GET", MAPS, headers={"authorization": "Bearer wrong"}))
    (event,) = lines(log)
    assert event["responseStatus"]["message"] == "Authentication failed"
    assert event["responseStatus"]["code"] == 401


async def test_the_legacy_format_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    async with audited(AuditOptions(policy([{"level": "Metadata"}]), str(log), log_format="legacy")) as api:
        await api.send("GET", MAPS)
    line = log.read_text().splitlines()[-1]
    assert ' AUDIT: id="' in line
    assert 'method="list" user="admin" groups="system:masters","system:authenticated" as="<self>"' in line
    assert line.endswith(f'namespace="default" uri="{MAPS}" response="200"')


def test_addresses_on_the_way_are_named_before_the_last() -> None:
    headers = {"x-forwarded-for": "10.0.0.1, nonsense, 10.0.0.2", "x-real-ip": "10.0.0.2"}
    assert source_addresses(headers, "127.0.0.1") == ["10.0.0.1", "10.0.0.2", "127.0.0.1"]


class _Fixed(SystemClock):
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


async def test_files_rotate_by_size_and_old_ones_go(tmp_path: Path) -> None:
    clock, path = _Fixed(), tmp_path / "audit.log"
    log = LogFile(str(path), clock, size_max_megabytes=1, backups_max=2, compress=True)
    for second in range(5):
        clock.time = clock.time.replace(second=second)
        log.put({"blob": "x" * (1 << 20)})
    await log.close()
    names = sorted(item.name for item in tmp_path.iterdir())
    assert names == ["audit-2026-01-01T00-00-03.000.log.gz", "audit-2026-01-01T00-00-04.000.log.gz", "audit.log"]
    assert orjson.loads(gzip.decompress((tmp_path / names[0]).read_bytes()))["blob"]
    aged = LogFile(str(path), clock, size_max_megabytes=1, age_max_days=1)
    clock.time = clock.time.replace(day=3)
    aged.put({"blob": "x"})
    assert len(list(tmp_path.iterdir())) == 2
    await aged.close()


async def test_a_webhook_gets_batches_and_a_full_buffer_counts_what_it_loses(tmp_path: Path) -> None:
    batches: list[Json] = []
    failing, arrived = 1, asyncio.Event()

    async def receive(request: web.BaseRequest) -> web.Response:
        nonlocal failing
        if failing:
            failing -= 1
            return web.Response(status=500)
        arrived.set()
        batches.append(orjson.loads(await request.read()))
        return web.Response()

    listener = await asyncio.get_running_loop().create_server(web.Server(receive), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    config = tmp_path / "webhook.yaml"
    config.write_text(
        f"""{{apiVersion: v1, kind: Config, current-context: a, users: [{{name: a, user: {{}}}}],
        contexts: [{{name: a, context: {{cluster: a, user: a}}}}],
        clusters: [{{name: a, cluster: {{server: "http://127.0.0.1:{port}/events"}}}}]}}"""
    )
    batch = BatchOptions(buffer_size=5, size_max=2, wait_seconds=0.01, throttle_qps=1000, retry_seconds=0.01)
    options = AuditOptions(policy([{"level": "Metadata"}]), webhook_config=config, batch=batch)
    async with audited(options) as api:
        async with asyncio.timeout(5):
            await arrived.wait()
        for _ in range(8):
            await api.send("GET", MAPS)
        text = (await api.send("GET", "/metrics")).body.decode()
    listener.close()
    assert batches[0]["kind"] == "EventList" and batches[0]["apiVersion"] == "audit.k8s.io/v1"
    assert len(batches[0]["items"]) == 2
    assert all(len(one["items"]) <= 2 for one in batches)
    lost = next(line for line in text.splitlines() if line.startswith('apiserver_audit_error_total{plugin="webhook"}'))
    assert float(lost.split()[-1]) > 0
