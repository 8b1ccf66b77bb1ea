"""Label selectors: the text of ?labelSelector=, the LabelSelector of a spec, a plain map; all become a `Selector`.

A selector is compiled once into one closure per requirement and may be asked a million times; `parse` is cached, for
controllers and watchers repeat the same few texts. Errors are ValueError with Kubernetes' message.

Source of grammar and messages: k8s.io/apimachinery/pkg/labels.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from wherry.meta.errors import FieldError, aggregate, invalid_value, not_supported
from wherry.meta.names import label_value, qualified_name

Labels = Mapping[str, str]

_BINARY = ("in", "notin", "=", "==", "!=", "gt", "lt")
_OPERATORS = (*_BINARY, "exists", "!")
_SYMBOLS = {"=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}
_SPEC_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key. `operator` is one of in, notin, =, ==, !=, gt, lt, exists, ! (absent)."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        values = ",".join(sorted(self.values))
        match self.operator:
            case "in" | "notin":
                return f"{self.key} {self.operator} ({values})"
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "gt":
                return f"{self.key}>{values}"
            case "lt":
                return f"{self.key}<{values}"
        return f"{self.key}{self.operator}{values}"


class Selector:
    """All of its requirements must hold. `requirements` is None for the selector that matches nothing."""

    __slots__ = ("_exact", "_tests", "requirements")

    def __init__(self, requirements: Sequence[Requirement] | None) -> None:
        self.requirements = None if requirements is None else tuple(sorted(requirements, key=lambda item: item.key))
        wanted = self.requirements or ()
        exact = [item for item in wanted if item.operator in ("=", "==") or _is_single(item)]
        self._exact = tuple((item.key, item.values[0]) for item in exact)
        self._tests = tuple(_compile(item) for item in wanted if item not in exact)

    def matches(self, labels: Labels) -> bool:
        """Whether an object with these labels is selected."""
        if self.requirements is None:
            return False
        get = labels.get
        for key, value in self._exact:
            if get(key) != value:
                return False
        return all(test(labels) for test in self._tests)

    @property
    def empty(self) -> bool:
        """Whether everything is selected."""
        return self.requirements == ()

    def exact(self, key: str) -> str | None:
        """The one value `key` must have, when there is one; lets a cache use an index."""
        return next((value for wanted, value in self._exact if wanted == key), None)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements or ()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self.requirements == other.requirements

    def __hash__(self) -> int:
        return hash(self.requirements)

    def __repr__(self) -> str:
        return f"Selector({'nothing' if self.requirements is None else str(self)!r})"


EVERYTHING = Selector(())
NOTHING = Selector(None)


def _is_single(requirement: Requirement) -> bool:
    return requirement.operator == "in" and len(requirement.values) == 1


def _compile(requirement: Requirement) -> Callable[[Labels], bool]:
    key, values = requirement.key, frozenset(requirement.values)
    match requirement.operator:
        case "in" | "=" | "==":
            return lambda labels: labels.get(key) in values
        case "notin" | "!=":
            return lambda labels: labels.get(key) not in values
        case "exists":
            return lambda labels: key in labels
        case "!":
            return lambda labels: key not in labels
    bound = int(requirement.values[0])
    if requirement.operator == "gt":
        return lambda labels: (number := _integer(labels.get(key))) is not None and number > bound
    return lambda labels: (number := _integer(labels.get(key))) is not None and number < bound


def _integer(text: str | None) -> int | None:
    """A signed 64-bit integer as Go parses one; None for anything else."""
    if text is None or not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII) or len(text) > 20:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


# From maps and structs -----------------------------------------------------------------------------------------------


def from_map(labels: Labels) -> Selector:
    """Exactly these labels (a Service's or ReplicationController's selector); an empty map selects everything."""
    return Selector([Requirement(key, "=", (value,)) for key, value in labels.items()])


def from_label_selector(selector: Any) -> Selector:
    """A LabelSelector, Struct or dict. None selects nothing, an empty one everything. Raises ValueError."""
    if selector is None:
        return NOTHING
    plain = selector if isinstance(selector, dict) else None
    match_labels = plain.get("matchLabels") if plain is not None else selector.matchLabels
    expressions = plain.get("matchExpressions") if plain is not None else selector.matchExpressions
    requirements = [requirement(key, "in", [value]) for key, value in (match_labels or {}).items()]
    requirements = [Requirement(item.key, "=", item.values) for item in requirements]
    for expression in expressions or ():
        key, operator, values = _expression(expression)
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise ValueError(f'"{operator}" is not a valid label selector operator')
        requirements.append(requirement(key, _SPEC_OPERATORS[operator], values))
    return Selector(requirements)


def node_selector_requirements(expressions: Sequence[Any]) -> Selector:
    """The matchExpressions of a NodeSelectorTerm, where Gt and Lt count too. Raises ValueError."""
    requirements = []
    for expression in expressions:
        key, operator, values = _expression(expression)
        if operator not in _SPEC_OPERATORS:
            raise ValueError(f'"{operator}" is not a valid node selector operator')
        requirements.append(requirement(key, _SPEC_OPERATORS[operator], values))
    return Selector(requirements)


def _expression(expression: Any) -> tuple[str, str, Sequence[str]]:
    if isinstance(expression, dict):
        return expression.get("key") or "", expression.get("operator") or "", expression.get("values") or ()
    return expression.key or "", expression.operator or "", expression.values or ()


def requirement(key: str, operator: str, values: Sequence[str]) -> Requirement:
    """A checked requirement. Raises ValueError with every fault."""
    errors = []
    if faults := qualified_name(key):
        errors.append(invalid_value("key", key, "; ".join(faults)))
    errors += _check_values(operator, values)
    for index, value in enumerate(values):
        if faults := label_value(value):
            errors.append(invalid_value(f"values[{index}][{key}]", value, "; ".join(faults)))
    if errors:
        raise ValueError(aggregate(errors))
    return Requirement(key, operator, tuple(values))


def _check_values(operator: str, values: Sequence[str]) -> Iterator[FieldError]:
    shown = list(values)
    if operator in ("in", "notin"):
        if not values:
            yield invalid_value("values", shown, "for 'in', 'notin' operators, values set can't be empty")
    elif operator in ("=", "==", "!="):
        if len(values) != 1:
            yield invalid_value("values", shown, "exact-match compatibility requires one single value")
    elif operator in ("exists", "!"):
        if values:
            yield invalid_value("values", shown, "values set must be empty for exists and does not exist")
    elif operator in ("gt", "lt"):
        if len(values) != 1:
            yield invalid_value("values", shown, "for 'Gt', 'Lt' operators, exactly one value is required")
        for index, value in enumerate(values):
            if _integer(value) is None:
                text = "for 'Gt', 'Lt' operators, the value must be an integer"
                yield invalid_value(f"values[{index}]", value, text)
    else:
        yield not_supported("operator", operator, _OPERATORS)


# From text -----------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"[ \t\r\n]*(?:([=!(),><]+)|([^=!(),><\s\0]+))?")
_PUNCTUATION = frozenset({")", ",", "!", "==", "=", ">", "<", "!=", "("})
_END, _WORD = "end", "word"


@lru_cache(maxsize=2048)
def parse(text: str) -> Selector:
    """The selector of a query: `a=b,c in (d,e),!f,g>5`; empty selects everything. Raises ValueError."""
    return Selector(_Parser(text).selector()) if text.strip() else EVERYTHING


class _Parser:
    """Recursive descent over (type, text) tokens; the type of punctuation is the punctuation itself."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at]

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def selector(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            kind, text = self._peek()
            if kind == _END:
                return found
            if kind not in (_WORD, "!"):
                raise ValueError(f"found '{text}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            kind, text = self._next()
            if kind == _END:
                return found
            if kind != ",":
                raise ValueError(f"found '{text}', expected: ',' or 'end of string'")
            if self._peek()[0] not in (_WORD, "!"):
                raise ValueError(f"found '{self._peek()[1]}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        kind, key = self._next()
        absent = kind == "!"
        if absent:
            kind, key = self._next()
        if kind != _WORD:
            raise ValueError(f"found '{key}', expected: identifier")
        if faults := qualified_name(key):
            raise ValueError(str(invalid_value("", key, "; ".join(faults))))
        if absent or self._peek()[0] in (_END, ","):
            return Requirement(key, "!" if absent else "exists")
        operator = self._operator()
        values = self._values() if operator in ("in", "notin") else [self._value()]
        return requirement(key, operator, sorted(set(values)))

    def _operator(self) -> str:
        kind, text = self._next()
        if kind == _WORD and text in ("in", "notin"):
            return text
        if kind not in _SYMBOLS:
            raise ValueError(f"found '{text}', expected: {', '.join(_BINARY)}")
        return _SYMBOLS[kind]

    def _value(self) -> str:
        if self._peek()[0] in (_END, ","):
            return ""
        kind, text = self._next()
        if kind != _WORD:
            raise ValueError(f"found '{text}', expected: identifier")
        return text

    def _values(self) -> list[str]:
        kind, text = self._next()
        if kind != "(":
            raise ValueError(f"found '{text}' expected: '('")
        values = [""]
        while True:
            kind, text = self._next()
            if kind == _WORD:
                values[-1] = text
                kind, text = self._next()
                if kind not in (",", ")"):
                    raise ValueError(f"found '{text}', expected: ',' or ')'")
            if kind == ")":
                return values
            if kind != ",":
                wanted = "',', ')' or identifier" if len(values) == 1 else "',', or identifier"
                raise ValueError(f"found '{text}', expected: {wanted}")
            values.append("")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        symbols, word = match.groups() if match else (None, None)
        at = match.end() if match else at
        if word:
            yield _WORD, word
        elif symbols:
            token = symbols[:2] if symbols[:2] in _PUNCTUATION else symbols[:1]
            at -= len(symbols) - len(token)
            yield token, token
        else:
            break  # blanks at the end, or a NUL, which ends the text as it does upstream
    yield _END, ""
