"""CustomResourceDefinitions: defaults of names, what a definition must be, what of it may change.

The rules of schemas are in customresources/structural.py; conditions are given by customresources/serving.py.
Source: apiextensions-apiserver, apis/apiextensions/validation and registry/customresourcedefinition.
"""

from collections.abc import Sequence

from wherry.api.apiextensions_v1 import (
    CustomResourceColumnDefinition,
    CustomResourceConversion,
    CustomResourceDefinition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
    CustomResourceDefinitionVersion,
    CustomResourceSubresourceScale,
)
from wherry.meta import names
from wherry.meta.errors import FieldError, invalid_value, not_supported, required, too_many
from wherry.server.customresources import structural
from wherry.server.customresources.naming import APPROVED, condition_true, is_protected
from wherry.server.strategies import checks, metadata
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.strategy import RequestContext
from wherry.server.strategies.webhooks import client_config, review_versions

Names = CustomResourceDefinitionNames
Version = CustomResourceDefinitionVersion

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer under which a definition's objects are deleted."""
SCOPES = ("Cluster", "Namespaced")
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password")
SELECTABLE_MAX = 8


class CustomResourceDefinitionStrategy(KindStrategy):
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""

    generation_counts = ("spec",)

    def default(self, obj: CustomResourceDefinition) -> None:
        spec = obj.spec
        spec.names.singular = spec.names.singular or spec.names.kind.lower() or None
        spec.names.listKind = spec.names.listKind or (f"{spec.names.kind}List" if spec.names.kind else None)
        spec.conversion = spec.conversion or CustomResourceConversion(strategy="None")
        webhook = spec.conversion.webhook
        if webhook is not None and webhook.clientConfig is not None and webhook.clientConfig.service is not None:
            webhook.clientConfig.service.port = webhook.clientConfig.service.port or 443

    def prepare_for_create(self, obj: CustomResourceDefinition, ctx: RequestContext) -> None:
        obj.status = CustomResourceDefinitionStatus()
        obj.metadata.generation = 1
        _note_storage(obj)

    def prepare_for_update(
        self, new: CustomResourceDefinition, old: CustomResourceDefinition, ctx: RequestContext
    ) -> None:
        super().prepare_for_update(new, old, ctx)
        _note_storage(new)

    def grace_period_seconds(self, obj: CustomResourceDefinition, requested: int | None) -> int:
        """The first deletion: its objects go before the definition does, so hold it by the finalizer."""
        if CLEANUP not in obj.metadata.finalizers:
            obj.metadata.finalizers = [*obj.metadata.finalizers, CLEANUP]
        return 0

    def validate(self, obj: CustomResourceDefinition) -> list[FieldError]:
        faults = metadata.validate(obj.metadata, False, any_finalizer=True)
        return [*faults, *self.rules(obj), *_approval(obj)]

    def validate_update(self, new: CustomResourceDefinition, old: CustomResourceDefinition) -> list[FieldError]:
        faults = metadata.validate_update(new.metadata, old.metadata, any_finalizer=True)
        return [*faults, *self.rules(new), *self.update_rules(new, old)]

    def rules(self, obj: CustomResourceDefinition) -> Faults:
        spec = obj.spec
        if obj.metadata.name and obj.metadata.name != f"{spec.names.plural}.{spec.group}":
            yield invalid_value("metadata.name", obj.metadata.name, 'must be spec.names.plural+"."+spec.group')
        yield from _group(spec.group)
        yield from checks.one_of_required("spec.scope", spec.scope, SCOPES)
        yield from _versions(spec.versions)
        for field in ("plural", "singular", "kind", "listKind"):
            if not getattr(spec.names, field):
                yield required(f"spec.names.{field}")
        yield from _names("spec.names", spec.names)
        yield from _conversion(spec.conversion)
        if spec.preserveUnknownFields:
            yield invalid_value("spec.preserveUnknownFields", True, "must be false")
        for index, version in enumerate(spec.versions):
            yield from _version(f"spec.versions[{index}]", version)
        yield from _names("status.acceptedNames", obj.status.acceptedNames)

    def update_rules(self, new: CustomResourceDefinition, old: CustomResourceDefinition) -> Faults:
        if condition_true(old, "Established"):
            yield from checks.immutable("spec.scope", new.spec.scope, old.spec.scope)
            yield from checks.immutable("spec.names.kind", new.spec.names.kind, old.spec.names.kind)
        yield from checks.immutable("spec.group", new.spec.group, old.spec.group)
        yield from checks.immutable("spec.names.plural", new.spec.names.plural, old.spec.names.plural)
        if _approved(old) or not is_protected(old.spec.group):
            yield from _approval(new)
        yield from _stored_versions(new)

    def validate_status_update(self, new: CustomResourceDefinition, old: CustomResourceDefinition) -> list[FieldError]:
        faults = metadata.validate_update(new.metadata, old.metadata, any_finalizer=True)
        return [*faults, *_stored_versions(new), *_names("status.acceptedNames", new.status.acceptedNames)]


