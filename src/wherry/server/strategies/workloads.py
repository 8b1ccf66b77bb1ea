"""What the kinds that run pods from a template share: selector and template rules, replica counts, selectability."""

from typing import Any

from wherry.api.core_v1 import PodTemplateSpec
from wherry.api.meta_v1 import LabelSelector
from wherry.meta.errors import field_forbidden, invalid_value, not_supported, required
from wherry.meta.labels import from_label_selector
from wherry.server.strategies import checks, pod_rules
from wherry.server.strategies.checks import Faults

EMPTY_SELECTOR = "empty selector is invalid for"


def selector(path: str, value: LabelSelector | None, kind: str) -> Faults:
    """A required, well-formed, non-empty selector."""
    if value is None:
        yield required(path)
        return
    yield from checks.label_selector(path, value)
    if checks.selects_nothing_named(value):
        yield invalid_value(path, value, f"{EMPTY_SELECTOR} {kind}")


def template(
    path: str,
    value: PodTemplateSpec | None,
    wanted: LabelSelector | None,
    kind: str,
    *,
    whole: bool = True,
) -> Faults:
    """A pod template of pods that run forever, which the selector matches.

    `whole`: its spec is looked into; a StatefulSet's mounts name volumes that only its pods have.
    """
    if value is None:
        yield required(path)
        return
    yield from matching(path, value, wanted)
    if whole:
        yield from pod_rules.template(path, value)
    else:
        yield from pod_rules.template_metadata(path, value)
    if value.spec.restartPolicy != "Always":
        yield not_supported(f"{path}.spec.restartPolicy", value.spec.restartPolicy, ("Always",))
    if value.spec.activeDeadlineSeconds is not None:
        text = f"activeDeadlineSeconds in {kind} is not Supported"
        yield field_forbidden(f"{path}.spec.activeDeadlineSeconds", text)


def matching(path: str, value: PodTemplateSpec, wanted: LabelSelector | None) -> Faults:
    """The selector matches the template's labels."""
    labels = value.metadata.labels
    if wanted is not None and not checks.selects_nothing_named(wanted) and _matches(wanted, labels) is False:
        text = "`selector` does not match template `labels`"
        yield invalid_value(f"{path}.metadata.labels", labels, text)


def _matches(wanted: LabelSelector, labels: dict[str, str]) -> bool | None:
    """None when the selector cannot be compiled; its own rules tell why."""
    try:
        return from_label_selector(wanted).matches(labels)
    except ValueError:
        return None


def replicas(path: str, spec: Any) -> Faults:
    """Counts of the kinds that have them."""
    yield from checks.non_negative(f"{path}.replicas", spec.replicas)
    yield from checks.non_negative(f"{path}.minReadySeconds", spec.minReadySeconds)
