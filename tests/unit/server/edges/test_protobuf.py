"""Bodies as Go clients encode them."""

import base64
import json

import pytest

from wherry.api import core_v1 as core
from wherry.api.apps_v1 import Deployment
from wherry.meta.wire import decode
from wherry.server.protobuf.decode import to_json

# What kubectl 1.32 sends for: create deployment web --image=nginx --replicas=2 --port=80
DEPLOYMENT = (
    "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50ErgBCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEoYBCAISDAoKCgNh"
    "cHASA3dlYhpsChwKABIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEkwSLgoFbmdpbngSBW5naW54KgAyCgoAEAAYUCIAKgBCAGoA"
    "cgCAAQCIAQCQAQCiAQAaADIAQgBKAFIAWABgAGgAggEAigEAmgEAwgEAIgIKACgAOAAaDAgAEAAYACAAKAA4ABoAIgA="
)
# ... and for: create pdb p --selector=a=b --min-available=50%
BUDGET = (
    "azhzAAogCglwb2xpY3kvdjESE1BvZERpc3J1cHRpb25CdWRnZXQSNgoRCgFwEgAaACIAKgAyADgAQgASFQoJCAEQABoDNTAlEggK"
    "BgoBYRIBYhoKCAAYACAAKAAwABoAIgA="
)


def read(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(to_json(base64.b64decode(text)))
    return found


def envelope(api_version: str, kind: str, message: bytes) -> bytes:
    names = field(1, api_version.encode()) + field(2, kind.encode())
    return b"k8s\x00" + field(1, names) + field(2, message)


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value & ((1 << 64) - 1))
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_a_deployment_reads_as_its_json() -> None:
    labels = {"app": "web"}
    container = {"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}
    assert read(DEPLOYMENT) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "strategy": {},
        },
        "status": {},
    }
    assert decode(Deployment, to_json(base64.b64decode(DEPLOYMENT))).spec.replicas == 2


def test_int_or_string_is_read() -> None:
    spec = read(BUDGET)["spec"]
    assert spec == {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}


def test_inlined_messages_bytes_times_quantities_and_pointers() -> None:
    volume = field(1, b"v") + field(2, field(2, field(1, b"Memory")))  # name, volumeSource: emptyDir: medium
    probe = field(1, field(2, field(1, b"/z") + field(2, field(1, 0) + field(2, 8080)))) + field(2, -1)
    limits = field(1, b"cpu") + field(2, field(1, b"500m"))
    container = field(1, b"c") + field(8, field(1, limits)) + field(10, probe)
    metadata = field(1, b"p") + field(8, field(1, 1767225600) + field(2, 0)) + field(10, 0)
    security = field(5, 0)
    spec = field(1, volume) + field(2, container) + field(4, 0) + field(14, security)
    pod = json.loads(to_json(envelope("v1", "Pod", field(1, metadata) + field(2, spec) + field(99, b"unknown"))))
    assert pod["metadata"] == {
        "name": "p",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 0,  # a pointer: its zero counts
    }
    assert pod["spec"]["volumes"] == [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 0
    assert pod["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}}
    assert pod["spec"]["containers"][0]["livenessProbe"] == {
        "httpGet": {"path": "/z", "port": 8080},
        "initialDelaySeconds": -1,
    }
    assert decode(core.Pod, json.dumps(pod).encode()).spec.volumes[0].emptyDir is not None
    secret = field(2, field(1, b"k") + field(2, b"\x00\xff"))
    assert json.loads(to_json(envelope("v1", "Secret", secret)))["data"] == {"k": "AP8="}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"k8s\x00\xff",
        envelope("v1", "Nothing", b""),
        envelope("v1", "Pod", b"\x0a\x7f"),
        envelope("v1", "Pod", b"\x0b"),
    ],
    ids=["JSON", "cut off", "unknown kind", "short field", "group"],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        to_json(body)
