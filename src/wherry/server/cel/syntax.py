"""Text to tree: tokens, precedence, and the macros (has, all, exists, map, filter, ...) that are syntax, not functions.

A macro over a range stays one node (`Comprehension`) instead of being unfolded into a general fold, so that the checker
can name it and the planner can run it as a plain loop. Messages are cel-go's where they are the grammar's own.
Source: cel-spec, doc/langdef.md; cel-go, parser and ext/comprehensions.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wherry.server.cel.values import UInt

EXPRESSION_CHARACTERS_MAX = 100_000
DEPTH_MAX = 200
"""Nesting that the parser follows: each level costs a few frames of the stack."""


class CompileError(Exception):
    """What is wrong with the text of an expression, in cel-go's form: position, message, the line, a caret."""

    def __init__(self, text: str, faults: list[tuple[int, str]]) -> None:
        self.faults = faults
        super().__init__("\n".join(_located(text, at, message) for at, message in faults))


def _located(text: str, at: int, message: str) -> str:
    line_number = text.count("\n", 0, at) + 1
    start = text.rfind("\n", 0, at) + 1
    line = text[start:].split("\n", 1)[0]
    return f"ERROR: <input>:{line_number}:{at - start + 1}: {message}\n | {line}\n | {'.' * (at - start)}^"


@dataclass(slots=True, eq=False)
class Node:
    """`at` is where the node is in the text."""

    at: int


@dataclass(slots=True, eq=False)
class Literal(Node):
    """A constant."""

    value: Any


@dataclass(slots=True, eq=False)
class Ident(Node):
    """A variable or a type's name."""

    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """operand.name, operand.?name, or has(operand.name)."""

    operand: Node
    name: str
    optional: bool = False
    test: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """A function, a method (`target`) or an operator by its internal name (_+_)."""

    function: str
    target: Node | None
    args: list[Node]

    @property
    def operands(self) -> list[Node]:
        """Target and arguments."""
        return self.args if self.target is None else [self.target, *self.args]


@dataclass(slots=True, eq=False)
class ListLiteral(Node):
    """[a, ?b]"""

    items: list[Node]
    optional: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class MapLiteral(Node):
    """{k: v, ?k: v}"""

    entries: list[tuple[Node, Node, bool]]


@dataclass(slots=True, eq=False)
class StructLiteral(Node):
    """Name{field: value, ?field: value}"""

    name: str
    entries: list[tuple[str, Node, bool]]


@dataclass(slots=True, eq=False)
class Comprehension(Node):
    """range.macro(variables, [condition,] body)"""

    macro: str
    range: Node
    variables: list[str]
    condition: Node | None
    body: Node


