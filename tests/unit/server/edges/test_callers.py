"""Certificates, static tokens, impersonation, and what grants may grant."""

import base64
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.server.edges.worlds import ObjectCaches, StandingClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Secret
from wherry.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject
from wherry.api.registry import resource_for
from wherry.meta.errors import StatusError
from wherry.meta.object import ObjectMeta
from wherry.server.admission.plugin import Attributes
from wherry.server.audit.events import Event, add_request
from wherry.server.audit.policy import Verdict
from wherry.server.authn.bootstrap_tokens import BootstrapTokens
from wherry.server.authn.static_tokens import StaticTokens
from wherry.server.filters.authentication import AuthenticationFilter
from wherry.server.filters.impersonation import Impersonated, ImpersonationFilter
from wherry.server.http import Request, RequestInfo, UserInfo
from wherry.server.rbac import bootstrap
from wherry.server.rbac.authorizer import Masters, RbacAuthorizer, Union
from wherry.server.rbac.escalation import EscalationCheck
from wherry.server.strategies.strategy import RequestContext

CLOCK = StandingClock()
BEARER = "base64url.bearer.authorization.k8s.io."


def identify(request: Request, tokens: StaticTokens | None = None) -> UserInfo:
    AuthenticationFilter(CLOCK, [], [tokens] if tokens else []).apply(request)
    assert request.user is not None
    return request.user


def test_nobody_is_anonymous() -> None:
    user = identify(Request("GET", "/"))
    assert (user.name, user.groups) == ("system:anonymous", ["system:unauthenticated"])


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "/", headers={"authorization": "Bearer nonsense"}),
        Request("GET", "/", headers={"upgrade": "websocket", "sec-websocket-protocol": f"{BEARER}bm9wZQ, v5.x"}),
        Request("GET", "/", headers={"upgrade": "websocket", "sec-websocket-protocol": f"{BEARER}c2VjcmV0"}),
        Request("GET", "/", headers={"upgrade": "websocket", "sec-websocket-protocol": f"{BEARER}a, {BEARER}b, v5.x"}),
    ],
    ids=["unknown token", "unknown websocket token", "no other protocol", "two tokens"],
)
def test_broken_credentials_are_unauthorized(request_: Request) -> None:
    with pytest.raises(StatusError) as caught:
        identify(request_)
    assert caught.value.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
        "code": 401,
    }


