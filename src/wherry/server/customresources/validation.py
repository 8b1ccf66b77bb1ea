"""Checking a value against a schema, in kube-apiserver's words; compiled once to a closure per schema node.

A check adds a `Fault` for whatever is wrong. Where the value is, is spelled out only then. `ratchet` drops faults of
what an update has not touched (KEP-4008). Source: kube-openapi, validation/validate and validation/errors;
apiextensions-apiserver, validation and schema/listtype.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from wherry.meta.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    quote,
    required,
    too_long,
    too_many,
    type_invalid,
)
from wherry.server.customresources import formats, paths
from wherry.server.customresources.paths import Path
from wherry.server.customresources.patterns import compile_pattern

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the value at `at`."""

    at: Path
    error: FieldError


Check = Callable[[Any, Path, list[Fault]], None]


def validator(schema: Json) -> Check:
    """The check of values of `schema`."""
    return _compile(schema) or (lambda value, path, faults: None)


def _later(schema: Json) -> Check | None:
    """The check of a member; of one that has members itself, made when there first is one: few of a schema's are."""
    if schema.get("type") not in ("object", "array"):
        return _compile(schema)
    made: list[Check] = []

    def check(value: Any, path: Path, faults: list[Fault]) -> None:
        if not made:
            made.append(validator(schema))
        made[0](value, path, faults)

    return check


def _compile(schema: Json) -> Check | None:
    kinds = _kinds(schema)
    always = [made for make in (_combined, _enum) if (made := make(schema)) is not None]
    by_kind = {kind: made for kind, make in _BY_KIND.items() if (made := make(schema)) is not None}
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if not kinds and not always and not by_kind:
        return None
    nullable = bool(schema.get("nullable"))
    accepted = frozenset(kinds)
    wanted = ",".join(kinds)

    def check(value: Any, path: Path, faults: list[Fault]) -> None:
        kind = kind_of(value)
        if kind == "null" and nullable:
            return
        if accepted and kind not in accepted and not _is_such_number(value, kind, accepted):
            faults.append(_wrong_type(path, wanted, kind))
        for item in always:
            item(value, path, faults)
        more = by_kind.get(kind)
        if more is not None:
            more(value, path, faults)
        if embedded and isinstance(value, dict):
            _embedded(value, path, faults)

    return check


def _kinds(schema: Json) -> list[str]:
    if schema.get("x-kubernetes-int-or-string"):
        return ["integer", "string"]
    return [schema["type"]] if schema.get("type") else []


def _is_such_number(value: Any, kind: str, accepted: frozenset[str]) -> bool:
    if kind == "integer":
        return "number" in accepted
    return kind == "number" and "integer" in accepted and float(value).is_integer()


_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}


def kind_of(value: Any) -> str:
    """The JSON type of a value."""
    return _KINDS.get(type(value), "null")


def _wrong_type(path: Path, wanted: str, found: str) -> Fault:
    name = paths.text(path)
    return Fault(path, type_invalid(name, found, f"{name} in body must be of type {wanted}: {quote(found)}"))


def _bad(path: Path, value: Any, what: str) -> Fault:
    name = paths.text(path)
    return Fault(path, invalid_value(name, value, f"{name} in body {what}"))


def has_rules(schema: Any) -> bool:
    """Whether there is any rule in CEL in or below a schema; only then is rules.py imported."""
    if isinstance(schema, Mapping):
        return bool(schema.get("x-kubernetes-validations")) or any(map(has_rules, schema.values()))
    return isinstance(schema, list) and any(map(has_rules, schema))


# anyOf, oneOf, allOf, not ---------------------------------------------------------------------------------------------


