"""AppArmor profiles of new pods: the annotation of old and the field of today say the same, whichever was given.

Source: Kubernetes, applyAppArmorVersionSkew in pkg/registry/core/pod.
"""

from wherry.api.core_v1 import AppArmorProfile, Pod, SecurityContext
from wherry.server.strategies.pod_advice import APPARMOR_DEPRECATED
from wherry.server.strategies.pod_rules import APPARMOR
from wherry.server.strategies.security_rules import each_container

_TO_FIELD = {"runtime/default": "RuntimeDefault", "unconfined": "Unconfined"}
_TO_ANNOTATION = {field: annotation for annotation, field in _TO_FIELD.items()}
_LOCALHOST = "localhost/"


def settle(pod: Pod) -> list[str]:
    """Fill in what is missing of a new pod; returns what its writer is warned of."""
    if pod.spec.os is not None and pod.spec.os.name == "windows":
        return []
    context, annotations = pod.spec.securityContext, dict(pod.metadata.annotations)
    whole = context.appArmorProfile if context is not None else None
    warnings = []
    for _, container in each_container("", pod.spec):
        key, own = f"{APPARMOR}{container.name}", container.securityContext
        profile = own.appArmorProfile if own is not None else None
        if key not in annotations:
            if text := _annotation(profile or whole):
                annotations[key] = text
        elif profile is None:
            found = _field(annotations[key])
            if found is not None and found != whole:
                container.securityContext = own or SecurityContext()
                container.securityContext.appArmorProfile = found
            if found is None or found != whole:
                warnings.append(f"metadata.annotations[{key}]: {APPARMOR_DEPRECATED}")
    pod.metadata.annotations = annotations
    return warnings


def concerns(pod: Pod) -> bool:
    """Whether anything in a pod speaks of AppArmor."""
    context = pod.spec.securityContext
    if context is not None and context.appArmorProfile is not None:
        return True
    if any(key.startswith(APPARMOR) for key in pod.metadata.annotations):
        return True
    for container in (*pod.spec.containers, *pod.spec.initContainers):
        if container.securityContext is not None and container.securityContext.appArmorProfile is not None:
            return True
    return False


def _annotation(profile: AppArmorProfile | None) -> str:
    if profile is None:
        return ""
    if profile.type == "Localhost":
        return f"{_LOCALHOST}{profile.localhostProfile}" if profile.localhostProfile else ""
    return _TO_ANNOTATION.get(profile.type, "")


def _field(annotation: str) -> AppArmorProfile | None:
    if annotation in _TO_FIELD:
        return AppArmorProfile(type=_TO_FIELD[annotation])
    path = annotation.removeprefix(_LOCALHOST)
    if path == annotation or not path.strip():
        return None
    return AppArmorProfile(type="Localhost", localhostProfile=path)