def _note_storage(obj: CustomResourceDefinition) -> None:
    for version in obj.spec.versions:
        if version.storage and version.name not in obj.status.storedVersions:
            obj.status.storedVersions = [*obj.status.storedVersions, version.name]


def _approved(obj: CustomResourceDefinition) -> bool:
    value = obj.metadata.annotations.get(APPROVED, "")
    return value.startswith("unapproved") or "://" in value


def _approval(obj: CustomResourceDefinition) -> Faults:
    if not is_protected(obj.spec.group) or _approved(obj):
        return
    path = f"metadata.annotations[{APPROVED}]"
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    text = f'protected groups must have approval annotation "{APPROVED}"'
    value = obj.metadata.annotations.get(APPROVED)
    if not value:
        yield required(path, f"{text}, {see}")
    else:
        yield invalid_value(path, value, f'{text} with either a URL or a reason starting with "unapproved", {see}')


def _group(group: str) -> Faults:
    if not group:
        yield required("spec.group")
    elif faults := names.dns1123_subdomain(group):
        yield invalid_value("spec.group", group, ",".join(faults))
    elif "." not in group:
        yield invalid_value("spec.group", group, "should be a domain with at least one dot")


def _names(path: str, found: Names) -> Faults:
    for field in ("plural", "singular"):
        yield from _label(f"{path}.{field}", getattr(found, field))
    for field in ("kind", "listKind"):
        value = getattr(found, field)
        if value and (faults := names.dns1035_label(value.lower())):
            text = "may have mixed case, but should otherwise match: " + ",".join(faults)
            yield invalid_value(f"{path}.{field}", value, text)
    for index, name in enumerate(found.shortNames):
        yield from _label(f"{path}.shortNames[{index}]", name)
    if found.kind and found.kind == found.listKind:
        yield invalid_value(f"{path}.listKind", found.listKind, "kind and listKind may not be the same")
    for index, name in enumerate(found.categories):
        yield from _label(f"{path}.categories[{index}]", name)


def _label(path: str, value: str | None) -> Faults:
    if value and (faults := names.dns1035_label(value)):
        yield invalid_value(path, value, ",".join(faults))


def _versions(versions: Sequence[Version]) -> Faults:
    for index, version in enumerate(versions):
        if faults := names.dns1035_label(version.name):
            yield invalid_value(f"spec.versions[{index}].name", version.name, ",".join(faults))
    if len({version.name for version in versions}) != len(versions):
        yield invalid_value("spec.versions", versions, "must contain unique version names")
    if sum(version.storage for version in versions) != 1:
        yield invalid_value("spec.versions", versions, "must have exactly one version marked as storage version")


def _stored_versions(obj: CustomResourceDefinition) -> Faults:
    known = {version.name for version in obj.spec.versions}
    if not obj.status.storedVersions:
        yield invalid_value("status.storedVersions", [], "must have at least one stored version")
    for index, name in enumerate(obj.status.storedVersions):
        if name not in known:
            text = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and "
                f"removes {name} from status.storedVersions"
            )
            yield invalid_value(f"status.storedVersions[{index}]", name, text)


