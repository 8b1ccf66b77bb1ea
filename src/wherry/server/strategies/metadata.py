"""The rules of metadata, the same for every kind: names, labels, annotations, owners, finalizers, and what may change.

Source: k8s.io/apimachinery, api/validation/objectmeta.go.
"""

from collections.abc import Mapping
from functools import partial

from wherry.meta import names
from wherry.meta.errors import field_forbidden, invalid_value, required, too_long
from wherry.meta.object import ObjectMeta, OwnerReference
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults, NameCheck

ANNOTATIONS_BYTES_MAX = 256 * 1024
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def validate(
    meta: ObjectMeta,
    namespaced: bool,
    name_check: NameCheck = names.dns1123_subdomain,
    path: str = "metadata",
    any_finalizer: bool = False,
) -> Faults:
    """A new object's metadata. `any_finalizer`: definitions and custom resources may have unqualified ones."""
    if meta.generateName:
        yield from checks.named(f"{path}.generateName", meta.generateName, partial(names.as_prefix, name_check))
    if not meta.name:
        yield required(f"{path}.name", "name or generateName is required")
    else:
        yield from checks.named(f"{path}.name", meta.name, name_check)
    if not namespaced:
        if meta.namespace:
            yield field_forbidden(f"{path}.namespace", "not allowed on this type")
    else:
        yield from checks.named_required(f"{path}.namespace", meta.namespace, names.dns1123_label)
    yield from _common(meta, path, any_finalizer)


def validate_update(new: ObjectMeta, old: ObjectMeta, path: str = "metadata", any_finalizer: bool = False) -> Faults:
    """What may not change once an object is there."""
    for field in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        yield from checks.immutable(f"{path}.{field}", getattr(new, field), getattr(old, field))
    if (new.generation or 0) < (old.generation or 0):
        yield invalid_value(f"{path}.generation", new.generation, "must not be decremented")
    if old.deletionTimestamp and (added := sorted(set(new.finalizers) - set(old.finalizers))):
        shown = ", ".join(f'"{item}"' for item in added)
        text = "no new finalizers can be added if the object is being deleted, found new finalizers"
        yield field_forbidden(f"{path}.finalizers", f"{text} []string{{{shown}}}")
    yield from _common(new, path, any_finalizer)


def drop_repeated_owners(meta: ObjectMeta, warnings: list[str], when: str = "") -> None:
    """Leave one of each owner that was named more than once, and say so."""
    kept: list[OwnerReference] = []
    repeated = []
    for owner in meta.ownerReferences:
        if owner in kept:
            repeated.append(owner.uid)
        else:
            kept.append(owner)
    if repeated:
        meta.ownerReferences = kept
        text = f".metadata.ownerReferences contains duplicate entries{when}; {_DEDUPS}"
        warnings.append(f"{text}; duplicate UID(s) observed: {', '.join(repeated)}")


AFTER_ADMISSION = " after mutating admission happens"
_DEDUPS = (
    "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; "
    "please fix your requests"
)


def _common(meta: ObjectMeta, path: str, any_finalizer: bool) -> Faults:
    if (meta.generation or 0) < 0:
        yield invalid_value(f"{path}.generation", meta.generation, checks.NEGATIVE)
    if meta.labels:
        yield from checks.labels(f"{path}.labels", meta.labels)
    if meta.annotations:
        yield from annotations(f"{path}.annotations", meta.annotations)
    if meta.ownerReferences:
        yield from _owners(f"{path}.ownerReferences", meta.ownerReferences)
    if meta.finalizers:
        yield from _finalizers(f"{path}.finalizers", meta.finalizers, any_finalizer)


def annotations(path: str, values: Mapping[str, str]) -> Faults:
    """Keys are names whose case does not matter; all together have a size."""
    size = 0
    for key, value in values.items():
        for text in names.qualified_name(key.lower()):
            yield invalid_value(path, key, text)
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_BYTES_MAX:
        yield too_long(path, ANNOTATIONS_BYTES_MAX)


def _owners(path: str, owners: list[OwnerReference]) -> Faults:
    controller = ""
    for index, owner in enumerate(owners):
        here = f"{path}[{index}]"
        if not owner.apiVersion or owner.apiVersion.endswith("/"):
            yield invalid_value(f"{here}.apiVersion", owner.apiVersion, "version must not be empty")
        for field in ("kind", "name", "uid"):
            if not getattr(owner, field):
                yield invalid_value(f"{here}.{field}", "", "must not be empty")
        if owner.kind == "Event" and owner.apiVersion in ("v1", "events.k8s.io/v1"):
            group, _, version = owner.apiVersion.rpartition("/")
            text = f"{group}/{version}, Kind=Event is disallowed from being an owner"
            yield invalid_value(path, owner, text)
        if owner.controller:
            if controller:
                text = 'Only one reference can have Controller set to true. Found "true" in references for'
                yield invalid_value(path, owners, f"{text} {controller} and {owner.name}")
            controller = controller or owner.name


def _finalizers(path: str, finalizers: list[str], any_finalizer: bool) -> Faults:
    for index, finalizer in enumerate(finalizers):
        faults = names.qualified_name(finalizer)
        for text in faults:
            yield invalid_value(path, finalizer, text)
        if not (faults or any_finalizer or "/" in finalizer or finalizer in _STANDARD_FINALIZERS):
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid_value(f"{path}[{index}]", finalizer, text)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        yield invalid_value(path, finalizers, text)
