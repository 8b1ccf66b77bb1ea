"""Every bootstrap role against every verb and every resource, asked of the real authorizer.

The answers are compared with role_matrix.txt: a role, then what it may do with each resource (`group/resource`, `core`
for the core group). What is allowed for one name alone is not in it, nor are paths. A change of what a cluster allows
shows as a change of that file, which `python -m tests.unit.server.edges.test_role_matrix` writes.
"""

import asyncio
from collections import defaultdict
from pathlib import Path

from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.rbac_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from wherry.meta.wire import convert
from wherry.server.app import Server
from wherry.server.edges import EdgeOptions
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.options import ServerOptions
from wherry.server.rbac.authorizer import settled
from wherry.store.local import memory_store

TABLE = Path(__file__).parent / "role_matrix.txt"
VERBS = "get list watch create update patch delete deletecollection".split()
VERBS += "approve attest bind escalate impersonate proxy sign".split()
RBAC = "rbac.authorization.k8s.io"


async def matrix() -> str:
    """What the roles of a new cluster allow."""
    clock, entropy = SystemClock(), Entropy(1)
    store = memory_store(clock, entropy)
    server = Server(store, clock, entropy, ServerOptions(edges=EdgeOptions(authorization_modes=("RBAC",))))
    await server.start()
    try:
        return await _matrix(server)
    finally:
        await server.close()
        await store.close()


async def _matrix(server: Server) -> str:
    client = server.client()
    roles: list[tuple[str, str, str]] = []
    rules = []
    for role in (await client.list(ClusterRole)).items:
        roles.append((str(role.metadata.name), "", str(role.metadata.name)))
        rules += role.rules
    for local in (await client.list(Role)).items:
        name, namespace = str(local.metadata.name), str(local.metadata.namespace)
        roles.append((f"{name} of {namespace}", namespace, name))
        rules += local.rules
    for shown, namespace, name in roles:
        kind = "Role" if namespace else "ClusterRole"
        binding = {
            "metadata": {"name": f"matrix-{abs(hash(shown))}"} | ({"namespace": namespace} if namespace else {}),
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": shown}],
        }
        await client.create(convert(binding, RoleBinding if namespace else ClusterRoleBinding))
    resources = {(item.group, item.plural) for item in server.registry.resources()}
    resources |= {
        (item.group, f"{item.plural}/{sub.name}") for item in server.registry.resources() for sub in item.subresources
    }
    resources |= {(group, name) for rule in rules for group in rule.apiGroups for name in rule.resources}
    resources = {pair for pair in resources if "*" not in pair}
    lines = []
    for shown, namespace, _ in sorted(roles):
        lines += [shown, *await _row(server, shown, namespace, sorted(resources))]
    return "\n".join(lines) + "\n"


async def _row(server: Server, user: str, namespace: str, resources: list[tuple[str, str]]) -> list[str]:
    by_verbs: dict[str, list[str]] = defaultdict(list)
    who = UserInfo(user, groups=[])
    for group, name in resources:
        plural, _, sub = name.partition("/")
        allowed = []
        for verb in VERBS:
            info = RequestInfo(verb, group, "v1", plural, sub, namespace=namespace, name="", is_resource_request=True)
            if (await settled(server.edges.authorizer.authorize(who, info)))[0]:
                allowed.append(verb)
        if allowed:
            by_verbs[",".join(allowed)].append(f"{group or 'core'}/{name}")
    if len(by_verbs) == 1 and len(next(iter(by_verbs.values()))) == len(resources):
        return [f"  {verbs} everything" for verbs in by_verbs]
    return [f"  {verbs} {name}" for verbs, names in sorted(by_verbs.items()) for name in names]


async def test_roles_allow_what_the_table_says() -> None:
    assert (await matrix()).splitlines() == TABLE.read_text().splitlines()


if __name__ == "__main__":
    TABLE.write_text(asyncio.run(matrix()))