_RESERVED = frozenset(
    "as break const continue else for function if import let loop package namespace return var void while".split()
)
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
  | (?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
  | (?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
  | (?P<int>0x[0-9a-fA-F]+|\d+)
  | (?P<text>(?:[bB][rR]?|[rR][bB]?)?
       (?:\'\'\'(?:[^\\]|\\.)*?\'\'\'|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n\r]|\\.)*'|"(?:[^"\\\n\r]|\\.)*"))
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<op>&&|\|\||==|!=|<=|>=|\.\?|\[\?|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.X | re.S,
)
_RAW = re.compile(r"(?:[bB]?[rR]|[rR][bB])['\"]")
_BINARY = {
    "||": (1, "_||_"),
    "&&": (2, "_&&_"),
    "==": (3, "_==_"),
    "!=": (3, "_!=_"),
    "<": (3, "_<_"),
    "<=": (3, "_<=_"),
    ">": (3, "_>_"),
    ">=": (3, "_>=_"),
    "in": (3, "@in"),
    "+": (4, "_+_"),
    "-": (4, "_-_"),
    "*": (5, "_*_"),
    "/": (5, "_/_"),
    "%": (5, "_%_"),
}
_EXPECTED = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_MACROS: dict[tuple[str, int], int] = {
    ("all", 2): 1,
    ("exists", 2): 1,
    ("exists_one", 2): 1,
    ("existsOne", 2): 1,
    ("map", 2): 1,
    ("map", 3): 1,
    ("filter", 2): 1,
    ("all", 3): 2,
    ("exists", 3): 2,
    ("exists_one", 3): 2,
    ("existsOne", 3): 2,
    ("transformList", 3): 2,
    ("transformList", 4): 2,
    ("transformMap", 3): 2,
    ("transformMap", 4): 2,
    ("transformMapEntry", 3): 2,
    ("transformMapEntry", 4): 2,
    ("optMap", 2): 1,
    ("optFlatMap", 2): 1,
}
"""Macros by name and number of arguments, with how many of these are variables."""
Token = tuple[str, str, int]


def parse(text: str) -> Node:
    """The tree of an expression. Raises CompileError."""
    if len(text) > EXPRESSION_CHARACTERS_MAX:
        message = f"expression code point size exceeds limit: size: {len(text)}, limit {EXPRESSION_CHARACTERS_MAX}"
        raise CompileError("", [(0, message)])
    parser = _Parser(text)
    node = parser.expression()
    parser.expect("end", "<EOF>")
    return node


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            shown = text[at:] if text[at] in "'\"" else text[at]
            raise CompileError(text, [(at, f"Syntax error: token recognition error at: '{shown}'")])
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match.group(), at))
        at = match.end()
    found.append(("end", "<EOF>", len(text)))
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.next = 0
        self.depth = 0

    # Tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.next]

    def fault(self, at: int, message: str) -> CompileError:
        return CompileError(self.text, [(at, message)])

    def unexpected(self, expected: str) -> CompileError:
        _, found, at = self.token
        return self.fault(at, f"Syntax error: mismatched input '{found}' expecting {expected}")

    def take(self) -> Token:
        token = self.token
        self.next += 1
        return token

    def accept(self, symbol: str) -> int | None:
        kind, found, at = self.token
        if kind == "op" and found == symbol:
            self.next += 1
            return at
        return None

    def expect(self, kind: str, symbol: str = "") -> Token:
        found = self.token
        if found[0] != kind or (symbol and found[1] != symbol):
            raise self.unexpected("IDENTIFIER" if kind == "name" else "<EOF>" if kind == "end" else f"'{symbol}'")
        return self.take()

    # Expressions

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.fault(self.token[2], f"expression recursion limit exceeded: {DEPTH_MAX}")
        node = self.binary(1)
        at = self.accept("?")
        if at is not None:
            then = self.binary(1)
            self.expect("op", ":")
            node = Call(at, "_?_:_", None, [node, then, self.expression()])
        self.depth -= 1
        return node

    def binary(self, least: int) -> Node:
        left = self.unary()
        while True:
            kind, symbol, at = self.token
            found = _BINARY.get(symbol) if kind in ("op", "name") else None
            if found is None or found[0] < least:
                return left
            self.take()
            left = Call(at, found[1], None, [left, self.binary(found[0] + 1)])

    def unary(self) -> Node:
        _, symbol, at = self.token
        count = 0
        while self.accept(symbol) is not None if symbol in ("!", "-") else False:
            count += 1
        if symbol == "-" and count == 1 and self.token[0] in ("int", "float"):
            return self.member(self.literal(negative=True, at=at))
        node = self.member(self.primary())
        return Call(at, "!_" if symbol == "!" else "-_", None, [node]) if count % 2 else node

    def member(self, node: Node) -> Node:
        while True:
            _, symbol, at = self.token
            if self.token[0] != "op":
                return node
            if symbol in (".", ".?"):
                self.take()
                name = self.name_after_dot()
                opened = self.accept("(") if symbol == "." else None
                if opened is None:
                    node = Select(at, node, name, optional=symbol == ".?")
                else:
                    node = self.method(opened, node, name)
            elif symbol in ("[", "[?"):
                self.take()
                index = self.expression()
                self.expect("op", "]")
                node = Call(at, "_[_]" if symbol == "[" else "_[?_]", None, [node, index])
            else:
                return node

    def name_after_dot(self) -> str:
        kind, name, _ = self.token
        if kind != "name" or name in ("in", "true", "false", "null"):
            raise self.unexpected("IDENTIFIER")
        self.take()
        return name

    def method(self, at: int, target: Node, name: str) -> Node:
        args = self.arguments()
        variables = _MACROS.get((name, len(args)))
        return Call(at, name, target, args) if variables is None else self.macro(at, target, name, args, variables)

    def arguments(self) -> list[Node]:
        args: list[Node] = []
        if self.accept(")") is not None:
            return args
        while True:
            args.append(self.expression())
            if self.accept(")") is not None:
                return args
            if self.accept(",") is None:
                raise self.unexpected("')'")

    def macro(self, at: int, target: Node, name: str, args: list[Node], variables: int) -> Node:
        names: list[str] = []
        for arg in args[:variables]:
            if not isinstance(arg, Ident):
                what = "argument is not an identifier" if variables == 1 else "argument must be a simple name"
                raise self.fault(arg.at, what)
            names.append(arg.name)
        rest = args[variables:]
        condition = rest[0] if len(rest) == 2 else None
        macro = "exists_one" if name == "existsOne" else name
        return Comprehension(at, macro, target, names, condition, rest[-1])

    # Primaries

    def primary(self) -> Node:
        kind, text, at = self.token
        if kind in ("int", "uint", "float", "text"):
            return self.literal()
        if kind == "name":
            return self.name(at)
        if self.accept("(") is not None:
            node = self.expression()
            self.expect("op", ")")
            return node
        if text in ("[", "[?"):
            return self.list_literal(at)
        if self.accept("{") is not None:
            return self.map_literal(at)
        if self.accept(".") is not None:
            return self.name(at)
        raise self.unexpected(_EXPECTED)

    def name(self, at: int) -> Node:
        _, name, _ = self.expect("name")
        if name in ("true", "false", "null"):
            return Literal(at, {"true": True, "false": False, "null": None}[name])
        if name == "in":
            self.next -= 1
            raise self.unexpected(_EXPECTED)
        if name in _RESERVED:
            raise self.fault(at, f"reserved identifier: {name}")
        opened = self.accept("(")
        if opened is not None:
            return self.function(opened, name)
        return self.struct_or_ident(at, name)

    def function(self, at: int, name: str) -> Node:
        args = self.arguments()
        if name == "has" and len(args) == 1:
            operand = args[0]
            if not isinstance(operand, Select) or operand.test:
                raise self.fault(at, "invalid argument to has() macro")
            return Select(at, operand.operand, operand.name, operand.optional, test=True)
        return Call(at, name, None, args)

    def struct_or_ident(self, at: int, name: str) -> Node:
        """A struct's name has dots and capitals; anything else before { is no struct."""
        begin, qualified = self.next, name
        while self.token[1] == "." and self.tokens[self.next + 1][0] == "name":
            qualified += "." + self.tokens[self.next + 1][1]
            self.next += 2
        if self.token[1] == "{":
            return self.struct_literal(self.take()[2], qualified)
        self.next = begin
        return Ident(at, name)

    def struct_literal(self, at: int, name: str) -> Node:
        entries: list[tuple[str, Node, bool]] = []
        while self.accept("}") is None:
            optional = self.accept("?") is not None
            _, field_name, _ = self.expect("name")
            self.expect("op", ":")
            entries.append((field_name, self.expression(), optional))
            if self.accept(",") is None:
                self.expect("op", "}")
                break
        return StructLiteral(at, name, entries)

    def list_literal(self, at: int) -> Node:
        node = ListLiteral(at, [])
        optional = self.take()[1] == "[?"
        while self.accept("]") is None:
            if optional or self.accept("?") is not None:
                node.optional.add(len(node.items))
            optional = False
            node.items.append(self.expression())
            if self.accept(",") is None:
                self.expect("op", "]")
                break
        return node

    def map_literal(self, at: int) -> Node:
        entries: list[tuple[Node, Node, bool]] = []
        while self.accept("}") is None:
            optional = self.accept("?") is not None
            key = self.expression()
            self.expect("op", ":")
            entries.append((key, self.expression(), optional))
            if self.accept(",") is None:
                self.expect("op", "}")
                break
        return MapLiteral(at, entries)

    def literal(self, *, negative: bool = False, at: int = -1) -> Node:
        kind, text, here = self.take()
        where, sign = (at, -1) if negative else (here, 1)
        if kind == "float":
            return Literal(where, sign * float(text))
        if kind == "text":
            return Literal(where, self.text_value(text, here))
        number = sign * int(text.rstrip("uU"), 0 if text[:2] == "0x" else 10)
        if kind == "uint":
            if number >= 1 << 64:
                raise self.fault(where, "invalid uint literal")
            return Literal(where, UInt(number))
        if not -(1 << 63) <= number < 1 << 63:
            raise self.fault(where, "invalid int literal")
        return Literal(where, number)

    def text_value(self, text: str, at: int) -> str | bytes:
        raw = _RAW.match(text) is not None
        is_bytes = "b" in text[:2].lower() and text[0] not in "'\""
        body = text.lstrip("bBrR")
        quotes = 3 if body[:3] in ("'''", '"""') and len(body) >= 6 else 1
        body = body[quotes:-quotes].replace("\r\n", "\n")
        if raw:
            return body.encode() if is_bytes else body
        return _unescape(body, is_bytes, lambda message: self.fault(at, message))


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.S)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {c: c for c in "\\'\"`?"}


def _unescape(body: str, is_bytes: bool, fault: Callable[[str], CompileError]) -> str | bytes:
    def one(match: re.Match[str]) -> str:
        code = match.group(1)
        if code in _SIMPLE:
            return _SIMPLE[code]
        if len(code) == 1 or (is_bytes and code[0] in "uU"):
            raise fault("unable to unescape string")
        number = int(code, 8) if code[0].isdigit() else int(code[1:], 16)
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise fault("unable to unescape string")
        return f"\udc00{chr(number)}" if is_bytes else chr(number)

    if not is_bytes:
        return _ESCAPE.sub(one, body)
    pieces = re.split("\udc00(.)", _ESCAPE.sub(one, body), flags=re.S)
    return b"".join(bytes([ord(piece)]) if index % 2 else piece.encode() for index, piece in enumerate(pieces))
