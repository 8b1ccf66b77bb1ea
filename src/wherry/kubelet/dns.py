"""resolv.conf, hostname and hosts file of a pod. Pure, but for the host's resolv.conf, which is an argument."""

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.api.core_v1 import Pod

_HOSTNAME_MAX = 63


@dataclass(frozen=True, slots=True)
class Resolver:
    """What a resolv.conf says."""

    nameservers: Sequence[str] = ()
    searches: Sequence[str] = ()
    options: Sequence[str] = ()

    def text(self) -> str:
        """As a file."""
        lines = [f"nameserver {item}" for item in self.nameservers]
        lines += [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "\n".join(lines) + "\n"


def parse_resolv_conf(text: str) -> Resolver:
    """The host's resolv.conf; the last `search` counts."""
    nameservers, searches, options = [], [], []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0].startswith(("#", ";")):
            continue
        if words[0] == "nameserver":
            nameservers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = words[1:]
        elif words[0] == "options":
            options += words[1:]
    return Resolver(nameservers, searches, options)


def pod_resolver(pod: Pod, host: Resolver, cluster_dns: Sequence[str], cluster_domain: str) -> Resolver:
    """By dnsPolicy, then dnsConfig on top. A host-network pod with ClusterFirst gets the host's."""
    policy = pod.spec.dnsPolicy or "ClusterFirst"
    cluster = cluster_dns and (
        policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.hostNetwork)
    )
    if policy == "None":
        base = Resolver()
    elif cluster:
        suffixes = (f"{pod.metadata.namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        base = Resolver(cluster_dns, _unique([*suffixes, *host.searches]), ("ndots:5",))
    else:
        base = host
    config = pod.spec.dnsConfig
    if config is None:
        return base
    extra = {item.name or "": f"{item.name}:{item.value}" if item.value else item.name or "" for item in config.options}
    options = [item for item in base.options if item.partition(":")[0] not in extra]
    return Resolver(
        _unique([*base.nameservers, *config.nameservers]),
        _unique([*base.searches, *config.searches]),
        [*options, *extra.values()],
    )


def pod_hostname(pod: Pod) -> str:
    """spec.hostname, else the pod's name cut to 63 characters."""
    name = pod.spec.hostname or pod.metadata.name or ""
    return name if len(name) <= _HOSTNAME_MAX else name[:_HOSTNAME_MAX].rstrip("-.")


def hosts_file(pod: Pod, pod_ips: Sequence[str], cluster_domain: str) -> str:
    """/etc/hosts of a pod with its own network."""
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "fe00::\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    hostname = pod_hostname(pod)
    full = (
        f"{hostname}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}\t" if pod.spec.subdomain else ""
    )
    lines += [f"{ip}\t{full}{hostname}" for ip in pod_ips]
    return "\n".join(lines) + "\n" + host_aliases(pod)


def host_aliases(pod: Pod) -> str:
    """The entries that the pod adds."""
    if not pod.spec.hostAliases:
        return ""
    entries = [f"{item.ip}\t" + "\t".join(item.hostnames) for item in pod.spec.hostAliases]
    return "\n# Entries added by HostAliases.\n" + "\n".join(entries) + "\n"


def _unique(items: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(items))
