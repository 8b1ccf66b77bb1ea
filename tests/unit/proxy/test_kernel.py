"""Both kernel back ends on the real kernel: three servers in namespaces of their own, a client, a Service.

Traffic stays inside network namespaces made here.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from wherry.proxy.backend import Backend
from wherry.proxy.iptables import IptablesBackend
from wherry.proxy.nftables import NftablesBackend
from wherry.proxy.rules import Endpoint, ServicePort

T = TypeVar("T")
HOST = f"wproxy{os.getpid()}"
SERVERS = ["10.77.0.2", "10.77.1.2", "10.77.2.2"]
SERVE = """
import socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write((sys.argv[1] + " " + self.client_address[0]).encode())
socketserver.TCPServer.allow_reuse_address = True
server = socketserver.TCPServer(("0.0.0.0", 8080), Handler)
print("up", flush=True)
server.serve_forever()
"""
ASK = "import socket,sys; s=socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print(s.recv(100).decode())"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def host() -> Iterator[str]:
    """A host namespace with three pod-like namespaces behind veths, each running a server that tells its name."""
    spaces, servers = [HOST], []
    run("ip", "netns", "add", HOST)
    run("ip", "-n", HOST, "link", "set", "lo", "up")
    run("ip", "netns", "exec", HOST, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1")
    try:
        for index, address in enumerate(SERVERS):
            space = f"{HOST}-{index}"
            run("ip", "netns", "add", space)
            spaces.append(space)
            run("ip", "-n", HOST, "link", "add", f"v{index}", "type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "-n", HOST, "addr", "add", f"10.77.{index}.1/24", "dev", f"v{index}")
            run("ip", "-n", HOST, "link", "set", f"v{index}", "up")
            run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", space, "link", "set", "eth0", "up")
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "route", "add", "default", "via", f"10.77.{index}.1")
            server = subprocess.Popen(
                ["ip", "netns", "exec", space, sys.executable, "-c", SERVE, address], stdout=subprocess.PIPE
            )
            servers.append(server)
            assert server.stdout is not None
            assert server.stdout.readline() == b"up\n"
        run("ip", "-n", HOST, "route", "add", "default", "via", "10.77.0.2")
        yield HOST
    finally:
        for server in servers:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
        for space in reversed(spaces):
            run("ip", "netns", "delete", space)


def in_namespace(space: str, work: Callable[[], T]) -> T:
    """Run `work` in a forked child that entered the namespace (setns is per thread; the test's own must not move)."""
    import ctypes

    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{space}") as namespace:
            assert libc.setns(namespace.fileno(), 0) == 0
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return None  # type: ignore[return-value]


def apply(space: str, backend: Backend, *plans: dict[str, ServicePort]) -> None:
    async def all_plans() -> None:
        for plan in plans:
            await backend.apply(plan)

    in_namespace(space, lambda: asyncio.run(all_plans()))


def ask(space: str, address: str, port: int) -> str:
    return run("ip", "netns", "exec", space, sys.executable, "-c", ASK, address, str(port)).strip()


def web(*servers: str, node_port: int | None = 30080, affinity: int | None = None) -> dict[str, ServicePort]:
    endpoints = tuple(Endpoint(ip, 8080) for ip in servers)
    port = ServicePort(
        name="default/web:http",
        protocol="tcp",
        port=80,
        cluster_ips=("10.96.0.9",),
        external_ips=(),
        node_port=node_port,
        affinity_seconds=affinity,
        source_ranges=(),
        internal=endpoints,
        external=endpoints,
        preserve_source=False,
    )
    return {port.name: port}


BACKENDS = [pytest.param(NftablesBackend, id="nftables"), pytest.param(IptablesBackend, id="iptables")]


@pytest.mark.parametrize("backend", BACKENDS)
def test_cluster_ip_and_node_port_reach_every_endpoint(host: str, backend: Callable[[], Backend]) -> None:
    apply(host, backend(), web(*SERVERS))
    seen = Counter(ask(host, "10.96.0.9", 80).split()[0] for _ in range(40))
    assert set(seen) == set(SERVERS)
    assert ask(f"{host}-0", "10.77.0.1", 30080).split()[0] in SERVERS
    assert ask(host, "127.0.0.1", 30080).split()[0] in SERVERS


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pod_reaches_itself_through_its_service(host: str, backend: Callable[[], Backend]) -> None:
    apply(host, backend(), web(SERVERS[1]))
    server, client = ask(f"{host}-1", "10.96.0.9", 80).split()
    assert server == SERVERS[1]
    assert client == "10.77.1.1"


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_follow_endpoints_and_refuse_when_none_is_left(host: str, backend: Callable[[], Backend]) -> None:
    apply(host, backend(), web(*SERVERS), web(SERVERS[2]))
    assert {ask(host, "10.96.0.9", 80).split()[0] for _ in range(6)} == {SERVERS[2]}
    apply(host, backend(), web())
    with pytest.raises(subprocess.CalledProcessError) as refused:
        ask(host, "10.96.0.9", 80)
    assert "ConnectionRefusedError" in refused.value.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_session_affinity_keeps_a_client_on_one_endpoint(host: str, backend: Callable[[], Backend]) -> None:
    apply(host, backend(), web(*SERVERS, affinity=60))
    assert len({ask(host, "10.96.0.9", 80).split()[0] for _ in range(8)}) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_removal_leaves_nothing(host: str, backend: Callable[[], Backend]) -> None:
    apply(host, backend(), web(*SERVERS))
    in_namespace(host, lambda: asyncio.run(backend().remove()))
    rules = run("ip", "netns", "exec", host, "nft", "list", "ruleset")
    assert "KUBE" not in rules
    assert "kube-proxy" not in rules
