r"""Go's regular expressions in Python's: character classes by name, \z, ASCII classes, and a $ that is the very end."""

import re
from collections.abc import Callable

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN = re.compile(r"\\[pP](?:\{[^}]*\}|.)|\\.|\[:(\^?)(\w+):\]|\[\^?\]?|\]|\$|.", re.DOTALL)


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a string has a match. Raises ValueError for what is no regular expression."""
    try:
        compiled = re.compile(translate(pattern), re.ASCII)
    except re.error as error:
        raise ValueError(f"error parsing regexp: {error}") from error
    return lambda value: compiled.search(value) is not None


def translate(pattern: str) -> str:
    """The same expression for `re`."""
    found, inside = "", False
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if inside and text.startswith("[:"):
            text = _CLASSES.get(token[2], text)
        elif not inside and text.startswith("["):
            inside = True
        elif inside and text.startswith("["):
            text = text.replace("[", r"\[", 1)
            inside = not text.endswith("]")
        elif inside and text == "]":
            inside = False
        elif text == r"\z" or (text == "$" and not inside):
            text = r"\Z"
        elif text[:2] in (r"\p", r"\P"):
            text = _unicode(text, inside)
        found += text
    return found


def _unicode(text: str, inside: bool) -> str:
    r"""\pL and its like: letters and digits of all scripts are what `re` can tell apart."""
    name = text[2:].strip("{}")
    members = {"L": "a-zA-Z\u00aa-\uffff", "Lu": "A-Z", "Ll": "a-z", "N": "0-9", "Nd": "0-9"}.get(name)
    if members is None:
        raise ValueError(f"error parsing regexp: invalid character class range: `{text}`")
    return members if inside else f"[{'^' if text[1] == 'P' else ''}{members}]"
