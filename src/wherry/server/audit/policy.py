"""audit.k8s.io/v1 Policy: which requests are recorded, how much of them, at which stages.

The first rule that matches decides; no rule, no record. Source: k8s.io/apiserver, audit/policy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.server.http import RequestInfo, UserInfo
from wherry.server.negotiation import parse_yaml

NONE, METADATA, REQUEST, REQUEST_RESPONSE = range(4)
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_RULE_LISTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages")


class PolicyError(Exception):
    """The policy cannot be used; the message says what is wrong with which file."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is recorded of one request."""

    level: int
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


_NOTHING = Verdict(NONE)


@dataclass(frozen=True, slots=True)
class _Rule:
    verdict: Verdict
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[tuple[str, frozenset[str], frozenset[str]], ...]
    """API group, resources, names."""
    paths: tuple[str, ...]

    def matches(self, user: UserInfo, info: RequestInfo) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return info.is_resource_request and self._resource_matches(info)
        if self.paths:
            return not info.is_resource_request and any(_path_matches(path, info.path) for path in self.paths)
        return True

    def _resource_matches(self, info: RequestInfo) -> bool:
        if self.namespaces and info.namespace not in self.namespaces:
            return False
        if not self.resources:
            return True
        whole = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        spellings = {whole, "*", f"{info.resource}/*"}
        if info.subresource:
            spellings.add(f"*/{info.subresource}")
        return any(
            group == info.api_group
            and (not wanted or (not wanted.isdisjoint(spellings) and (not named or info.name in named)))
            for group, wanted, named in self.resources
        )


def _path_matches(wanted: str, path: str) -> bool:
    return wanted in ("*", path) or (wanted.endswith("*") and path.startswith(wanted[:-1]))


class Policy:
    """A policy file's rules."""

    def __init__(self, value: Any, source: str) -> None:
        if not isinstance(value, dict) or value.get("kind") != "Policy":
            raise PolicyError(f"{source}: not an audit policy (kind: Policy)")
        if value.get("apiVersion") != "audit.k8s.io/v1":
            raise PolicyError(f"{source}: apiVersion {value.get('apiVersion')} is not known: use audit.k8s.io/v1")
        if not value.get("rules"):
            raise PolicyError(f"loaded illegal policy with 0 rules from file {source}")
        omitted = _strings(value, "omitStages", source)
        _check_stages(omitted, source)
        fields = bool(value.get("omitManagedFields"))
        self._rules = [
            _rule(item, omitted, fields, f"{source}: rules[{index}]") for index, item in enumerate(value["rules"])
        ]

    @classmethod
    def read(cls, path: Path) -> "Policy":
        """The policy in a file. Raises PolicyError."""
        try:
            value = parse_yaml(path.read_bytes())
        except OSError as error:
            raise PolicyError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise PolicyError(f"{path}: {error}") from error
        return cls(value, str(path))

    def verdict(self, user: UserInfo, info: RequestInfo) -> Verdict:
        """What to record of a request."""
        for rule in self._rules:
            if rule.matches(user, info):
                return rule.verdict
        return _NOTHING


def _rule(item: Any, omitted: list[str], fields: bool, where: str) -> _Rule:
    if not isinstance(item, dict):
        raise PolicyError(f"{where}: not an object")
    level = item.get("level")
    if level not in LEVELS:
        raise PolicyError(f'{where}.level: Unsupported value: "{level or ""}": supported values: {", ".join(LEVELS)}')
    lists = {name: _strings(item, name, where) for name in _RULE_LISTS}
    resources = item.get("resources") or []
    if lists["nonResourceURLs"] and (resources or lists["namespaces"]):
        raise PolicyError(
            f"{where}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
        )
    for url in lists["nonResourceURLs"]:
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise PolicyError(f"{where}.nonResourceURLs: {url}: begins with / and may end with *")
    _check_stages(lists["omitStages"], where)
    own = item.get("omitManagedFields")
    verdict = Verdict(
        LEVELS.index(level), frozenset(omitted + lists["omitStages"]), fields if own is None else bool(own)
    )
    return _Rule(
        verdict,
        frozenset(lists["users"]),
        frozenset(lists["userGroups"]),
        frozenset(lists["verbs"]),
        frozenset(lists["namespaces"]),
        tuple(_resource(one, f"{where}.resources[{index}]") for index, one in enumerate(resources)),
        tuple(lists["nonResourceURLs"]),
    )


def _resource(item: Any, where: str) -> tuple[str, frozenset[str], frozenset[str]]:
    if not isinstance(item, dict):
        raise PolicyError(f"{where}: not an object")
    group, names = item.get("group") or "", _strings(item, "resourceNames", where)
    if "/" in group:
        raise PolicyError(f"{where}.group: {group}: a group without its version")
    resources = _strings(item, "resources", where)
    if names and not resources:
        raise PolicyError(f"{where}.resourceNames: using resourceNames requires at least one resource")
    return group, frozenset(resources), frozenset(names)


def _strings(item: dict[str, Any], name: str, where: str) -> list[str]:
    values = item.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise PolicyError(f"{where}.{name}: a list of strings is wanted")
    return values


def _check_stages(stages: list[str], where: str) -> None:
    for stage in stages:
        if stage not in STAGES:
            raise PolicyError(
                f'{where}.omitStages: Unsupported value: "{stage}": supported values: {", ".join(STAGES)}'
            )
