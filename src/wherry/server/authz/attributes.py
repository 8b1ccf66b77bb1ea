"""Between a request and the SubjectAccessReview that asks about it, both ways.

`question` reads ResourceAttributes or NonResourceAttributes into the RequestInfo that authorizers take; `review_spec`
writes the spec that webhooks and match conditions are given. Selectors that cannot be read restrict nothing, and an
authorizer that allows only a part then does not allow.

Source: kubernetes pkg/registry/authorization/util and pkg/apis/authorization/validation.
"""

from collections.abc import Iterator
from typing import Any

from wherry.api.authorization_v1 import (
    FieldSelectorAttributes,
    LabelSelectorAttributes,
    NonResourceAttributes,
    ResourceAttributes,
)
from wherry.meta import fields, labels
from wherry.meta.errors import FieldError, field_forbidden, invalid_value, required
from wherry.server.http import RequestInfo, UserInfo

Json = dict[str, Any]
_LABEL_OPERATORS = {"in": "In", "notin": "NotIn", "=": "In", "==": "In", "!=": "NotIn", "exists": "Exists"}


def question(resource: ResourceAttributes | None, path: NonResourceAttributes | None) -> tuple[RequestInfo, list[str]]:
    """What is asked about, and what of it could not be understood."""
    if resource is None:
        return RequestInfo(verb=(path and path.verb) or "", path=(path and path.path) or ""), []
    errors: list[str] = []
    info = RequestInfo(
        verb=resource.verb or "",
        api_group=resource.group or "",
        api_version=resource.version or "*",
        resource=resource.resource or "",
        subresource=resource.subresource or "",
        namespace=resource.namespace or "",
        name=resource.name or "",
        is_resource_request=True,
    )
    if resource.fieldSelector is not None:
        info.field_selector = _field_selector(resource.fieldSelector, errors)
    if resource.labelSelector is not None:
        info.label_selector = _label_selector(resource.labelSelector, errors)
    return info, errors


def _field_selector(given: FieldSelectorAttributes, errors: list[str]) -> str:
    if given.rawSelector:
        try:
            fields.parse(given.rawSelector)
        except ValueError:
            errors.append("spec.resourceAttributes.fieldSelector partially ignored due to parse error")
            return ""
        return given.rawSelector
    terms = []
    for item in given.requirements:
        if item.operator in ("In", "NotIn") and len(item.values) == 1:
            sign = "=" if item.operator == "In" else "!="
            terms.append(f"{item.key}{sign}{fields.escape(item.values[0])}")
        else:
            errors.append("spec.resourceAttributes.fieldSelector partially ignored due to parse error")
    return ",".join(terms)


def _label_selector(given: LabelSelectorAttributes, errors: list[str]) -> str:
    try:
        if given.rawSelector:
            labels.parse(given.rawSelector)
            return given.rawSelector
        return str(labels.from_label_selector({"matchExpressions": given.requirements}))
    except ValueError:
        errors.append("spec.resourceAttributes.labelSelector partially ignored due to parse error")
        return ""


def selector_faults(resource: ResourceAttributes) -> Iterator[FieldError]:
    """What is wrong with how the selectors are given."""
    for name in ("fieldSelector", "labelSelector"):
        given = getattr(resource, name)
        if given is None:
            continue
        path = f"spec.resourceAttributes.{name}"
        if given.rawSelector and given.requirements:
            why = "may not specified at the same time as requirements"
            yield invalid_value(f"{path}.rawSelector", given.rawSelector, why)
        if not given.rawSelector and not given.requirements:
            yield required(f"{path}.requirements", f"when {path} is specified, requirements or rawSelector is required")
        for index, item in enumerate(given.requirements):
            at = f"{path}.requirements[{index}]"
            if not item.key:
                yield required(f"{at}.key", "must be specified")
            if item.operator in ("In", "NotIn") and not item.values:
                yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            elif item.operator in ("Exists", "DoesNotExist") and item.values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield field_forbidden(f"{at}.values", why)


def review_spec(user: UserInfo, info: RequestInfo, *, v1beta1: bool = False) -> Json:
    """The spec of a SubjectAccessReview, without what is empty."""
    spec: Json = {"user": user.name}
    spec |= {"uid": user.uid} if user.uid else {}
    spec |= {("group" if v1beta1 else "groups"): user.groups} if user.groups else {}
    spec |= {"extra": user.extra} if user.extra else {}
    if not info.is_resource_request:
        return spec | {"nonResourceAttributes": {"path": info.path, "verb": info.verb}}
    attributes = {
        "namespace": info.namespace,
        "verb": info.verb,
        "group": info.api_group,
        "version": info.api_version,
        "resource": info.resource,
        "subresource": info.subresource,
        "name": info.name,
        "fieldSelector": _requirements(_field_requirements(info.field_selector)),
        "labelSelector": _requirements(_label_requirements(info.label_selector)),
    }
    return spec | {"resourceAttributes": {key: value for key, value in attributes.items() if value}}


def _requirements(found: list[Json]) -> Json:
    return {"requirements": found} if found else {}


def _field_requirements(selector: str) -> list[Json]:
    try:
        parsed = fields.parse(selector)
    except ValueError:
        return []
    return [
        {"key": item.field, "operator": "NotIn" if item.negated else "In", "values": [item.value]}
        for item in parsed.requirements
    ]


def _label_requirements(selector: str) -> list[Json]:
    try:
        parsed = labels.parse(selector)
    except ValueError:
        return []
    found = []
    for item in parsed.requirements or ():
        operator = _LABEL_OPERATORS.get(item.operator, "DoesNotExist")
        found.append({"key": item.key, "operator": operator} | ({"values": sorted(item.values)} if item.values else {}))
    return found
