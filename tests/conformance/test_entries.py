"""Every conformance entry of the API server's scope has a test, and every test names an entry that exists."""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def entries() -> dict[str, str]:
    """{entry: upstream file that checks it} of entries.txt, whose lines are "file entry"."""
    lines = (HERE / "entries.txt").read_text().splitlines()
    return {name: file for file, _, name in (line.partition(" ") for line in lines)}


def claimed() -> dict[str, list[str]]:
    """{entry: test files that claim it}."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "conformance":
                found.setdefault(ast.literal_eval(node.args[0]), []).append(path.name)
    return found


def test_every_name_is_an_entry() -> None:
    assert set(claimed()) <= set(entries())


def test_every_entry_has_a_test() -> None:
    assert not set(entries()) - set(claimed())
