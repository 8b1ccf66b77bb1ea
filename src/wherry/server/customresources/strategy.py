"""The strategy of custom resources: everything that differs from kind to kind comes from the compiled version.

Source: apiextensions-apiserver, registry/customresource.
"""

from typing import Any

from wherry.meta import wire
from wherry.meta.errors import FieldError, StatusError
from wherry.server.customresources.version import Version
from wherry.server.objects import CustomObject
from wherry.server.strategies import metadata
from wherry.server.strategies.strategy import RequestContext, Strategy


class CustomStrategy(Strategy):
    """One version as served. `terminating`: the definition is being deleted, so nothing new is created."""

    def __init__(self, version: Version, namespaced: bool, group_resource: str, terminating: bool = False) -> None:
        self.version = version
        self.has_status = version.has_status
        self._namespaced = namespaced
        self._group_resource = group_resource
        self._terminating = terminating
        self._advice: list[str] = []
        """Of the last validation; the writer asks for warnings right after it."""

    def default(self, obj: CustomObject) -> None:
        self.version.default(obj.content)

    def prepare_for_create(self, obj: CustomObject, ctx: RequestContext) -> None:
        if self._terminating:
            text = "create not allowed while custom resource definition is terminating"
            raise StatusError(405, "MethodNotAllowed", text, {"kind": self._group_resource})
        if self.has_status:
            obj.content.pop("status", None)
        obj.metadata.generation = 1

    def validate(self, obj: CustomObject) -> list[FieldError]:
        return [*metadata.validate(obj.metadata, self._namespaced, any_finalizer=True), *self._content(obj)]

    def _content(self, new: CustomObject, old: CustomObject | None = None) -> list[FieldError]:
        self._advice = []
        return self.version.validate(new, old, self._advice)

    def prepare_for_update(self, new: CustomObject, old: CustomObject, ctx: RequestContext) -> None:
        """Any change outside metadata, and outside the status where that is a subresource, is a new generation."""
        if self.has_status:
            _set(new.content, "status", old.content.get("status"))
        new.metadata.generation = (old.metadata.generation or 0) + (new.content != old.content)

    def validate_update(self, new: CustomObject, old: CustomObject) -> list[FieldError]:
        faults = metadata.validate_update(new.metadata, old.metadata, any_finalizer=True)
        return [*faults, *self._content(new, old)]

    def prepare_for_status_update(self, new: CustomObject, old: CustomObject, ctx: RequestContext) -> None:
        """Nothing but the status changes, and who owns it."""
        owners, status = new.metadata.managedFields, new.content.get("status")
        new.metadata = wire.deep_copy(old.metadata)
        new.metadata.managedFields = owners
        new.content = dict(old.content)
        _set(new.content, "status", status)

    def validate_status_update(self, new: CustomObject, old: CustomObject) -> list[FieldError]:
        return self.validate_update(new, old)

    def warnings(self, new: CustomObject, old: CustomObject | None) -> list[str]:
        return self._advice

    def fields(self, obj: CustomObject) -> dict[str, str]:
        return self.version.selected(obj.content)


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        content.pop(key, None)
    else:
        content[key] = value
