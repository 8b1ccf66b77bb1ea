"""Services as nftables: one table, one verdict map lookup per packet, however many Services there are.

    service-ips   (address . protocol . port) → chain of the service port
    node-ports    (protocol . port)           → chain, for packets to any address of this host
    no-endpoint-* what is to be refused, because nothing serves it
    hairpin       endpoint pairs with themselves: a pod that reaches itself must see another source address

Changes are applied as one transaction that touches only the service ports that changed, so an update of one Service
costs the same beside ten or ten thousand others. Design after KEP-3866.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wherry.proxy.backend import run_tool
from wherry.proxy.rules import Endpoint, ServicePort

MASQUERADE_MARK = "0x4000"
AFFINITY_SET_LIMIT = 65535


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one service port adds to the table: sets and chains with their rules, and elements of the shared maps."""

    sets: dict[str, str] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    elements: frozenset[tuple[str, str]] = frozenset()


def base_table(table: str) -> str:
    """The table without any Service: maps, hooks, and the rules that are always there."""
    return f"""add table ip {table}
delete table ip {table}
table ip {table} {{
  map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node-ports {{ type inet_proto . inet_service : verdict; }}
  set no-endpoint-ips {{ type ipv4_addr . inet_proto . inet_service; }}
  set no-endpoint-node-ports {{ type inet_proto . inet_service; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips;
    fib daddr type local meta l4proto . th dport vmap @node-ports;
  }}
  chain refuse {{
    ip daddr . meta l4proto . th dport @no-endpoint-ips reject;
    fib daddr type local meta l4proto . th dport @no-endpoint-node-ports reject;
  }}
  chain mark-masquerade {{ meta mark set meta mark or {MASQUERADE_MARK}; }}
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain filter-input {{ type filter hook input priority -110; ct state new jump refuse;
    iifname != "lo" ip daddr 127.0.0.0/8 ip saddr != 127.0.0.0/8 ct state new ct status != dnat drop; }}
  chain filter-forward {{ type filter hook forward priority -110; ct state new jump refuse; }}
  chain filter-output {{ type filter hook output priority -90; ct state new jump refuse; }}
  chain nat-postrouting {{ type nat hook postrouting priority srcnat;
    ct status dnat ip saddr . ip daddr @hairpin masquerade;
    ct status dnat ip saddr 127.0.0.0/8 ip daddr != 127.0.0.0/8 masquerade;
    meta mark and {MASQUERADE_MARK} == {MASQUERADE_MARK} meta mark set meta mark xor {MASQUERADE_MARK} masquerade; }}
}}
"""


def render(port: ServicePort) -> Rendered:
    """What `port` adds to the table."""
    tag = f"{port.name.replace('/', '-').replace(':', '-').replace('.', '-')[:40]}-{_hash(port.name)}"
    cluster_keys = [f"{ip} . {port.protocol} . {port.port}" for ip in port.cluster_ips]
    external_keys = [f"{ip} . {port.protocol} . {port.port}" for ip in port.external_ips]
    node_keys = [f"{port.protocol} . {port.node_port}"] if port.node_port else []
    sets: dict[str, str] = {}
    chains: dict[str, tuple[str, ...]] = {}
    elements: set[tuple[str, str]] = set()
    if port.internal:
        chains |= _balance(f"svc-{tag}", port, port.internal, sets)
        elements |= {("service-ips", f"{key} : goto svc-{tag}") for key in cluster_keys}
    else:
        elements |= {("no-endpoint-ips", key) for key in cluster_keys}
    if external_keys or node_keys:
        if port.external:
            target = f"svc-{tag}"
            if port.external != port.internal:
                target = f"loc-{tag}"
                chains |= _balance(target, port, port.external, sets)
            chains[f"ext-{tag}"] = _external_rules(port, target)
            elements |= {("service-ips", f"{key} : goto ext-{tag}") for key in external_keys}
            elements |= {("node-ports", f"{key} : goto ext-{tag}") for key in node_keys}
        else:
            elements |= {("no-endpoint-ips", key) for key in external_keys}
            elements |= {("no-endpoint-node-ports", key) for key in node_keys}
    return Rendered(sets, chains, frozenset(elements))