def test_a_websocket_s_token_goes_no_further(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("secret,ann,7\n")
    tokens = StaticTokens.read(tmp_path / "tokens")
    pairs = [("upgrade", "websocket"), ("sec-websocket-protocol", f"v5.x, {BEARER}c2VjcmV0, v4.x")]
    request = Request("GET", "/", headers=dict(pairs), pairs=pairs)
    assert identify(request, tokens).name == "ann"
    assert request.headers["sec-websocket-protocol"] == "v5.x, v4.x"
    assert request.pairs == [("upgrade", "websocket"), ("sec-websocket-protocol", "v5.x, v4.x")]
    plain = Request("GET", "/", headers={"sec-websocket-protocol": f"v5.x, {BEARER}c2VjcmV0"})
    assert identify(plain, tokens).name == "system:anonymous"


@pytest.mark.parametrize(("header", "name"), [("Bearer  secret", "system:anonymous"), ("bearer secret x", "ann")])
def test_spaces_in_the_header_count_as_upstream(tmp_path: Path, header: str, name: str) -> None:
    (tmp_path / "tokens").write_text("secret,ann,7\n")
    request = Request("GET", "/", headers={"authorization": header})
    assert identify(request, StaticTokens.read(tmp_path / "tokens")).name == name


def test_attempts_are_counted_by_result_and_kind_of_user(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a,ann@example.org,7\nb,admin,8\nc,ann,9\n")
    filtering = AuthenticationFilter(CLOCK, tokens=[StaticTokens.read(tmp_path / "tokens")], anonymous=False)
    for header in ("Bearer a", "Bearer b", "Bearer c", "Bearer d", ""):
        with suppress(StatusError):
            filtering.apply(Request("GET", "/", headers={"authorization": header}))
    found = {
        (item.name, *item.labels.values()): item.value for family in filtering.collect() for item in family.samples
    }
    assert found == {
        ("authenticated_user_requests", "email_id"): 1,
        ("authenticated_user_requests", "admin"): 1,
        ("authenticated_user_requests", "other"): 1,
        ("authentication_attempts", "success"): 3,
        ("authentication_attempts", "failure"): 1,
        ("authentication_attempts", "error"): 1,
    }


def test_claims_without_a_name_are_refused_and_strange_headers_ignored() -> None:
    by = ImpersonationFilter(rbac())
    assert by.apply(Request("GET", "/", headers={"impersonate-foo": "x"})) is None
    request = Request("GET", "/", headers={"impersonate-group": "dev", "impersonate-extra-a": "b"})
    with pytest.raises(StatusError) as caught:
        by.apply(request)
    assert (caught.value.code, caught.value.message) == (
        400,
        'requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, '
        'Extra:map[string][]string{"a":[]string{"b"}}} without impersonating a user name',
    )


def test_a_token_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text('secret,ann,7,"dev,ops"\nother,bob,8\n')
    tokens = StaticTokens.read(tmp_path / "tokens")
    user = identify(Request("GET", "/", headers={"authorization": "Bearer secret"}), tokens)
    assert (user.name, user.uid, user.groups) == ("ann", "7", ["dev", "ops", "system:authenticated"])
    (tmp_path / "tokens").write_text("secret,ann\n")
    with pytest.raises(ValueError, match="tokens:1"):
        StaticTokens.read(tmp_path / "tokens")


def test_a_bootstrap_token_joins_until_it_expires() -> None:
    texts = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "expiration": "2026-01-01T01:00:00Z",
        "auth-extra-groups": "system:bootstrappers:worker",
    }
    data = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    metadata = ObjectMeta(name="bootstrap-token-abcdef", namespace="kube-system")
    secret = Secret(metadata=metadata, type="bootstrap.kubernetes.io/token", data=data)
    clock = StandingClock()
    tokens = BootstrapTokens(ObjectCaches(secret), clock)
    found = tokens.verify("abcdef.0123456789abcdef", [])
    assert found is not None and found.user == UserInfo(
        "system:bootstrap:abcdef", "", ["system:bootstrappers", "system:bootstrappers:worker"], {}
    )
    assert tokens.verify("abcdef.0123456789abcdee", []) is None
    assert tokens.verify("abcdeg.0123456789abcdef", []) is None
    clock.passed = 3600
    assert tokens.verify("abcdef.0123456789abcdef", []) is None


def rbac(*objects: ClusterRole | Role | ClusterRoleBinding | RoleBinding) -> RbacAuthorizer:
    authorizer = RbacAuthorizer()
    authorizer.load(ObjectCaches(*bootstrap.objects(), *objects))
    return authorizer


def granting(user: str, role: str, *rules: PolicyRule) -> list[ClusterRole | ClusterRoleBinding]:
    binding = ClusterRoleBinding(
        metadata=ObjectMeta(name=f"{user}-{role}"),
        roleRef=RoleRef(apiGroup=bootstrap.GROUP, kind="ClusterRole", name=role),
        subjects=[Subject(kind="User", name=user)],
    )
    return [ClusterRole(metadata=ObjectMeta(name=role), rules=list(rules)), binding] if rules else [binding]


async def test_impersonation_needs_the_verb_for_every_claim() -> None:
    rule = PolicyRule(verbs=["impersonate"], apiGroups=[""], resources=["users"], resourceNames=["bob"])
    apply = ImpersonationFilter(rbac(*granting("ann", "as-bob", rule))).apply

    async def claim(**headers: str) -> UserInfo | None:
        named = {f"impersonate-{name}": value for name, value in headers.items()}
        request = Request("GET", "/", headers=named, user=UserInfo("ann", groups=["system:authenticated"]))
        pending = apply(request)
        assert pending is not None
        await pending
        return request.user

    assert await claim(user="bob") == UserInfo("bob", "", ["system:authenticated"], {})
    for headers in ({"user": "eve"}, {"user": "bob", "group": "ops"}, {"user": "bob", "uid": "1"}):
        with pytest.raises(StatusError) as caught:
            await claim(**headers)
        assert caught.value.code == 403
    assert caught.value.message == (
        'uids.authentication.k8s.io "1" is forbidden: User "ann" cannot impersonate resource "uids" '
        'in API group "authentication.k8s.io" at the cluster scope'
    )
    with pytest.raises(StatusError) as caught:
        await claim(group="ops")
    assert caught.value.code == 400


async def test_impersonation_reads_repeated_headers_as_they_come_from_the_wire() -> None:
    rule = PolicyRule(verbs=["impersonate"], apiGroups=["", "authentication.k8s.io"], resources=["*"])
    pairs = [("impersonate-user", "bob"), ("impersonate-group", "dev"), ("impersonate-group", "ops")]
    pairs.append(("impersonate-extra-scopes%2fa", "x"))
    request = Request("GET", "/", headers=dict(pairs), pairs=pairs, user=UserInfo("ann"))
    pending = ImpersonationFilter(rbac(*granting("ann", "as-anyone", rule))).apply(request)
    assert pending is not None
    await pending
    assert request.user == UserInfo("bob", "", ["dev", "ops", "system:authenticated"], {"scopes/a": ["x"]})
    with pytest.raises(StatusError):
        ImpersonationFilter(Masters()).apply(Request("GET", "/", headers={"impersonate-group": "dev"}))


def write(
    authorizer: RbacAuthorizer, obj: ClusterRole | Role | ClusterRoleBinding | RoleBinding, user: str
) -> tuple[EscalationCheck, Attributes]:
    check = EscalationCheck(Union(Masters(), authorizer), authorizer.index)
    who = UserInfo(user, groups=["system:authenticated"])
    ctx = RequestContext(who, CLOCK, Entropy(1), ObjectCaches())
    namespace, name = obj.metadata.namespace or "", obj.metadata.name or ""
    kind = resource_for(type(obj))
    return check, Attributes("CREATE", kind, kind, "", namespace, name, obj, None, who, False, {}, ctx)


async def test_nobody_grants_what_they_do_not_hold() -> None:
    holding = PolicyRule(verbs=["get", "list"], apiGroups=[""], resources=["pods"])
    authorizer = rbac(*granting("ann", "pod-reader", holding))
    good = Role(metadata=ObjectMeta(name="r", namespace="a"), rules=[holding])
    check, attributes = write(authorizer, good, "ann")
    await check.validate(attributes)
    more = PolicyRule(verbs=["get", "delete", "create"], apiGroups=[""], resources=["pods"])
    check, attributes = write(authorizer, Role(metadata=ObjectMeta(name="r", namespace="a"), rules=[more]), "ann")
    with pytest.raises(StatusError) as caught:
        await check.validate(attributes)
    assert caught.value.message == (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting '
        'to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["create" "delete"]}'
    )


async def test_binding_needs_the_rules_or_the_verb() -> None:
    authorizer = rbac()
    binding = RoleBinding(
        metadata=ObjectMeta(name="b", namespace="a"),
        roleRef=RoleRef(apiGroup=bootstrap.GROUP, kind="ClusterRole", name="view"),
        subjects=[Subject(kind="User", name="bob")],
    )
    check, attributes = write(authorizer, binding, "ann")
    with pytest.raises(StatusError) as caught:
        await check.validate(attributes)
    assert caught.value.code == 403
    verb = PolicyRule(verbs=["bind"], apiGroups=[bootstrap.GROUP], resources=["clusterroles"], resourceNames=["view"])
    for item in granting("ann", "binder", verb):
        if isinstance(item, ClusterRole):
            authorizer.role_changed(None, item)
        else:
            authorizer.binding_changed(None, item)
    await check.validate(attributes)
    binding.roleRef.name = "ghost"
    with pytest.raises(StatusError) as caught:
        await check.validate(attributes)
    assert (caught.value.code, caught.value.message) == (
        404,
        'clusterroles.rbac.authorization.k8s.io "ghost" not found',
    )


# Constrained impersonation (KEP-5284)


def constrained(*rules: tuple[str, str, str, str]) -> ImpersonationFilter:
    """Ann may: verb, API group, resource, name."""
    granted = [
        PolicyRule(verbs=[verb], apiGroups=[group], resources=[kind], resourceNames=[name] if name else [])
        for verb, group, kind, name in rules
    ]
    return ImpersonationFilter(rbac(*granting("ann", "constrained", *granted)))


async def impersonate(by: ImpersonationFilter, verb: str, real: UserInfo | None = None, **headers: str) -> UserInfo:
    named = {f"impersonate-{name}": value for name, value in headers.items()}
    request = Request("GET", "/", headers=named, user=real or UserInfo("ann", groups=["system:authenticated"]))
    request.info = RequestInfo(verb, "", "v1", "pods", "", "shop", "p", True)
    pending = by.apply(request)
    assert pending is not None and request.user is not None
    await pending
    return request.user


AUTHENTICATION = "authentication.k8s.io"


async def test_constrained_impersonation_allows_one_request_and_not_another() -> None:
    by = constrained(
        ("impersonate:user-info", AUTHENTICATION, "users", "bob"), ("impersonate-on:user-info:list", "", "pods", "")
    )
    bob = await impersonate(by, "list", user="bob")
    assert isinstance(bob, Impersonated) and bob.constraint == "impersonate:user-info"
    assert bob.groups == ["system:authenticated"]
    request = Request("GET", "/", user=bob)
    event: Event = {}
    add_request(event, request, UserInfo("ann"), Verdict(1))
    assert event["authenticationMetadata"] == {"impersonationConstraint": "impersonate:user-info"}
    with pytest.raises(StatusError) as caught:
        await impersonate(constrained(("get", "", "pods", "")), "list", user="bob")
    assert caught.value.message == (
        'pods "p" is forbidden: User "ann" cannot impersonate-on:user-info:list resource "pods" in API group "" '
        'in the namespace "shop"'
    )
    for verb, user, uid in (("delete", "bob", ""), ("list", "eve", ""), ("list", "bob", "1")):
        with pytest.raises(StatusError):
            await impersonate(by, verb, user=user, uid=uid)


async def test_nobody_becomes_a_master_by_constrained_impersonation() -> None:
    by = constrained(
        ("impersonate:user-info", AUTHENTICATION, "*", ""), ("impersonate-on:user-info:list", "", "pods", "")
    )
    with pytest.raises(StatusError) as caught:
        await impersonate(by, "list", user="bob", group="system:masters")
    assert caught.value.message.endswith("impersonating the system:masters group is not allowed")


async def test_nodes_and_accounts_have_modes_of_their_own() -> None:
    by = constrained(
        ("impersonate:arbitrary-node", AUTHENTICATION, "nodes", "n1"),
        ("impersonate-on:arbitrary-node:get", "", "pods", ""),
        ("impersonate:serviceaccount", AUTHENTICATION, "serviceaccounts", "robot"),
        ("impersonate-on:serviceaccount:get", "", "pods", ""),
    )
    node = await impersonate(by, "get", user="system:node:n1")
    assert node.groups == ["system:nodes", "system:authenticated"]
    robot = await impersonate(by, "get", user="system:serviceaccount:shop:robot")
    assert robot.groups == ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]
    with pytest.raises(StatusError):
        await impersonate(by, "get", user="system:node:n2")


async def test_an_agent_may_be_the_node_it_runs_on() -> None:
    rules = [
        PolicyRule(verbs=["impersonate:associated-node"], apiGroups=[AUTHENTICATION], resources=["nodes"]),
        PolicyRule(verbs=["impersonate-on:associated-node:get"], apiGroups=[""], resources=["pods"]),
    ]
    agent = "system:serviceaccount:kube-system:agent"
    by = ImpersonationFilter(rbac(*granting(agent, "agent", *rules)))
    on = {"authentication.kubernetes.io/node-name": ["n1"]}
    assert (await impersonate(by, "get", UserInfo(agent, extra=on), user="system:node:n1")).name == "system:node:n1"
    with pytest.raises(StatusError):
        await impersonate(by, "get", UserInfo(agent, extra=on), user="system:node:n2")
