"""What is wrong with a JSON body, in the words of Go's decoder, which kube-apiserver's messages repeat.

Only bodies that were refused come here: `syntax_fault` finds where JSON ends to be JSON, `type_fault`
translates msgspec's complaint about a member of the wrong type. Source of the words: Go's
encoding/json and sigs.k8s.io/json.
"""

import re
from typing import Any, Union, get_args, get_origin

import msgspec

ENDED = "unexpected end of JSON input"
_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$([^`]*)`)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_JSON_TYPES = {"str": "string", "int": "number", "float": "number"}
_GO_TYPES = {str: "string", bool: "bool", float: "float64"}
_INT64 = frozenset(
    "generation observedGeneration terminationGracePeriodSeconds activeDeadlineSeconds deletionGracePeriodSeconds "
    "gracePeriodSeconds expirationSeconds tolerationSeconds runAsUser runAsGroup fsGroup supplementalGroups".split()
)
"""Whole numbers that Go keeps in 64 bits; all others have 32."""


class _Fault(Exception):
    """The message, where scanning stops."""


# Syntax ---------------------------------------------------------------------------------------------------------------


def syntax_fault(data: bytes) -> str:
    """Why `data` is no JSON; empty when it is."""
    try:
        _Scanner(data.decode("latin-1")).scan()
    except _Fault as fault:
        return str(fault)
    return ""


class _Scanner:
    """Looks at bytes one by one, as Go does: a letter outside ASCII is several of them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[str] = []

    def scan(self) -> None:
        """Raise _Fault at the first byte that cannot be there."""
        self._value()
        while True:
            self._blanks()
            if not self._open:
                if self._at < len(self._text):
                    raise self._fault("after top-level value")
                return
            closing, what = ("}", "object key:value pair") if self._open[-1] == "{" else ("]", "array element")
            char = self._char()
            if char == closing:
                self._at += 1
                self._open.pop()
            elif char == ",":
                self._at += 1
                self._member()
            else:
                raise self._fault(f"after {what}")

    def _value(self) -> None:
        """A scalar, or the begin of an object or array up to its first scalar."""
        while True:
            self._blanks()
            char = self._char()
            if char in "{[":
                self._at += 1
                self._open.append(char)
                self._blanks()
                if self._char() == ("}" if char == "{" else "]"):
                    self._at += 1
                    self._open.pop()
                    return
                if char == "{":
                    self._key()
                continue
            self._scalar(char)
            return

    def _member(self) -> None:
        if self._open[-1] == "{":
            self._key()
        self._value()

    def _key(self) -> None:
        self._blanks()
        if self._char() != '"':
            raise self._fault("looking for beginning of object key string")
        self._string()
        self._blanks()
        if self._char() != ":":
            raise self._fault("after object key")
        self._at += 1

    def _scalar(self, char: str) -> None:
        if char == '"':
            self._string()
        elif char in _LITERALS:
            for wanted in _LITERALS[char]:
                if self._char() != wanted:
                    raise self._fault(f"in literal {_LITERALS[char]} (expecting '{wanted}')")
                self._at += 1
        elif char == "-" or char.isdigit():
            self._number()
        else:
            raise self._fault("looking for beginning of value")

    def _string(self) -> None:
        match = _STRING.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        if self._char() == '"':
            self._at += 1
            return
        if self._char() != "\\":
            raise self._fault("in string literal")
        self._at += 1
        if self._char() != "u":
            raise self._fault("in string escape code")
        self._at += 1
        while self._char() in "0123456789abcdefABCDEF":
            self._at += 1
        raise self._fault("in \\u hexadecimal character escape")

    def _number(self) -> None:
        match = _NUMBER.match(self._text, self._at)
        if match is None:  # a lone minus
            self._at += 1
            self._char()
            raise self._fault("in numeric literal")
        self._at = match.end()
        rest = self._text[self._at : self._at + 1]
        if rest == "." and "." not in match[0] and "e" not in match[0].lower():
            self._at += 1
            self._char()
            raise self._fault("after decimal point in numeric literal")
        if rest in ("e", "E") and "e" not in match[0].lower():
            self._at += 1
            if self._char() in "+-":
                self._at += 1
            self._char()
            raise self._fault("in exponent of numeric literal")

    def _blanks(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t", "\r", "\n"):
            self._at += 1

    def _char(self) -> str:
        if self._at >= len(self._text):
            raise _Fault(ENDED)
        return self._text[self._at]

    def _fault(self, where: str) -> _Fault:
        char = self._char()
        shown = {"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
        shown = shown or (char if char.isprintable() else f"\\x{ord(char):02x}")
        return _Fault(f"invalid character '{shown}' {where}")


def summary(data: bytes) -> str:
    """A refused body's beginning, as messages show it: text of an object, hexadecimal digits of anything else."""
    if not data:
        return "<empty>"
    head = data[:30].decode(errors="replace") if data.startswith(b"{") else data[:30].hex()
    return f"{head} ..." if len(data) > 30 else head


# Types ----------------------------------------------------------------------------------------------------------------


def type_fault(text: str, kind_type: Any, kind: str) -> str:
    """msgspec's complaint about a member of a Struct as `json: cannot unmarshal ...`."""
    found = _EXPECTED.match(text)
    if not found:
        return text
    wanted, got, path = found.groups()
    owner, names, go_type = _walk(kind_type, kind, path or "", wanted)
    got = _JSON_TYPES.get(got, got)
    return f"json: cannot unmarshal {got} into Go struct field {owner}.{'.'.join(names)} of type {go_type}"


def _walk(kind_type: Any, kind: str, path: str, wanted: str) -> tuple[str, list[str], str]:
    """The Struct that has the member at `path`, the names that lead there, and the member's Go type."""
    current, owner, names = kind_type, kind, list[str]()
    for name, _ in re.findall(r"\.([^.\[]+)|(\[[^\]]*\])", path):
        current = _bare(current)
        if not name:  # an index, or a map's key: Go names only fields
            arguments = get_args(current)
            current = arguments[-1] if arguments else None
            continue
        if not (isinstance(current, type) and issubclass(current, msgspec.Struct)):
            return owner, [*names, name], wanted
        owner = current.__name__
        names.append(name)
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(current)}
        current = fields.get(name)
    return owner, names, _go_type(_bare(current), names[-1] if names else "") or wanted


def _bare(annotation: Any) -> Any:
    """A type without `| None` and without msgspec's constraints."""
    while get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    arguments = [item for item in get_args(annotation) if item is not type(None)]
    if get_origin(annotation) not in (list, dict) and len(arguments) == 1 and _is_union(annotation):
        return _bare(arguments[0])
    return annotation


def _is_union(annotation: Any) -> bool:
    return type(None) in get_args(annotation) or get_origin(annotation) is Union


def _go_type(annotation: Any, name: str) -> str:
    if annotation is int:
        return "int64" if name in _INT64 else "int32"
    if annotation in _GO_TYPES:
        return _GO_TYPES[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is list:
        return f"[]{_go_type(_bare(arguments[0]), name)}"
    if get_origin(annotation) is dict:
        return f"map[string]{_go_type(_bare(arguments[-1]), name)}"
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return f"v1.{annotation.__name__}"
    return ""
