"""test/e2e/auth/service_accounts.go: accounts, their tokens, what pods get of them, and how others verify tokens."""

import jwt
import orjson

from tests.conformance.entry import conformance
from tests.conformance.world import Json, World, names, pod
from wherry.server.http import UserInfo

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


async def token_of(world: World, account: str, **spec: object) -> Json:
    """A TokenRequest's answer."""
    return await world.create(world.core("serviceaccounts", f"{account}/token"), {"spec": spec})


async def review(world: World, token: str, **spec: object) -> Json:
    found: Json = (await world.create(REVIEWS, {"spec": {"token": token} | spec}))["status"]
    return found


def mounts(made: Json) -> list[str]:
    return [mount["mountPath"] for mount in made["spec"]["containers"][0].get("volumeMounts", [])]


@conformance("[sig-auth] ServiceAccounts should mount an API token into pods [Conformance]")
async def test_a_pod_s_token_is_its_account_s(served: World) -> None:
    await served.create(served.core("serviceaccounts"), {"metadata": {"name": "mount-test"}})
    made = await served.create(served.core("pods"), pod("mounting", serviceAccountName="mount-test"))
    assert mounts(made) == [MOUNT]
    sources = made["spec"]["volumes"][0]["projected"]["sources"]
    paths = [sources[0]["serviceAccountToken"]["path"], sources[1]["configMap"]["items"][0]["path"]]
    paths.append(sources[2]["downwardAPI"]["items"][0]["path"])
    assert paths == ["token", "ca.crt", "namespace"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "mounting", "uid": made["metadata"]["uid"]}
    token = (await token_of(served, "mount-test", boundObjectRef=bound, expirationSeconds=3607))["status"]["token"]
    found = await review(served, token)
    assert found["authenticated"]
    account = f"system:serviceaccount:{served.namespace}:mount-test"
    assert found["user"]["username"] == account
    groups = {"system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{served.namespace}"}
    assert set(found["user"]["groups"]) == groups
    assert found["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["mounting"]


@conformance("[sig-auth] ServiceAccounts should allow opting out of API token automount [Conformance]")
async def test_pods_and_accounts_opt_out_of_the_token(api: World) -> None:
    wanted = {True: True, False: False, None: None}
    for account in wanted:
        body: Json = {"metadata": {"name": f"account-{account}".lower()}}
        body |= {} if account is None else {"automountServiceAccountToken": account}
        await api.create(api.core("serviceaccounts"), body)
        for own in wanted:
            name = f"pod-{account}-{own}".lower()
            account_name = body["metadata"]["name"]
            wanted_pod = pod(name, serviceAccountName=account_name)
            wanted_pod["spec"] |= {} if own is None else {"automountServiceAccountToken": own}
            made = await api.create(api.core("pods"), wanted_pod)
            expected = own if own is not None else account is not False
            assert mounts(made) == ([MOUNT] if expected else []), name


@conformance("[sig-auth] ServiceAccounts should mount projected service account token [Conformance]")
async def test_a_projected_token_is_for_its_path_audience_and_time(served: World) -> None:
    projection = {"path": "oidc-token", "expirationSeconds": 7200, "audience": "vault"}
    volume = {"name": "t", "projected": {"sources": [{"serviceAccountToken": projection}]}}
    body = pod("projecting", volumes=[volume])
    body["spec"]["containers"][0]["volumeMounts"] = [{"name": "t", "mountPath": "/test-volume"}]
    made = await served.create(served.core("pods"), body)
    assert made["spec"]["volumes"][0]["projected"]["sources"] == [{"serviceAccountToken": projection}]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "projecting"}
    spec = {"boundObjectRef": bound, "audiences": ["vault"], "expirationSeconds": 7200}
    token = (await token_of(served, "default", **spec))["status"]["token"]
    assert not (await review(served, token)).get("authenticated")
    found = await review(served, token, audiences=["vault", "other"])
    assert found["authenticated"] and found["audiences"] == ["vault"]


