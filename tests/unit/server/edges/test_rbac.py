"""Who may do what: evaluation, the bootstrap policy, the words of a refusal."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

import pytest

from tests.unit.server.edges.worlds import ObjectCaches, StandingClock
from wherry.aio.entropy import Entropy
from wherry.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject
from wherry.client.client import Client
from wherry.client.transport import Response
from wherry.meta.errors import StatusError
from wherry.meta.object import KubernetesObject, ObjectMeta
from wherry.meta.wire import decode
from wherry.server.filters.authorization import AuthorizationFilter
from wherry.server.http import Request, RequestInfo, UserInfo
from wherry.server.rbac import bootstrap
from wherry.server.rbac.authorizer import Masters, RbacAuthorizer, Union


def ask(verb: str, resource: str, namespace: str = "", name: str = "", group: str = "", sub: str = "") -> RequestInfo:
    return RequestInfo(verb, group, "v1", resource, sub, namespace, name, True)


def path(verb: str, url: str) -> RequestInfo:
    return RequestInfo(verb=verb, path=url)


@pytest.fixture(scope="module")
def bootstrapped() -> RbacAuthorizer:
    authorizer = RbacAuthorizer()
    authorizer.load(ObjectCaches(*bootstrap.objects()))
    return authorizer


def bind(
    authorizer: RbacAuthorizer, role: str, user: str, namespace: str | None = None
) -> RoleBinding | ClusterRoleBinding:
    kind = RoleBinding if namespace else ClusterRoleBinding
    binding = kind(
        metadata=ObjectMeta(name=f"{user}-{role}", namespace=namespace),
        roleRef=RoleRef(apiGroup=bootstrap.GROUP, kind="ClusterRole", name=role),
        subjects=[Subject(kind="User", name=user, apiGroup=bootstrap.GROUP)],
    )
    authorizer.binding_changed(None, binding)
    return binding


def fresh() -> RbacAuthorizer:
    authorizer = RbacAuthorizer()
    authorizer.load(ObjectCaches(*bootstrap.objects()))
    return authorizer


def test_the_bootstrap_policy_is_whole(bootstrapped: RbacAuthorizer) -> None:
    names = {item.metadata.name for item in bootstrap.cluster_roles()}
    assert {"cluster-admin", "admin", "edit", "view", "system:node", "system:controller:job-controller"} <= names
    assert len(names) > 65
    for item in bootstrap.objects():
        assert item.metadata.labels["kubernetes.io/bootstrapping"] == "rbac-defaults"
        if isinstance(item, ClusterRoleBinding):
            assert item.roleRef.name in names


def test_wrapped_table_lines_are_joined() -> None:
    edit = next(role for role in bootstrap.cluster_roles() if role.metadata.name == "system:aggregate-to-edit")
    services = next(rule for rule in edit.rules if "services" in rule.resources)
    assert services.resources[-1] == "services/proxy" and services.resources[0] == "configmaps"
    binding = next(
        o for o in bootstrap.objects() if o.metadata.name == "system:extension-apiserver-authentication-reader"
    )
    assert isinstance(binding, RoleBinding)
    assert [s.name for s in binding.subjects] == ["system:kube-controller-manager", "system:kube-scheduler"]


def test_admin_is_edit_is_view_and_more(bootstrapped: RbacAuthorizer) -> None:
    roles = {role.metadata.name: role for role in bootstrap.cluster_roles()}
    for rule in roles["view"].rules:
        assert rule in roles["edit"].rules
    for rule in roles["edit"].rules:
        assert rule in roles["admin"].rules
    assert roles["admin"].aggregationRule is not None


def test_view_reads_pods_but_not_secrets_in_its_namespace_only() -> None:
    authorizer = fresh()
    bind(authorizer, "view", "ann", "shop")
    ann = UserInfo("ann", groups=["system:authenticated"])
    allowed, reason = authorizer.authorize(ann, ask("list", "pods", "shop"))
    assert allowed
    assert reason == 'RBAC: allowed by RoleBinding "ann-view/shop" of ClusterRole "view" to User "ann"'
    assert not authorizer.authorize(ann, ask("list", "pods", "other"))[0]
    assert not authorizer.authorize(ann, ask("list", "pods"))[0]
    assert not authorizer.authorize(ann, ask("get", "secrets", "shop", "x"))[0]
    assert authorizer.authorize(ann, ask("get", "pods", "shop", "p", sub="log"))[0]
    assert not authorizer.authorize(ann, ask("create", "pods", "shop", sub="exec"))[0]


def test_a_removed_binding_is_forgotten_at_once() -> None:
    authorizer = fresh()
    binding = bind(authorizer, "view", "ann", "shop")
    ann = UserInfo("ann")
    assert authorizer.authorize(ann, ask("list", "pods", "shop"))[0]
    authorizer.binding_changed(binding, None)
    assert not authorizer.authorize(ann, ask("list", "pods", "shop"))[0]


def test_resource_names_limit_to_those_objects_and_never_cover_lists() -> None:
    authorizer = RbacAuthorizer()
    role = Role(
        metadata=ObjectMeta(name="one", namespace="shop"),
        rules=[PolicyRule(verbs=["get", "list"], apiGroups=[""], resources=["secrets"], resourceNames=["a"])],
    )
    authorizer.role_changed(None, role)
    authorizer.binding_changed(
        None,
        RoleBinding(
            metadata=ObjectMeta(name="b", namespace="shop"),
            roleRef=RoleRef(kind="Role", name="one"),
            subjects=[Subject(kind="ServiceAccount", name="robot")],
        ),
    )
    robot = UserInfo("system:serviceaccount:shop:robot")
    allowed, reason = authorizer.authorize(robot, ask("get", "secrets", "shop", "a"))
    assert allowed and reason == 'RBAC: allowed by RoleBinding "b/shop" of Role "one" to ServiceAccount "robot/shop"'
    assert not authorizer.authorize(robot, ask("get", "secrets", "shop", "b"))[0]
    assert not authorizer.authorize(robot, ask("list", "secrets", "shop"))[0]


@pytest.mark.parametrize(
    ("resources", "resource", "sub", "expected"),
    [
        (["*"], "pods", "log", True),
        (["*/scale"], "deployments", "scale", True),
        (["*/scale"], "deployments", "", False),
        (["pods"], "pods", "log", False),
        (["pods/*"], "pods", "log", False),
    ],
)
def test_wildcards_match_as_upstream(resources: list[str], resource: str, sub: str, expected: bool) -> None:
    authorizer = RbacAuthorizer()
    authorizer.role_changed(
        None,
        ClusterRole(
            metadata=ObjectMeta(name="r"), rules=[PolicyRule(verbs=["*"], apiGroups=["*"], resources=resources)]
        ),
    )
    bind(authorizer, "r", "ann")
    allowed, _ = authorizer.authorize(UserInfo("ann"), ask("get", resource, "ns", "x", "apps", sub))
    assert bool(allowed) is expected


def test_anyone_may_ask_for_health_and_only_the_known_discover(bootstrapped: RbacAuthorizer) -> None:
    nobody = UserInfo("system:anonymous", groups=["system:unauthenticated"])
    someone = UserInfo("ann", groups=["system:authenticated"])
    assert bootstrapped.authorize(nobody, path("get", "/healthz"))[0]
    assert not bootstrapped.authorize(nobody, path("get", "/api"))[0]
    assert bootstrapped.authorize(someone, path("get", "/apis/apps/v1"))[0]
    assert not bootstrapped.authorize(someone, path("get", "/metrics"))[0]


def test_refusals_read_as_kubernetes_words_them(bootstrapped: RbacAuthorizer) -> None:
    check = AuthorizationFilter(Union(Masters(), bootstrapped)).check

    def refused(info: RequestInfo) -> StatusError:
        request = Request("GET", "/", user=UserInfo("x"))
        request.info = info
        with pytest.raises(StatusError) as caught:
            check(request)
        return caught.value

    assert (
        refused(ask("list", "pods", "default")).message
        == 'pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    assert (
        refused(ask("get", "nodes", "", "n1")).message
        == 'nodes "n1" is forbidden: User "x" cannot get resource "nodes" in API group "" at the cluster scope'
    )
    error = refused(ask("update", "deployments", "a", "web", "apps", "scale"))
    assert error.message == (
        'deployments.apps "web" is forbidden: User "x" cannot update resource "deployments/scale" '
        'in API group "apps" in the namespace "a"'
    )
    assert error.details == {"name": "web", "group": "apps", "kind": "deployments"}
    assert refused(path("get", "/foo")).message == 'forbidden: User "x" cannot get path "/foo"'


def test_a_binding_to_a_missing_role_says_so() -> None:
    authorizer = RbacAuthorizer()
    bind(authorizer, "ghost", "ann")
    allowed, reason = authorizer.authorize(UserInfo("ann"), ask("get", "pods", "a", "b"))
    assert (allowed, reason) == (None, 'RBAC: clusterrole.rbac.authorization.k8s.io "ghost" not found')


def test_masters_need_no_role() -> None:
    assert Masters().authorize(UserInfo("root", groups=["system:masters"]), ask("delete", "nodes", "", "n"))[0]


def test_reconciling_adds_what_is_missing_and_takes_nothing_away() -> None:
    wanted = next(role for role in bootstrap.cluster_roles() if role.metadata.name == "system:basic-user")
    own = PolicyRule(verbs=["get"], apiGroups=["x"], resources=["y"])
    found = ClusterRole(metadata=ObjectMeta(name="system:basic-user"), rules=[own])
    new = bootstrap.plan_role(wanted, found)
    assert new is not None and new.rules == [own, *wanted.rules]
    assert bootstrap.plan_role(wanted, new) is None
    found.metadata.annotations[bootstrap.AUTOUPDATE] = "false"
    assert bootstrap.plan_role(wanted, found) is None


class Posted:
    """A transport that keeps what is created and answers with it."""

    def __init__(self, caches: ObjectCaches) -> None:
        self.caches = caches

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        assert method == "POST"
        self.caches.objects.append(decode(kind_of(body), body))
        return Response(status=201, headers={}, body=body)

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise AssertionError("nothing is watched")

    async def close(self) -> None:
        """Nothing is open."""


def kind_of(body: bytes) -> type[ClusterRole | Role | ClusterRoleBinding | RoleBinding]:
    kinds = {kind.__name__: kind for kind in (ClusterRole, Role, ClusterRoleBinding, RoleBinding)}
    return kinds[decode(KubernetesObject, body).kind]


async def test_the_policy_is_written_once() -> None:
    caches = ObjectCaches()
    client = Client(Posted(caches), clock=StandingClock(), entropy=Entropy(1))
    assert await bootstrap.reconcile(client, caches) == len(bootstrap.objects())
    assert await bootstrap.reconcile(client, caches) == 0
    assert caches.get(Role, "kube-public", "system:controller:bootstrap-signer") is not None