def _combined(schema: Json) -> Check | None:
    any_of, one_of, all_of = (_compiled(schema.get(name)) for name in ("anyOf", "oneOf", "allOf"))
    negated = validator(schema["not"]) if schema.get("not") is not None else None
    if not (any_of or one_of or all_of or negated):
        return None

    def check(value: Any, path: Path, faults: list[Fault]) -> None:
        if any_of:
            results = _results(any_of, value, path)
            if all(results):
                faults.append(_composite(path, "must validate at least one schema (anyOf)"))
                faults += results[0]
        if one_of:
            results = _results(one_of, value, path)
            valid = sum(not result for result in results)
            if valid != 1:
                which = f"Found {valid} valid alternatives" if valid else "Found none valid"
                faults.append(_composite(path, f"must validate one and only one schema (oneOf). {which}"))
                faults += [] if valid else results[0]
        if all_of:
            results = _results(all_of, value, path)
            failed = sum(bool(result) for result in results)
            for result in results:
                faults += result
            if failed:
                none = ". None validated" if failed == len(results) else ""
                faults.append(_composite(path, f"must validate all the schemas (allOf){none}"))
        if negated and not _results([negated], value, path)[0]:
            faults.append(_composite(path, "must not validate the schema (not)"))

    return check


def _compiled(schemas: Iterable[Json] | None) -> list[Check]:
    return [validator(schema) for schema in schemas or ()]


def _results(checks: Sequence[Check], value: Any, path: Path) -> list[list[Fault]]:
    results: list[list[Fault]] = []
    for check in checks:
        found: list[Fault] = []
        check(value, path, found)
        results.append(found)
    return results


def _composite(path: Path, what: str) -> Fault:
    return Fault(path, invalid_value("", "", f"{quote(paths.text(path))} {what}"))


def _enum(schema: Json) -> Check | None:
    allowed = schema.get("enum")
    if not allowed:
        return None
    shown = [item if isinstance(item, str) else orjson.dumps(item).decode() for item in allowed]
    exact = {(kind_of(item), orjson.dumps(item, option=orjson.OPT_SORT_KEYS)) for item in allowed}

    def check(value: Any, path: Path, faults: list[Fault]) -> None:
        if (kind_of(value), orjson.dumps(value, option=orjson.OPT_SORT_KEYS)) not in exact:
            faults.append(Fault(path, not_supported(paths.text(path), value, shown)))

    return check


# By kind of value -----------------------------------------------------------------------------------------------------


def _string(schema: Json) -> Check | None:
    longest, shortest = schema.get("maxLength"), schema.get("minLength")
    pattern = schema.get("pattern")
    matches = compile_pattern(pattern) if pattern else None
    form = schema.get("format") if schema.get("type", "string") == "string" else None
    has_format = formats.string_format(form) if form else None
    if longest is None and not shortest and matches is None and has_format is None:
        return None

    def check(value: str, path: Path, faults: list[Fault]) -> None:
        if longest is not None and len(value) > longest:
            faults.append(Fault(path, too_long(paths.text(path), longest)))
        if shortest and len(value) < shortest:
            faults.append(_bad(path, value, f"should be at least {shortest} chars long"))
        if matches is not None and not matches(value):
            faults.append(_bad(path, value, f"should match '{pattern}'"))
        if has_format is not None and not has_format(value):
            name = paths.text(path)
            faults.append(
                Fault(path, type_invalid(name, value, f"{name} in body must be of type {form}: {quote(value)}"))
            )

    return check


def _number(schema: Json) -> Check | None:
    high, low, step = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    below, above = bool(schema.get("exclusiveMaximum")), bool(schema.get("exclusiveMinimum"))
    bounds = formats.number_range(schema.get("format") or "") if schema.get("type") == "integer" else None
    if high is None and low is None and step is None and bounds is None:
        return None

    def check(value: float, path: Path, faults: list[Fault]) -> None:
        if step is not None and not _is_multiple(value, step):
            faults.append(_bad(path, value, f"should be a multiple of {step:g}"))
        if high is not None and (value >= high if below else value > high):
            faults.append(_bad(path, value, f"should be less than {'' if below else 'or equal to '}{_go(high)}"))
        if low is not None and (value <= low if above else value < low):
            faults.append(_bad(path, value, f"should be greater than {'' if above else 'or equal to '}{_go(low)}"))
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            text = f"Checked value must be of type {schema['type']} with format {schema['format']}"
            faults.append(Fault(path, invalid_value(paths.text(path), value, f"{text} in body")))

    return check


