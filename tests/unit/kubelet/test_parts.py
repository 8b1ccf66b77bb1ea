"""The kubelet's pure parts: expansion, environment, resolv.conf, logs, SPDY, volumes, back-off."""

import base64
import json
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from wherry.aio.clock import SystemClock
from wherry.api.core_v1 import ConfigMap, Pod, Secret, Service
from wherry.kubelet import dns
from wherry.kubelet.backoff import Backoff
from wherry.kubelet.downward import Node
from wherry.kubelet.environment import ConfigFailure, container_environment, service_environment
from wherry.kubelet.expansion import expand
from wherry.kubelet.images import docker_config_auths, registry_of, with_tag
from wherry.kubelet.logs import LogFilter, LogOptions, format_line, read_log, rotate, tail_text
from wherry.kubelet.security import container_resources, container_security, oom_score
from wherry.kubelet.streaming import spdy
from wherry.kubelet.volumes import atomic
from wherry.kubelet.volumes.manager import Volumes, sub_path
from wherry.kubelet.volumes.sources import Sources, VolumeFailure
from wherry.meta import wire

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_pod(**spec: Any) -> Pod:
    meta = {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}}
    return wire.convert({"metadata": meta, "spec": {"containers": [{"name": "main"}]} | spec}, Pod)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(NONE)", "$(NONE)"),
        ("a$", "a$"),
        ("$(A", "$(A"),
        ("$A", "$A"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$$(A)", "$1"),
    ],
)
def test_names_in_brackets_are_expanded(text: str, result: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == result


async def test_environment_comes_from_everywhere() -> None:
    objects: dict[tuple[type, str], Any] = {
        (ConfigMap, "settings"): wire.convert({"data": {"COLOR": "blue", "SIZE": "3"}}, ConfigMap),
        (Secret, "keys"): wire.convert({"data": {"KEY": base64.b64encode(b"secret").decode()}}, Secret),
    }

    async def lookup(kind: type, namespace: str, name: str) -> Any:
        return objects.get((kind, name))

    env = [
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
        {"name": "BOTH", "value": "$(ME)-$(P_COLOR)"},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
    ]
    main = {"name": "main", "env": env, "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}]}
    pod = make_pod(containers=[main | {"resources": {"limits": {"cpu": "250m"}}}])
    found = await container_environment(pod, pod.spec.containers[0], lookup, [], ("10.0.0.1",), Node())
    assert found == {
        "P_COLOR": "blue",
        "P_SIZE": "3",
        "ME": "web",
        "KEY": "secret",
        "BOTH": "web-blue",
        "CPU": "250",
    }
    objects.clear()
    with pytest.raises(ConfigFailure, match='configmap "settings" not found'):
        await container_environment(pod, pod.spec.containers[0], lookup, [], (), Node())


def test_services_give_variables_in_dockers_manner() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    raw = {"metadata": {"name": "my-db", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.9", "ports": ports}}
    found = service_environment([wire.convert(raw, Service)], "shop", everything=True)
    assert found["MY_DB_SERVICE_HOST"] == "10.96.0.9"
    assert found["MY_DB_SERVICE_PORT_HTTP"] == "80"
    assert found["MY_DB_PORT_80_TCP"] == "tcp://10.96.0.9:80"
    assert service_environment([wire.convert(raw, Service)], "shop", everything=False) == {}


def test_cluster_first_searches_the_pods_namespace() -> None:
    host = dns.parse_resolv_conf("nameserver 1.1.1.1\nsearch example.org\noptions timeout:1\n")
    found = dns.pod_resolver(make_pod(), host, ("10.96.0.10",), "cluster.local")
    assert found.text() == (
        "nameserver 10.96.0.10\n"
        "search shop.svc.cluster.local svc.cluster.local cluster.local example.org\n"
        "options ndots:5\n"
    )
    assert dns.pod_resolver(make_pod(dnsPolicy="Default"), host, ("10.96.0.10",), "cluster.local") == host


LOG = b"".join(
    [
        format_line(NOW, "stdout", b"one"),
        format_line(NOW, "stderr", b"two"),
        format_line(NOW, "stdout", b"thr", partial=True),
        format_line(NOW, "stdout", b"ee"),
        format_line(NOW, "stdout", b"four"),
    ]
)


@pytest.mark.parametrize(
    ("options", "result"),
    [
        (LogOptions(), b"one\ntwo\nthree\nfour\n"),
        (LogOptions(tail_lines=2), b"three\nfour\n"),
        (LogOptions(tail_lines=0), b""),
        (LogOptions(tail_lines=99), b"one\ntwo\nthree\nfour\n"),
        (LogOptions(limit_bytes=5), b"one\nt"),
        (LogOptions(stream="Stderr"), b"two\n"),
        (LogOptions(since=datetime(2027, 1, 1, tzinfo=UTC)), b""),
    ],
)
async def test_logs_are_read_as_asked(tmp_path: Path, options: LogOptions, result: bytes) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(LOG)

    async def ended() -> bool:
        return False

    assert b"".join([chunk async for chunk in read_log(path, options, SystemClock(), ended)]) == result


def test_timestamps_stand_before_whole_lines_only() -> None:
    chosen = LogFilter(LogOptions(timestamps=True))
    out = b"".join(map(chosen.line, LOG.split(b"\n")))
    assert out.count(b"2026-01-01T00:00:00.000000000Z ") == 4


def test_rotation_keeps_so_many_files(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "0.log").write_bytes(LOG)
        rotate(tmp_path / "0.log", f"2026010{number}", 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.log.20260104.gz", "0.log.20260105"]
    assert tail_text(tmp_path / "0.log.20260105", 1, 100) == "four\n"


def test_the_spdy_dictionary_is_the_drafts() -> None:
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_spdy_frames_survive_any_cut() -> None:
    client, server = spdy.Framer(1), spdy.Framer(2)
    stream, opened = client.open({"streamType": "stdin", "Port": "80"})
    sent = opened + client.data(stream, b"hello") + client.data(stream, b"", fin=True) + client.reset(stream, 5)
    events = [event for at in range(len(sent)) for event in server.receive(sent[at : at + 1])]
    assert events == [
        spdy.StreamOpened(1, {"streamtype": "stdin", "port": "80"}, False),
        spdy.DataReceived(1, b"hello", False),
        spdy.DataReceived(1, b"", True),
        spdy.StreamReset(1, 5),
    ]
    assert list(client.receive(server.accept(1))) == [spdy.StreamAccepted(1, {}, False)]
    with pytest.raises(spdy.SpdyFailure):
        list(server.receive(b"\x80\x02\x00\x01\x00\x00\x00\x00"))


def test_back_off_doubles_to_five_minutes_and_is_forgotten() -> None:
    backoff, delays, now = Backoff(), [], 1000.0
    for _ in range(8):
        backoff.grow("a", now)
        delays.append(backoff.delay_seconds("a"))
        now += delays[-1]
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert backoff.remaining("a", now + 2000, now + 2000) == 0


def test_files_change_all_at_once(tmp_path: Path) -> None:
    target = tmp_path / "volume"
    assert atomic.write(target, {"a": atomic.File(b"1"), "dir/b": atomic.File(b"2", 0o400)}, NOW)
    first = (target / "..data").readlink()
    assert not atomic.write(target, {"a": atomic.File(b"1"), "dir/b": atomic.File(b"2", 0o400)}, NOW)
    assert atomic.write(target, {"a": atomic.File(b"9")}, NOW)
    assert (target / "..data").readlink() != first
    assert (target / "a").read_bytes() == b"9" and (target / "a").is_symlink()
    assert sorted(path.name for path in target.iterdir() if not path.name.startswith("..")) == ["a"]
    with pytest.raises(atomic.PathFailure):
        atomic.write(target, {"../x": atomic.File(b"")}, NOW)


async def test_a_projected_volume_joins_its_sources(tmp_path: Path) -> None:
    async def lookup(kind: type, namespace: str, name: str) -> Any:
        return wire.convert({"data": {"ca.crt": "CA"}}, ConfigMap) if name == "kube-root-ca.crt" else None

    async def token(pod: Pod, projection: object) -> str:
        return "a-token"

    parts: list[dict[str, Any]] = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volumes = [{"name": "access", "projected": {"sources": parts}}, {"name": "tmp", "emptyDir": {}}]
    pod = make_pod(volumes=volumes)
    paths = await Volumes(tmp_path, SystemClock()).prepare(pod, Sources(lookup, token, Node()))
    content = {path.name: path.read_text() for path in paths["access"].iterdir() if path.is_file()}
    assert content == {"token": "a-token", "ca.crt": "CA", "namespace": "shop"}
    assert paths["tmp"].stat().st_mode & 0o777 == 0o777
    missing = make_pod(volumes=[{"name": "c", "configMap": {"name": "none"}}])
    with pytest.raises(VolumeFailure, match=r'MountVolume\.SetUp failed for volume "c" : configmap "none" not found'):
        await Volumes(tmp_path, SystemClock()).prepare(missing, Sources(lookup, token, Node()))


def test_a_sub_path_stays_within_its_volume(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "out").symlink_to("/etc")
    assert sub_path(tmp_path / "volume", "a/b").is_dir()
    for bad in ("../x", "/etc", "out/passwd"):
        with pytest.raises(VolumeFailure):
            sub_path(tmp_path / "volume", bad)


def test_limits_become_shares_quota_and_oom_score() -> None:
    main = {"name": "main", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1"}}}
    pod = make_pod(containers=[main])
    found = container_resources(pod, pod.spec.containers[0], 4 << 30, True)
    assert (found.cpu_shares, found.cpu_quota, found.cpu_period) == (512, 100_000, 100_000)
    assert found.oom_score_adj == 750
    assert oom_score(make_pod(), 0, 4 << 30) == 1000


def test_an_image_that_runs_as_root_is_refused_where_non_root_is_asked() -> None:
    pod = make_pod(securityContext={"runAsNonRoot": True})
    with pytest.raises(ConfigFailure, match="container has runAsNonRoot and image will run as root"):
        container_security(pod, pod.spec.containers[0])


def test_registry_credentials_are_found_by_host() -> None:
    login = {"username": "a", "password": "b"}
    config = {"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "r.test:5000": login}}
    secret = Secret(data={".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()})
    assert [item.username for item in docker_config_auths(secret, registry_of("busybox"), "busybox")] == ["u"]
    assert [item.password for item in docker_config_auths(secret, registry_of("r.test:5000/x"), "r.test:5000/x")] == [
        "b"
    ]
    assert (with_tag("a/b"), with_tag("r:5/b"), with_tag("b:1")) == ("a/b:latest", "r:5/b:latest", "b:1")