def plan_transaction(table: str, old: Mapping[str, Rendered], new: Mapping[str, Rendered]) -> str:
    """The nft script that turns a table showing `old` into one showing `new`; "" when nothing changed."""
    gone = [old[name] for name in old if old[name] != new.get(name)]
    come = [new[name] for name in new if new[name] != old.get(name)]
    removed = {element for one in gone for element in one.elements}
    added = {element for one in come for element in one.elements}
    lines = [f"delete element ip {table} {where} {{ {_key(what)} }}" for where, what in sorted(removed - added)]
    lines += [f"add set ip {table} {name} {body}" for one in come for name, body in one.sets.items()]
    lines += [f"add chain ip {table} {name}" for one in come for name in one.chains]
    stale_chains = {name for one in gone for name in one.chains} - {name for one in come for name in one.chains}
    stale_sets = {name for one in gone for name in one.sets} - {name for one in come for name in one.sets}
    lines += [f"flush chain ip {table} {name}" for one in gone for name in one.chains]
    for one in come:
        for name, rules in one.chains.items():
            lines += [f"add rule ip {table} {name} {rule}" for rule in rules]
    lines += [f"delete chain ip {table} {name}" for name in sorted(stale_chains)]
    lines += [f"delete set ip {table} {name}" for name in sorted(stale_sets)]
    lines += [f"add element ip {table} {where} {{ {what} }}" for where, what in sorted(added - removed)]
    return "".join(line + "\n" for line in lines)


class NftablesBackend:
    """Owns one nftables table."""

    def __init__(self, table: str = "kube-proxy") -> None:
        self._table = table
        self._applied: dict[str, Rendered] = {}
        self._hairpin: set[str] = set()
        self._present = False

    async def apply(self, ports: Mapping[str, ServicePort]) -> None:
        wanted = {name: render(port) for name, port in ports.items()}
        hairpin = {e.ip for port in ports.values() for e in (*port.internal, *port.external)}
        script = "" if self._present else base_table(self._table)
        if not self._present:
            self._applied, self._hairpin = {}, set()
        script += plan_transaction(self._table, self._applied, wanted)
        script += self._hairpin_changes("delete", self._hairpin - hairpin)
        script += self._hairpin_changes("add", hairpin - self._hairpin)
        if not script:
            return
        # A refused transaction changes nothing; the whole table is written again at the next attempt.
        self._present = False
        await run_tool("nft", "-f", "-", stdin=script)
        self._present, self._applied, self._hairpin = True, wanted, hairpin

    async def remove(self) -> None:
        self._present = False
        await run_tool("nft", "-f", "-", stdin=f"add table ip {self._table}\ndelete table ip {self._table}\n")

    def _hairpin_changes(self, verb: str, addresses: Iterable[str]) -> str:
        pairs = ", ".join(f"{ip} . {ip}" for ip in sorted(addresses))
        return f"{verb} element ip {self._table} hairpin {{ {pairs} }}\n" if pairs else ""


def _balance(
    chain: str, port: ServicePort, endpoints: tuple[Endpoint, ...], sets: dict[str, str]
) -> dict[str, tuple[str, ...]]:
    """Spread new connections evenly over `endpoints`; with session affinity, remember each client's choice."""
    count = len(endpoints)
    if port.affinity_seconds is None:
        table = ", ".join(f"{i} : {e.ip} . {e.port}" for i, e in enumerate(endpoints))
        return {chain: (f"meta l4proto {port.protocol} dnat ip to numgen random mod {count} map {{ {table} }}",)}
    chains: dict[str, tuple[str, ...]] = {}
    names = [f"{chain}-{_hash(f'{e.ip}:{e.port}')}" for e in endpoints]
    for name, endpoint in zip(names, endpoints, strict=True):
        sets[f"aff-{name}"] = (
            f"{{ type ipv4_addr; flags dynamic,timeout; timeout {port.affinity_seconds}s; size {AFFINITY_SET_LIMIT}; }}"
        )
        chains[name] = (
            f"update @aff-{name} {{ ip saddr }}",
            f"meta l4proto {port.protocol} dnat to {endpoint.ip}:{endpoint.port}",
        )
    verdicts = ", ".join(f"{i} : goto {name}" for i, name in enumerate(names))
    remembered = tuple(f"ip saddr @aff-{name} goto {name}" for name in names)
    chains[chain] = (*remembered, f"numgen random mod {count} vmap {{ {verdicts} }}")
    return chains


def _external_rules(port: ServicePort, target: str) -> tuple[str, ...]:
    rules = []
    if port.source_ranges:
        rules.append(
            f"ip daddr {{ {', '.join(port.external_ips)} }} ip saddr != {{ {', '.join(port.source_ranges)} }} drop"
        )
    if not port.preserve_source:
        rules.append("jump mark-masquerade")
    return (*rules, f"goto {target}")


def _key(element: str) -> str:
    return element.split(" : ")[0]


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:10]