@conformance("[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]")
async def test_an_account_s_life(api: World) -> None:
    accounts = api.core("serviceaccounts")
    labels = {"test-serviceaccount-static": "true"}
    async with api.watch(accounts, labelSelector="test-serviceaccount-static=true") as watch:
        await api.create(accounts, {"metadata": {"name": "testserviceaccount", "labels": labels}})
        assert (await watch.object("ADDED"))["metadata"]["name"] == "testserviceaccount"
        patched = await api.patch(
            api.core("serviceaccounts", "testserviceaccount"), {"automountServiceAccountToken": False}, "strategic"
        )
        assert patched["automountServiceAccountToken"] is False
        assert (await watch.object("MODIFIED"))["automountServiceAccountToken"] is False
        everywhere = await api.get("/api/v1/serviceaccounts", labelSelector="test-serviceaccount-static=true")
        assert names(everywhere) == ["testserviceaccount"]
        await api.delete(accounts, labelSelector="test-serviceaccount-static=true")
        await watch.object("DELETED")


@conformance("[sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]")
async def test_an_account_is_updated(api: World) -> None:
    body = {"metadata": {"name": "e2e-sa"}, "automountServiceAccountToken": False}
    made = await api.create(api.core("serviceaccounts"), body)
    assert made["automountServiceAccountToken"] is False
    made["automountServiceAccountToken"] = True
    updated = await api.replace(api.core("serviceaccounts", "e2e-sa"), made)
    assert updated["automountServiceAccountToken"] is True


@conformance("[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace [Conformance]")
async def test_every_namespace_has_the_root_certificate(cluster: World) -> None:
    path = cluster.core("configmaps", "kube-root-ca.crt")
    first = await cluster.until_object(path, lambda it: "ca.crt" in it["data"])
    await cluster.delete(path)
    await cluster.until_object(path, lambda it: it.get("metadata", {}).get("uid") != first["metadata"]["uid"])
    await cluster.patch(path, {"data": {"ca.crt": ""}})
    await cluster.until_object(path, lambda it: it["data"]["ca.crt"] == first["data"]["ca.crt"])


@conformance(
    "[sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview [Conformance]"
)
async def test_a_token_is_created_and_reviewed(served: World) -> None:
    await served.create(served.core("serviceaccounts"), {"metadata": {"name": "e2e-account"}})
    answer = await token_of(served, "e2e-account")
    assert answer["status"]["expirationTimestamp"] and answer["spec"]["expirationSeconds"] == 3600
    found = await review(served, answer["status"]["token"])
    assert found["authenticated"] and "error" not in found
    assert found["user"]["username"] == f"system:serviceaccount:{served.namespace}:e2e-account"


@conformance(
    "[sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer "
    "[Conformance]"
)
async def test_others_verify_tokens_by_what_the_issuer_publishes(served: World) -> None:
    token = (await token_of(served, "default", audiences=["oidc-discovery-test"]))["status"]["token"]
    who = UserInfo(
        f"system:serviceaccount:{served.namespace}:default",
        groups=["system:serviceaccounts", "system:authenticated"],
    )
    account = served.server.transport(who)
    document = orjson.loads((await account.request("GET", "/.well-known/openid-configuration")).body)
    assert document["issuer"] == "https://kubernetes.default.svc.cluster.local"
    assert document["jwks_uri"].endswith("/openid/v1/jwks")
    keys = orjson.loads((await account.request("GET", "/openid/v1/jwks")).body)["keys"]
    key_id = jwt.get_unverified_header(token)["kid"]
    key = jwt.PyJWK(next(item for item in keys if item["kid"] == key_id))
    algorithms = document["id_token_signing_alg_values_supported"]
    claims = jwt.decode(token, key, algorithms=algorithms, audience="oidc-discovery-test")
    assert claims["iss"] == document["issuer"] and claims["sub"] == who.name
