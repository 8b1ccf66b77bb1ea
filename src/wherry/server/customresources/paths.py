"""Where in an object a fault is: a chain of keys and indexes, spelled out only when a message needs it."""

from typing import Any

Path = tuple[Any, str | int] | None
"""(path of the parent, key or index); None is the object itself."""


def tokens(path: Path) -> list[str | int]:
    """Keys and indexes from the top."""
    found: list[str | int] = []
    while path is not None:
        path, token = path
        found.append(token)
    found.reverse()
    return found


def text(path: Path) -> str:
    """spec.rules[0].name"""
    found = ""
    for token in tokens(path):
        if isinstance(token, int):
            found += f"[{token}]"
        else:
            found += f".{token}" if found else token
    return found
