"""Field selectors (?fieldSelector=metadata.name=x,spec.nodeName!=y): equality over the few facts a kind offers.

Values may escape comma, equals sign and backslash with a backslash. Errors are ValueError with Kubernetes' message.

Source: k8s.io/apimachinery/pkg/fields.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from wherry.meta.errors import quote


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """`field` must (or, negated, must not) have `value`; a field the object lacks counts as empty."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{escape(self.value)}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All of its requirements must hold."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, facts: Mapping[str, str]) -> bool:
        """Whether an object with these selectable fields is selected."""
        return all((facts.get(item.field, "") == item.value) != item.negated for item in self.requirements)

    @property
    def empty(self) -> bool:
        """Whether everything is selected."""
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The one value `field` must have, when there is one; metadata.name makes a list a get."""
        return next((item.value for item in self.requirements if item.field == field and not item.negated), None)

    def check_supported(self, supported: Collection[str], only_metadata: bool = False) -> None:
        """Raise ValueError for a field that the kind does not offer; `only_metadata` kinds say what they do."""
        for item in self.requirements:
            if item.field not in supported:
                if only_metadata:
                    known = '"metadata.name", "metadata.namespace"'
                    raise ValueError(f'"{item.field}" is not a known field selector: only {known}')
                raise ValueError(f"field label not supported: {item.field}")

    def renamed(self, names: Mapping[str, str]) -> "FieldSelector":
        """The same of fields that are called otherwise."""
        found = self.requirements
        return FieldSelector(tuple(replace(item, field=names.get(item.field, item.field)) for item in found))

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = FieldSelector()


@lru_cache(maxsize=2048)
def parse(text: str) -> FieldSelector:
    """The selector of a query; empty selects everything. Raises ValueError."""
    if not text:
        return EVERYTHING
    found = (_requirement(term, text) for term in _terms(text) if term)
    # Sorted by field so that equal selectors are equal however they were written.
    return FieldSelector(tuple(sorted(found, key=lambda item: item.field)))


def escape(value: str) -> str:
    """`value` with backslashes before backslash, comma and equals sign."""
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _terms(text: str) -> Iterator[str]:
    """Split at commas that no backslash protects."""
    start = at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == ",":
            yield text[start:at]
            start = at + 1
        at += 1
    yield text[start:]


def _requirement(term: str, text: str) -> FieldRequirement:
    for at in range(len(term)):
        for sign in ("!=", "==", "="):
            if term.startswith(sign, at):
                return FieldRequirement(term[:at], _unescape(term[at + len(sign) :]), sign == "!=")
    raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")


def _unescape(value: str) -> str:
    out, escaped = [], False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise ValueError(f"invalid field selector: invalid escape sequence: {quote(chr(92) + char)}")
            out.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {char}")
        else:
            out.append(char)
    if escaped:
        raise ValueError(f"invalid field selector: invalid escape sequence: {quote(chr(92))}")
    return "".join(out)
