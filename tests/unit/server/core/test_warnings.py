"""Warning headers: of kinds that are deprecated, on every answer, and of what writers had better not write."""

import orjson

from tests.unit.server.core.conftest import MAPS, PODS, Api, pod

ENDPOINTS = "/api/v1/namespaces/default/endpoints"
DEPRECATED = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'


async def test_every_answer_about_a_deprecated_kind_warns_even_a_refusal(api: Api) -> None:
    made = await api.send("POST", ENDPOINTS, {"metadata": {"name": "e"}})
    listed, missing = await api.send("GET", ENDPOINTS), await api.send("GET", f"{ENDPOINTS}/nothing")
    assert [answer.status for answer in (made, listed, missing)] == [201, 200, 404]
    assert all(answer.headers["warning"] == DEPRECATED for answer in (made, listed, missing))
    status = await api.send("GET", "/api/v1/componentstatuses")
    assert status.headers["warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    metrics = (await api.send("GET", "/metrics")).body.decode()
    assert (
        'apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",'
        'version="v1"} 1.0' in metrics
    )


async def test_a_deprecated_kind_warns_of_what_is_written_as_well(api: Api) -> None:
    body = {"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": "::0"}], "ports": [{"port": 1}]}], "x": 1}
    answer = await api.send("POST", ENDPOINTS, body)
    assert answer.status == 422 and answer.headers["warning"] == DEPRECATED
    body["subsets"] = [{"addresses": [{"ip": "FD00::1"}], "ports": [{"port": 1}]}]
    answer = await api.send("POST", ENDPOINTS, body)
    assert answer.headers["warning"].split(", 299")[1:] == [
        ' - "unknown field \\"x\\""',
        ' - "subsets[0].addresses[0].ip: IPv6 address \\"FD00::1\\" should be in RFC 5952 canonical format '
        '(\\"fd00::1\\")"',
    ]


async def test_writers_are_advised_on_create_and_change_and_readers_are_not(api: Api) -> None:
    made = await api.send("POST", PODS, pod("p", terminationGracePeriodSeconds=-1))
    text = "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
    assert made.headers["warning"] == f'299 - "{text}"'
    assert "warning" not in (await api.send("GET", f"{PODS}/p")).headers
    spec = {
        "selector": {"matchLabels": {"app": "a"}},
        "template": pod("p", nodeSelector={"beta.kubernetes.io/os": "x"}),
    }
    path = "/apis/apps/v1/namespaces/default/deployments"
    body = {"metadata": {"name": "d"}, "spec": spec}
    made = await api.send("POST", path, body)
    warning = made.headers["warning"]
    assert "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14" in warning
    merge = "application/merge-patch+json"
    changed = await api.send("PATCH", f"{path}/d", b'{"spec":{"replicas":0}}', merge)
    assert changed.headers["warning"] == warning
    same = await api.send("PATCH", f"{path}/d", b'{"metadata":{"labels":{"a":"b"}}}', merge)
    assert same.status == 200 and "warning" not in same.headers


async def test_warnings_are_bounded_and_no_header_of_their_own(api: Api) -> None:
    fields = {f"f{number:03d}" + "x" * 400: 1 for number in range(2000)} | {"a\r\nSet-Cookie: b": 1}
    answer = await api.send("POST", MAPS, {"metadata": {"name": "m"}, **fields})
    warnings = answer.headers["warning"].split(", 299")
    assert len(warnings) == 16 and all(len(warning) < 270 for warning in warnings)
    assert warnings[0].startswith('299 - "unknown field \\"f000xxx')
    answer = await api.send("POST", MAPS, {"metadata": {"name": "n"}, "a\r\nSet-Cookie: b": 1})
    assert answer.headers["warning"] == '299 - "unknown field \\"a  Set-Cookie: b\\""'


async def test_an_owner_that_is_named_twice_is_kept_once(api: Api) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
    why = (
        "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your "
        "requests; duplicate UID(s) observed: u"
    )
    meta = {"name": "m", "ownerReferences": [owner, owner, {**owner, "name": "q"}]}
    made = await api.send("POST", MAPS, {"metadata": meta})
    assert made.headers["warning"] == f'299 - ".metadata.ownerReferences contains duplicate entries; {why}"'
    kept = (await api.ok("GET", f"{MAPS}/m"))["metadata"]["ownerReferences"]
    assert [item["name"] for item in kept] == ["p", "q"]
    patch = orjson.dumps({"metadata": {"ownerReferences": [owner, owner]}})
    changed = await api.send("PATCH", f"{MAPS}/m", patch, "application/merge-patch+json")
    text = f".metadata.ownerReferences contains duplicate entries after mutating admission happens; {why}"
    assert changed.headers["warning"] == f'299 - "{text}"'
