"""Services as iptables rules, for kernels and machines without nftables; the same plan, kube-proxy's chain names.

Everything lives in our own chains of the nat and filter tables, written by iptables-restore in one transaction a
table, so a half-written state is never live.
"""

import base64
import hashlib
from collections.abc import Mapping

from wherry.proxy.backend import BackendError, run_tool
from wherry.proxy.rules import Endpoint, ServicePort

MASQUERADE_MARK = "0x4000/0x4000"
NAT_HOOKS = {"PREROUTING": "KUBE-SERVICES", "OUTPUT": "KUBE-SERVICES", "POSTROUTING": "KUBE-POSTROUTING"}
FILTER_HOOKS = {"INPUT": "KUBE-FIREWALL", "FORWARD": "KUBE-REFUSE", "OUTPUT": "KUBE-REFUSE"}
FIXED_NAT_CHAINS = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ")
FIXED_FILTER_CHAINS = ("KUBE-REFUSE", "KUBE-FIREWALL")


def render(ports: Mapping[str, ServicePort]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Chains of the nat and of the filter table, with their rules in order."""
    nat: dict[str, list[str]] = {name: [] for name in FIXED_NAT_CHAINS}
    filters: dict[str, list[str]] = {name: [] for name in FIXED_FILTER_CHAINS}
    nat["KUBE-MARK-MASQ"].append("-j MARK --or-mark 0x4000")
    nat["KUBE-POSTROUTING"] += [
        f"-m mark ! --mark {MASQUERADE_MARK} -j RETURN",
        "-j MARK --xor-mark 0x4000",
        "-j MASQUERADE",
    ]
    filters["KUBE-FIREWALL"] += [
        "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        "-j KUBE-REFUSE",
    ]
    for name in sorted(ports):
        _render_port(ports[name], nat, filters)
    nat["KUBE-SERVICES"].append("-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
    return nat, filters


class IptablesBackend:
    """Owns the KUBE-* chains."""

    def __init__(self) -> None:
        self._chains: dict[str, set[str]] = {"nat": set(), "filter": set()}
        self._hooked = False

    async def apply(self, ports: Mapping[str, ServicePort]) -> None:
        nat, filters = render(ports)
        if not self._chains["nat"]:
            self._chains = {table: await _existing_chains(table) for table in ("nat", "filter")}
        for table, chains in (("nat", nat), ("filter", filters)):
            stale = self._chains[table] - set(chains)
            lines = [f"*{table}", *(f":{name} - [0:0]" for name in (*chains, *sorted(stale)))]
            lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
            lines += [f"-X {name}" for name in sorted(stale)]
            await run_tool("iptables-restore", "--noflush", "-w", "5", stdin="\n".join([*lines, "COMMIT", ""]))
            self._chains[table] = set(chains)
        if not self._hooked:
            await self._hook()

    async def remove(self) -> None:
        for table, hooks in (("nat", NAT_HOOKS), ("filter", FILTER_HOOKS)):
            for hook, chain in hooks.items():
                if await _has_rule(table, hook, chain):
                    await run_tool("iptables", "-w", "5", "-t", table, "-D", hook, "-j", chain)
            chains = sorted(await _existing_chains(table))
            lines = [f"*{table}", *(f":{name} - [0:0]" for name in chains), *(f"-X {name}" for name in chains)]
            await run_tool("iptables-restore", "--noflush", "-w", "5", stdin="\n".join([*lines, "COMMIT", ""]))
        self._hooked = False

    async def _hook(self) -> None:
        for table, hooks in (("nat", NAT_HOOKS), ("filter", FILTER_HOOKS)):
            for hook, chain in hooks.items():
                if not await _has_rule(table, hook, chain):
                    await run_tool("iptables", "-w", "5", "-t", table, "-I", hook, "-j", chain)
        self._hooked = True


def _render_port(port: ServicePort, nat: dict[str, list[str]], filters: dict[str, list[str]]) -> None:
    match = f"-p {port.protocol} -m {port.protocol} --dport"
    refuse = f'-m comment --comment "{port.name} has no endpoints" -j REJECT'
    service = _chain("KUBE-SVC-", port.name)
    if port.internal:
        _balance(service, port, port.internal, nat)
    for ip in port.cluster_ips:
        if port.internal:
            nat["KUBE-SERVICES"].append(f"-d {ip}/32 {match} {port.port} -j {service}")
        else:
            filters["KUBE-REFUSE"].append(f"-d {ip}/32 {match} {port.port} {refuse}")
    if not (port.external_ips or port.node_port):
        return
    if not port.external:
        filters["KUBE-REFUSE"] += [f"-d {ip}/32 {match} {port.port} {refuse}" for ip in port.external_ips]
        if port.node_port:
            filters["KUBE-REFUSE"].append(f"-m addrtype --dst-type LOCAL {match} {port.node_port} {refuse}")
        return
    target = service
    if port.external != port.internal:
        target = _chain("KUBE-SVL-", port.name)
        _balance(target, port, port.external, nat)
    outside = _chain("KUBE-EXT-", port.name)
    masquerade = [] if port.preserve_source else ["-j KUBE-MARK-MASQ"]
    nat[outside] = [*masquerade, f"-j {target}"]
    for ip in port.external_ips:
        for source in port.source_ranges or ("0.0.0.0/0",):
            nat["KUBE-SERVICES"].append(f"-s {source} -d {ip}/32 {match} {port.port} -j {outside}")
    if port.node_port:
        nat["KUBE-NODEPORTS"].append(f"{match} {port.node_port} -j {outside}")


def _balance(chain: str, port: ServicePort, endpoints: tuple[Endpoint, ...], nat: dict[str, list[str]]) -> None:
    rules = nat.setdefault(chain, [])
    targets = [(_chain("KUBE-SEP-", f"{chain} {e.ip}:{e.port}"), e) for e in endpoints]
    if port.affinity_seconds is not None:
        for name, _ in targets:
            remembered = f"-m recent --name {name} --rcheck --seconds {port.affinity_seconds} --reap"
            rules.append(f"{remembered} -j {name}")
    for position, (name, endpoint) in enumerate(targets):
        left = len(targets) - position
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        rules.append(f"{chance}-j {name}")
        remember = f"-m recent --name {name} --set " if port.affinity_seconds is not None else ""
        nat[name] = [
            f"-s {endpoint.ip}/32 -j KUBE-MARK-MASQ",
            f"{remember}-p {port.protocol} -m {port.protocol} -j DNAT --to-destination {endpoint.ip}:{endpoint.port}",
        ]


async def _existing_chains(table: str) -> set[str]:
    saved = await run_tool("iptables-save", "-t", table)
    return {line[1:].split()[0] for line in saved.splitlines() if line.startswith(":KUBE-")}


async def _has_rule(table: str, hook: str, chain: str) -> bool:
    try:
        await run_tool("iptables", "-w", "5", "-t", table, "-C", hook, "-j", chain)
    except BackendError:
        # -C has only an exit code for "no such rule"; a broken iptables fails again, and loudly, at the insert.
        return False
    return True


def _chain(prefix: str, name: str) -> str:
    # 28 characters is iptables' limit for a chain name.
    return prefix + base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:16]
