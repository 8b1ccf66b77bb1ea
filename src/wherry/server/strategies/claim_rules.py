"""What a claim on storage may say, in a PersistentVolumeClaim, an ephemeral volume, or a StatefulSet's template.

Source: kubernetes pkg/apis/core/validation.
"""

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import field_forbidden, invalid_value, required
from wherry.meta.object import ObjectMeta
from wherry.server.strategies import checks, metadata
from wherry.server.strategies.checks import Faults

_CLAIM = "PersistentVolumeClaim"
_NO_TEMPLATE = tuple(name for name in ObjectMeta.__struct_fields__ if name not in ("annotations", "labels"))


def template(path: str, value: core.PersistentVolumeClaimTemplate) -> Faults:
    """An ephemeral volume's claim: of its metadata only labels and annotations count."""
    meta = value.metadata
    yield from metadata.annotations(f"{path}.metadata.annotations", meta.annotations)
    yield from checks.labels(f"{path}.metadata.labels", meta.labels)
    for name in _NO_TEMPLATE:
        if getattr(meta, name):
            yield field_forbidden(f"{path}.metadata.{name}", "cannot be set")
    yield from spec(f"{path}.spec", value.spec)


def spec(path: str, value: core.PersistentVolumeClaimSpec) -> Faults:
    """Modes, size, class and source."""
    if not value.accessModes:
        yield required(f"{path}.accessModes", "at least 1 access mode is required")
    yield from checks.label_selector(f"{path}.selector", value.selector)
    yield from checks.access_modes(f"{path}.accessModes", value.accessModes)
    storage, here = value.resources.requests.get("storage"), f"{path}.resources[storage]"
    if storage is None:
        yield required(here)
    elif storage.nanos() <= 0:
        yield invalid_value(here, str(storage), "must be greater than zero")
    if value.storageClassName:
        yield from checks.named(f"{path}.storageClassName", value.storageClassName, names.dns1123_subdomain)
    yield from checks.one_of(f"{path}.volumeMode", value.volumeMode, ("Block", "Filesystem"))
    yield from _sources(path, value)
    if value.volumeAttributesClassName:
        attributes = value.volumeAttributesClassName
        yield from checks.named(f"{path}.volumeAttributesClassName", attributes, names.dns1123_subdomain)


def _sources(path: str, value: core.PersistentVolumeClaimSpec) -> Faults:
    source, reference = value.dataSource, value.dataSourceRef
    for name, item in (("dataSource", source), ("dataSourceRef", reference)):
        if item is None:
            continue
        here = f"{path}.{name}"
        yield from checks.present(f"{here}.name", item.name)
        yield from checks.present(f"{here}.kind", item.kind)
        if not item.apiGroup and item.kind != _CLAIM:
            yield invalid_value(here, item.kind, f"must be '{_CLAIM}' when referencing the default apiGroup")
        if item.apiGroup:
            yield from checks.named(f"{here}.apiGroup", item.apiGroup, names.dns1123_subdomain)
    if reference is not None and reference.namespace:
        yield from checks.named(f"{path}.dataSourceRef.namespace", reference.namespace, names.dns1123_label)
    if source is None or reference is None:
        return
    if reference.namespace:
        yield invalid_value(
            path, f"{path}.dataSource", "may not be specified when dataSourceRef.namespace is specified"
        )
    elif (source.apiGroup, source.kind, source.name) != (reference.apiGroup, reference.kind, reference.name):
        yield invalid_value(path, f"{path}.dataSource", "must match dataSourceRef")
