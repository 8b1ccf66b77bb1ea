"""Feature gates: those of Kubernetes 1.36 that mean something here, and what --feature-gates made of them.

A gate that can be switched is asked for by name (`features.enabled("WatchList")`), once, where the server is put
together. The others are what they are here: setting them to that is fine, to anything else is refused as upstream
refuses to unlock a locked gate. Gates that are not in the table do not exist here and are refused by name.

Source of the words: k8s.io/component-base/featuregate.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


@dataclass(frozen=True, slots=True)
class Gate:
    """One feature gate in 1.36."""

    stage: str
    """ALPHA, BETA, DEPRECATED, or "" for what is generally available."""
    default: bool
    switchable: bool = False


def _fixed(stage: str, names: str, *, default: bool = True) -> Iterator[tuple[str, Gate]]:
    for name in names.split():
        yield name, Gate(stage, default)


GATES: Mapping[str, Gate] = {
    "APIResponseCompression": Gate("BETA", True, switchable=True),
    "AllowUnsafeMalformedObjectDeletion": Gate("ALPHA", False, switchable=True),
    "StorageVersionMigrator": Gate("BETA", False, switchable=True),
    "WatchList": Gate("BETA", True, switchable=True),
    **dict(_fixed("ALPHA", "CBORServingAndStorage")),
    **dict(
        _fixed(
            "BETA",
            "AllowParsingUserUIDFromCertAuth ConstrainedImpersonation ListFromCacheSnapshot "
            "RemoteRequestHeaderUID StorageVersionHash TokenRequestServiceAccountUIDValidation",
        )
    ),
    **dict(
        _fixed(
            "",
            "AnonymousAuthConfigurableEndpoints AuthorizeNodeWithSelectors AuthorizeWithSelectors "
            "ConsistentListFromCache JobPodReplacementPolicy MutatingAdmissionPolicy",
        )
    ),
    **dict(_fixed("DEPRECATED", "KMSv1", default=False)),
}
_GROUPS = {"AllAlpha": "ALPHA", "AllBeta": "BETA"}


class Features:
    """Which gates are on."""

    def __init__(self, settings: Iterable[str] = ()) -> None:
        """`settings` are Gate=true|false. Raises ValueError."""
        wanted = dict(_setting(item) for item in settings)
        self._on = {name: gate.default for name, gate in GATES.items()}
        for group, stage in _GROUPS.items():  # of what can be switched
            if group in wanted:
                for name, gate in GATES.items():
                    if gate.stage == stage and gate.switchable:
                        self._on[name] = wanted[group]
        for name, value in wanted.items():
            if name in _GROUPS:
                continue
            known = GATES.get(name)
            if known is None:
                raise ValueError(f"unrecognized feature gate: {name}")
            if not known.switchable and value != known.default:
                is_, was = (str(it).lower() for it in (value, known.default))
                raise ValueError(f"cannot set feature gate {name} to {is_}, feature is locked to {was}")
            self._on[name] = value

    def enabled(self, name: str) -> bool:
        """Whether a gate of the table is on. Raises KeyError."""
        return self._on[name]

    def states(self) -> Iterator[tuple[str, str, bool]]:
        """Name, stage and state of each gate, for the metrics."""
        return ((name, gate.stage, self._on[name]) for name, gate in GATES.items())


def _setting(text: str) -> tuple[str, bool]:
    name, given, value = (part.strip() for part in text.partition("="))
    if not given:
        raise ValueError(f"missing bool value for {name}")
    return name, boolean(value, f"{name}={value}")


def boolean(value: str, what: str) -> bool:
    """A truth value as Go reads it. Raises ValueError that names `what`."""
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise ValueError(f'invalid value of {what}, err: strconv.ParseBool: parsing "{value}": invalid syntax')
