"""Which built-in API versions and kinds are served: generally available ones, unless --runtime-config says otherwise.

Kinds that are switched off are kept like the others (the server reads them itself: roles, namespaces, limits), but no
client finds them: not by request, in discovery or in OpenAPI. Source: k8s.io/apiserver, pkg/server/resourceconfig.
"""

import re
from collections.abc import Iterable, Mapping

from wherry.api.registry import RESOURCES
from wherry.meta.resource import Resource
from wherry.server.features import boolean

_STAGES = {
    "api/all": re.compile(r".*"),
    "api/ga": re.compile(r"v\d+"),
    "api/beta": re.compile(r"v\d+beta\d+"),
    "api/alpha": re.compile(r"v\d+alpha\d+"),
}
"""In the order in which they apply, later ones over earlier ones."""
_VERSIONS = {(item.group, item.version) for item in RESOURCES}


class RuntimeConfig:
    """The decision for every built-in kind."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        """`settings` by key, as `read` gives them. Raises ValueError."""
        settings = settings or {}
        if settings.get("api/all") == "false" and len(settings) == 1:
            raise ValueError("invalid runtime-config with only api/all=false")
        named = {key: _place(key) for key in settings if key not in _STAGES}
        groups = {group for group, _ in _VERSIONS}
        if unknown := sorted({f"{group}/{version}" for group, version, _ in named.values() if group not in groups}):
            raise ValueError(f"unknown api groups {','.join(unknown)}")
        self._versions = {key: _STAGES["api/ga"].fullmatch(key[1]) is not None for key in _VERSIONS}
        self._resources: dict[tuple[str, str, str], bool] = {}
        for stage, pattern in _STAGES.items():
            if stage in settings:
                on = _stage_value(stage, settings[stage])
                self._versions |= {key: on for key in _VERSIONS if pattern.fullmatch(key[1])}
        for key, (group, version, plural) in named.items():
            if (group, version) not in _VERSIONS:
                raise ValueError(f"group version {group}/{version} that has not been registered")
            on = boolean(settings[key], f"{key}: {settings[key]}") if settings[key] else True
            if plural != plural.lower():
                text = "group/version/resource and resource is always lowercase plural"
                raise ValueError(f'invalid key {key}: {text}, not "{plural}"')
            if plural:
                self._resources[group, version, plural] = on
            else:
                self._versions[group, version] = on

    def serves(self, resource: Resource) -> bool:
        """Whether clients may know of a built-in kind."""
        own = self._resources.get((resource.group, resource.version, resource.plural))
        return self._versions[resource.group, resource.version] if own is None else own


def read(flags: Iterable[str]) -> dict[str, str]:
    """key=value pairs separated by commas, in any number of flags."""
    pairs = (item.strip().partition("=") for flag in flags for item in flag.split(",") if item.strip())
    return {key: value for key, _, value in pairs}


def _place(key: str) -> tuple[str, str, str]:
    group, *rest = key.split("/")
    if len(rest) not in (1, 2):
        raise ValueError(f"runtime-config invalid key {key}")
    return group, rest[0], rest[1] if len(rest) == 2 else ""


def _stage_value(key: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError(f"invalid value {key}={value}")
    return value == "true"
