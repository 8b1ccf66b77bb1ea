"""test/e2e/auth/certificates.go: every verb of certificate signing requests, approval and status included."""

import base64
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.conformance.entry import conformance
from tests.conformance.world import Json, World, condition, names
from wherry.server.http import UserInfo

GROUP = "/apis/certificates.k8s.io/v1"
REQUESTS = f"{GROUP}/certificatesigningrequests"


def request(name: str = "", *organizations: str, **spec: object) -> Json:
    """A request for a client certificate."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, "e2e.example.com")]
    attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, item) for item in organizations]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)
    wanted = {
        "request": base64.b64encode(pem).decode(),
        "signerName": "example.com/e2e",
        "expirationSeconds": 3600,
        "usages": ["digital signature", "key encipherment", "server auth"],
    }
    meta = {"name": name} if name else {"generateName": "e2e-example-csr-"}
    return {"metadata": meta | {"labels": {"special-label": "e2e"}}, "spec": wanted | spec}


def approved(kind: str = "Approved", **more: str) -> Json:
    return {"type": kind, "status": "True", "reason": "E2E", "message": "Set from an e2e test"} | more


@conformance("[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]")
async def test_certificate_signing_requests_by_every_verb(api: World) -> None:
    groups = await api.get("/apis")
    group = next(item for item in groups["groups"] if item["name"] == "certificates.k8s.io")
    assert {"groupVersion": "certificates.k8s.io/v1", "version": "v1"} in group["versions"]
    resources = {item["name"] for item in (await api.get(GROUP))["resources"]}
    assert {f"certificatesigningrequests{part}" for part in ("", "/approval", "/status")} <= resources
    made = [await api.create(REQUESTS, request()) for _ in range(3)]
    assert made[0]["spec"]["username"] == "admin" and "system:masters" in made[0]["spec"]["groups"]
    name = made[0]["metadata"]["name"]
    one = f"{REQUESTS}/{name}"
    assert (await api.get(one))["metadata"]["uid"] == made[0]["metadata"]["uid"]
    assert len(names(await api.get(REQUESTS, labelSelector="special-label=e2e"))) == 3
    async with api.watch(REQUESTS, labelSelector="special-label=e2e") as watch:
        await api.patch(one, {"metadata": {"annotations": {"patched": "true"}}})
        found = await api.get(one)
        found["metadata"]["annotations"]["updated"] = "true"
        await api.replace(one, found)
        await watch.until(lambda it: it["object"]["metadata"]["annotations"].get("patched") == "true")
        event = await watch.until(lambda it: it["object"]["metadata"]["annotations"].get("updated") == "true")
        assert event["type"] == "MODIFIED"
    await approval(api, one)
    await status(api, one)
    await api.delete(one)
    await api.refused(404, "GET", one)
    assert len(names(await api.get(REQUESTS, labelSelector="special-label=e2e"))) == 2
    await api.delete(REQUESTS, labelSelector="special-label=e2e")
    assert names(await api.get(REQUESTS, labelSelector="special-label=e2e")) == []


async def approval(api: World, one: str) -> None:
    assert (await api.get(f"{one}/approval"))["metadata"]["annotations"]["patched"] == "true"
    change = {"metadata": {"annotations": {"patchedapproval": "true"}}, "status": {"conditions": [approved("Patch")]}}
    found = await api.patch(f"{one}/approval", change)
    assert condition(found, "Patch")["lastUpdateTime"] and found["metadata"]["annotations"]["patchedapproval"] == "true"
    found["status"]["conditions"].append(approved())
    found = await api.replace(f"{one}/approval", found)
    assert condition(found, "Approved")["lastTransitionTime"]


async def status(api: World, one: str) -> None:
    assert (await api.get(f"{one}/status"))["metadata"]["annotations"]["patchedapproval"] == "true"
    certificate = base64.b64encode(CERTIFICATE).decode()
    change = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"certificate": certificate}}
    found = await api.patch(f"{one}/status", change)
    assert found["status"]["certificate"] == certificate
    found["status"]["conditions"].append(approved("StatusUpdate"))
    found = await api.replace(f"{one}/status", found)
    assert condition(found, "StatusUpdate") and condition(found, "Approved")


def certificate() -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    return builder.not_valid_after(datetime(2027, 1, 1, tzinfo=UTC)).sign(key, SHA256()).public_bytes(Encoding.PEM)


CERTIFICATE = certificate()


async def test_approvers_and_signers_keep_to_their_parts(api: World) -> None:
    one = f"{REQUESTS}/csr"
    made = await api.create(REQUESTS, request("csr"))
    made["status"] = {"conditions": [approved()], "certificate": base64.b64encode(CERTIFICATE).decode()}
    refusal = await api.refused(422, "PUT", f"{one}/status", made)
    assert 'status.conditions: Forbidden: updates may not add a condition of type "Approved"' in refusal["message"]
    made["status"] = {"conditions": [approved(), approved("Denied")]}
    refusal = await api.refused(422, "PUT", f"{one}/approval", made)
    assert "Approved and Denied conditions are mutually exclusive" in refusal["message"]
    made["status"] = {"conditions": [approved(status="False")]}
    assert 'supported values: "True"' in (await api.refused(422, "PUT", f"{one}/approval", made))["message"]
    made["status"] = {"certificate": base64.b64encode(b"nonsense").decode()}
    refusal = await api.refused(422, "PUT", f"{one}/status", made)
    assert "must contain at least one CERTIFICATE PEM block" in refusal["message"]


async def test_bad_requests_are_refused_with_every_fault(api: World) -> None:
    body = request(
        "bad", request="bm9wZQ==", signerName="kubernetes.io/legacy-unknown", usages=["cooking", "any", "any"]
    )
    refusal = await api.refused(422, "POST", REQUESTS, body)
    causes = [(cause["field"], cause["reason"]) for cause in refusal["details"]["causes"]]
    assert causes == [
        ("spec.request", "FieldValueInvalid"),
        ("spec.usages[0]", "FieldValueNotSupported"),
        ("spec.usages[2]", "FieldValueDuplicate"),
        ("spec.signerName", "FieldValueInvalid"),
    ]
    masters = request("masters", "system:masters", signerName="kubernetes.io/kube-apiserver-client")
    assert (await api.refused(403, "POST", REQUESTS, masters))["message"] == (
        'certificatesigningrequests.certificates.k8s.io "masters" is forbidden: use of '
        "kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )


async def test_approving_and_signing_need_the_signer(api: World) -> None:
    rules = [{"apiGroups": ["certificates.k8s.io"], "resources": ["*"], "verbs": ["get", "update", "patch"]}]
    access = "/apis/rbac.authorization.k8s.io/v1"
    await api.create(f"{access}/clusterroles", {"metadata": {"name": "csr"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "csr"}
    binding = {"metadata": {"name": "csr"}, "roleRef": role, "subjects": [{"kind": "User", "name": "ann"}]}
    await api.create(f"{access}/clusterrolebindings", binding)
    made = await api.create(REQUESTS, request("csr"))
    ann = World(api.server)
    ann.transport = api.server.transport(UserInfo("ann"))
    made["status"] = {"conditions": [approved()]}
    refusal = await ann.refused(403, "PUT", f"{REQUESTS}/csr/approval", made)
    assert refusal["message"].endswith('user not permitted to approve requests with signerName "example.com/e2e"')
    made["status"] = {"conditions": [approved("Failed")]}
    refusal = await ann.refused(403, "PUT", f"{REQUESTS}/csr/status", made)
    assert refusal["message"].endswith('user not permitted to sign requests with signerName "example.com/e2e"')
    rules.append({"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"]})
    rules[-1]["resourceNames"] = ["example.com/*"]
    await api.patch(f"{access}/clusterroles/csr", {"rules": rules})
    made["status"] = {"conditions": [approved()]}
    await ann.replace(f"{REQUESTS}/csr/approval", made)


async def test_kubectl_approves_and_denies(served: World) -> None:
    await served.create(REQUESTS, request("one"))
    await served.create(REQUESTS, request("two"))
    assert "approved" in (await served.kubectl("certificate", "approve", "one")).out
    assert "denied" in (await served.kubectl("certificate", "deny", "two")).out
    shown = (await served.kubectl("get", "csr", "--no-headers")).out
    assert [line.split()[-1] for line in shown.splitlines()] == ["Approved", "Denied"]
