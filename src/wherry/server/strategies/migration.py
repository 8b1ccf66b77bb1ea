"""StorageVersionMigration: which resource is written anew, once, and how far that has come.

Source: Kubernetes, pkg/apis/storagemigration/validation.
"""

from wherry.api.storagemigration_v1beta1 import StorageVersionMigration
from wherry.meta.errors import invalid_value, required
from wherry.rules import conditions
from wherry.server.strategies.checks import IMMUTABLE, NEGATIVE, Faults
from wherry.server.strategies.kind import KindStrategy

RUNNING, SUCCEEDED, FAILED = "Running", "Succeeded", "Failed"


class MigrationStrategy(KindStrategy):
    """storagemigration.k8s.io StorageVersionMigration."""

    def rules(self, obj: StorageVersionMigration) -> Faults:
        if not obj.spec.resource.resource:
            yield required("spec.resource.resource", "resource is required")

    def update_rules(self, new: StorageVersionMigration, old: StorageVersionMigration) -> Faults:
        for member in ("group", "resource"):
            value = getattr(new.spec.resource, member)
            if value != getattr(old.spec.resource, member):
                yield invalid_value(member, value, IMMUTABLE)

    def status_rules(self, new: StorageVersionMigration, old: StorageVersionMigration) -> Faults:
        version, before = new.status.resourceVersion or "", old.status.resourceVersion or ""
        path, listed = "status.resourceVersion", new.status.conditions
        digits = version.removeprefix("-")
        if version and not (digits.isascii() and digits.isdigit()):
            text = f'resource version "{version}" is not an integer'
            yield invalid_value(path, version, text)
        elif version.startswith("-"):
            yield invalid_value(path, version, NEGATIVE)
        if before and version != before:
            yield invalid_value(path, version, IMMUTABLE)
        is_now = {kind: conditions.is_true(listed, kind) for kind in (RUNNING, SUCCEEDED, FAILED)}
        if is_now[SUCCEEDED] and is_now[FAILED]:
            text = "Both success and failed conditions cannot be true at the same time"
            yield invalid_value("status.conditions", listed, text)
        for kind, name in ((SUCCEEDED, "success"), (FAILED, "failed")):
            if is_now[kind] and is_now[RUNNING]:
                text = f"Running condition cannot be true when {name} condition is true"
                yield invalid_value("status.conditions", listed, text)
            if conditions.is_true(old.status.conditions, kind) and not is_now[kind]:
                text = f"{name.capitalize()} condition cannot be set to false once it is true"
                yield invalid_value("status.conditions", listed, text)
