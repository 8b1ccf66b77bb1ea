"""Whether a definition's names are free in its group, and what its status says about it: decided purely.

The first to ask for a name has it. A definition is established once all its names are accepted, and stays so.
Source: apiextensions-apiserver, controller/status, controller/establish and controller/apiapproval.
"""

from collections.abc import Iterable

from wherry.api.apiextensions_v1 import (
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
)
from wherry.meta import wire
from wherry.meta.errors import quote

Condition = CustomResourceDefinitionCondition
Names = CustomResourceDefinitionNames

APPROVED = "api-approved.kubernetes.io"
"""The annotation that a group of Kubernetes' own domains must have: a URL, or "unapproved"."""


def condition_true(definition: CustomResourceDefinition, kind: str) -> bool:
    """Whether the condition is there and True."""
    return any(item.type == kind and item.status == "True" for item in definition.status.conditions)


def set_condition(status: CustomResourceDefinitionStatus, wanted: Condition, now: str) -> None:
    """Put a condition in, its time kept when the status is what it was."""
    for index, item in enumerate(status.conditions):
        if item.type == wanted.type:
            same = item.status == wanted.status
            wanted.lastTransitionTime = item.lastTransitionTime if same else now
            status.conditions[index] = wanted
            return
    wanted.lastTransitionTime = now
    status.conditions.append(wanted)


def plan_status(
    definition: CustomResourceDefinition, taken: Iterable[Names], now: str
) -> CustomResourceDefinitionStatus:
    """The status that a definition should have where others of its group have `taken` these names."""
    status = wire.deep_copy(definition.status)
    accepted, naming = _accept(definition.spec.names, status.acceptedNames, taken)
    status.acceptedNames = accepted
    set_condition(status, naming, now)
    if naming.status == "True":
        text = "the initial names have been accepted"
        if not condition_true(definition, "Established"):
            established = Condition(type="Established", status="True", reason="InitialNamesAccepted", message=text)
            set_condition(status, established, now)
    elif not any(item.type == "Established" for item in status.conditions):
        text = "not all names are accepted"
        set_condition(status, Condition(type="Established", status="False", reason="NotAccepted", message=text), now)
    if is_protected(definition.spec.group):
        set_condition(status, _approval(definition), now)
    return status


def _accept(wanted: Names, held: Names, taken: Iterable[Names]) -> tuple[Names, Condition]:
    taken = list(taken)
    resources = {name for names in taken for name in (names.plural, names.singular, *names.shortNames) if name}
    kinds = {name for names in taken for name in (names.kind, names.listKind) if name}
    accepted = wire.deep_copy(held)
    condition = Condition(type="NamesAccepted", status="True", reason="NoConflicts", message="no conflicts found")

    def refuse(reason: str, text: str) -> None:
        condition.status, condition.reason, condition.message = "False", reason, text

    for field, names, reason in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("shortNames", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):
        value, before = getattr(wanted, field), getattr(held, field)
        if field == "shortNames":
            clashes = [name for name in value if name in names and name not in before]
        else:
            clashes = [value] if value and value != before and value in names else []
        if clashes:
            texts = [f"{quote(name)} is already in use" for name in clashes]
            refuse(reason, texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
        else:
            setattr(accepted, field, value)
    accepted.categories = wanted.categories
    return accepted, condition


def is_protected(group: str) -> bool:
    """Whether a group is in Kubernetes' own domains."""
    return any(group == domain or group.endswith(f".{domain}") for domain in ("k8s.io", "kubernetes.io"))


def _approval(definition: CustomResourceDefinition) -> Condition:
    value = definition.metadata.annotations.get(APPROVED, "")
    made = Condition(type="KubernetesAPIApprovalPolicyConformant", status="False")
    if not value:
        made.reason = "MissingAnnotation"
        made.message = (
            f'protected groups must have approval annotation "{APPROVED}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
    elif value.startswith("unapproved"):
        made.reason, made.message = "UnapprovedAnnotation", f'not approved: "{value}"'
    elif "://" in value:
        made.status, made.reason, made.message = "True", "ApprovedAnnotation", f"approved in {value}"
    else:
        made.reason = "InvalidAnnotation"
        made.message = (
            f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason starting with '
            f'"unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
        )
    return made