def _is_multiple(value: float, step: float) -> bool:
    quotient = value / step
    return math.isclose(quotient, round(quotient), rel_tol=1e-9)


def _go(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e21 else repr(value)


def _array(schema: Json) -> Check | None:
    most, least = schema.get("maxItems"), schema.get("minItems")
    items = schema.get("items")
    item = _compile(items) if isinstance(items, dict) else None
    unique = _unique(schema)
    if most is None and not least and item is None and unique is None:
        return None

    def check(value: list[Any], path: Path, faults: list[Fault]) -> None:
        if item is not None:
            for index, member in enumerate(value):
                item(member, (path, index), faults)
        if least and len(value) < least:
            faults.append(_bad(path, len(value), f"should have at least {least} items"))
        if most is not None and len(value) > most:
            faults.append(Fault(path, too_many(paths.text(path), len(value), most)))
        if unique is not None:
            unique(value, path, faults)

    return check


def _unique(schema: Json) -> Check | None:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return None
    keys = schema.get("x-kubernetes-list-map-keys") or ()

    def check(value: list[Any], path: Path, faults: list[Fault]) -> None:
        seen = set()
        for index, member in enumerate(value):
            shown = member
            if kind == "map":
                if not isinstance(member, dict):
                    continue
                shown = {key: member[key] for key in keys if key in member}
            element = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
            if element in seen:
                faults.append(Fault(path, duplicate(paths.text((path, index)), shown)))
            seen.add(element)

    return check


def _object(schema: Json) -> Check | None:
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    needed = schema.get("required") or ()
    properties: Json = schema.get("properties") or {}
    members = [(key, made) for key, below in properties.items() if (made := _later(below)) is not None]
    more = schema.get("additionalProperties")
    other = _compile(more) if isinstance(more, dict) else None
    if most is None and not least and not needed and not members and other is None:
        return None

    def check(value: Json, path: Path, faults: list[Fault]) -> None:
        if least and len(value) < least:
            faults.append(_bad(path, len(value), f"should have at least {least} properties"))
        if most is not None and len(value) > most:
            faults.append(Fault(path, too_many(paths.text(path), len(value), most)))
        for key, below in members:
            if key in value:
                below(value[key], (path, key), faults)
        faults += [Fault(path, required(paths.text((path, key)))) for key in needed if key not in value]
        if other is not None:
            for key, member in value.items():
                if key not in properties:
                    other(member, (path, key), faults)

    return check


def _embedded(value: Json, path: Path, faults: list[Fault]) -> None:
    missing = [(path, key) for key in ("apiVersion", "kind") if not value.get(key)]
    faults += [Fault(path, required(paths.text(member), "must not be empty")) for member in missing]


_BY_KIND: dict[str, Callable[[Json], Check | None]] = {
    "string": _string,
    "integer": _number,
    "number": _number,
    "array": _array,
    "object": _object,
}


# Ratcheting -----------------------------------------------------------------------------------------------------------


def ratchet(faults: Iterable[Fault], new: Any, old: Any, schema: Json) -> list[Fault]:
    """The faults that an update is to blame for: not those of values it left as they were."""
    return [fault for fault in faults if not _untouched(fault, new, old, schema)]


def _untouched(fault: Fault, new: Any, old: Any, schema: Json) -> bool:
    for token in paths.tokens(fault.at):
        if isinstance(token, str):
            if not isinstance(old, dict) or token not in old:
                return False
            new, old = new[token], old[token]
            below = (schema.get("properties") or {}).get(token) or schema.get("additionalProperties")
        else:
            new = new[token]
            keys = schema.get("x-kubernetes-list-map-keys") if schema.get("x-kubernetes-list-type") == "map" else None
            old = _partner(new, old, keys) if keys else None
            below = schema.get("items")
        schema = below if isinstance(below, dict) else {}
        if new == old:
            return True
    return bool(new == old)


def _partner(item: Any, others: Any, keys: Sequence[str]) -> Any:
    if not isinstance(item, dict) or not isinstance(others, list):
        return None
    wanted = [item.get(key) for key in keys]
    return next((o for o in others if isinstance(o, dict) and [o.get(key) for key in keys] == wanted), None)