def _conversion(conversion: CustomResourceConversion | None) -> Faults:
    if conversion is None:
        return
    if not conversion.strategy:
        yield required("spec.conversion.strategy")
    elif conversion.strategy not in ("None", "Webhook"):
        yield not_supported("spec.conversion.strategy", conversion.strategy, ["None", "Webhook"])
    elif conversion.strategy == "Webhook":
        if conversion.webhook is None or conversion.webhook.clientConfig is None:
            yield required("spec.conversion.webhookClientConfig", "required when strategy is set to Webhook")
        else:
            yield from client_config("spec.conversion.webhookClientConfig", conversion.webhook.clientConfig)
            path = "spec.conversion.conversionReviewVersions"
            yield from review_versions(path, conversion.webhook.conversionReviewVersions, "")
    elif conversion.webhook is not None:
        text = "should not be set when strategy is not set to Webhook"
        yield FieldError("FieldValueForbidden", "spec.conversion.webhookClientConfig", "", text)


def _version(path: str, version: Version) -> Faults:
    if version.deprecationWarning is not None and not version.deprecated:
        text = "can only be set for deprecated versions"
        yield invalid_value(f"{path}.deprecationWarning", version.deprecationWarning, text)
    schema = version.schema.openAPIV3Schema if version.schema is not None else None
    if schema is None:
        yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
    else:
        yield from structural.faults(schema, f"{path}.schema.openAPIV3Schema")
    if version.subresources is not None and version.subresources.scale is not None:
        yield from _scale(f"{path}.subresources.scale", version.subresources.scale)
    for index, column in enumerate(version.additionalPrinterColumns):
        yield from _column(f"{path}.additionalPrinterColumns[{index}]", column)
    if len(version.selectableFields) > SELECTABLE_MAX:
        yield too_many(f"{path}.selectableFields", len(version.selectableFields), SELECTABLE_MAX)
    for index, field in enumerate(version.selectableFields):
        yield from structural.selectable(f"{path}.selectableFields[{index}].jsonPath", field.jsonPath, schema)


def _scale(path: str, scale: CustomResourceSubresourceScale) -> Faults:
    for field, value, under in (
        ("specReplicasPath", scale.specReplicasPath, (".spec.",)),
        ("statusReplicasPath", scale.statusReplicasPath, (".status.",)),
        ("labelSelectorPath", scale.labelSelectorPath, (".spec.", ".status.")),
    ):
        here = f"{path}.{field}"
        if not value:
            if field != "labelSelectorPath":
                yield required(here)
        elif faults := list(_simple_path(here, value)):
            yield from faults
        elif not value.startswith(under):
            where = under[0].strip(".") if len(under) == 1 else ""
            text = (
                f"should be a json path under .{where}"
                if where
                else "should be a json path under either .spec or .status"
            )
            yield invalid_value(here, value, text)


def _simple_path(path: str, value: str) -> Faults:
    if not value.startswith("."):
        yield invalid_value(path, value, "must be a simple json path starting with .")
    elif "[" in value or value == ".":
        yield invalid_value(path, value, "must be a json path in the dot notation")


def _column(path: str, column: CustomResourceColumnDefinition) -> Faults:
    if not column.name:
        yield required(f"{path}.name")
    if not column.type:
        yield required(f"{path}.type", f"must be one of {','.join(COLUMN_TYPES)}")
    elif column.type not in COLUMN_TYPES:
        yield invalid_value(f"{path}.type", column.type, f"must be one of {','.join(COLUMN_TYPES)}")
    if column.format and column.format not in COLUMN_FORMATS:
        yield invalid_value(f"{path}.format", column.format, f"must be one of {','.join(sorted(COLUMN_FORMATS))}")
    if not column.jsonPath:
        yield required(f"{path}.jsonPath", "must be a valid json path")
    else:
        yield from structural.column_path(f"{path}.jsonPath", column.jsonPath)
