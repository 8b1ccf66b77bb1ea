"""The documents keep their promises: what they name is there, and every decision can be found."""

import importlib
import re
from pathlib import Path

import click
import pytest

from wherry.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs" / "decisions"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Code is named from the repository's root or, where a page is about the code, from below the package.
PLACES = (ROOT, ROOT / "src" / "wherry")
FOLDERS = r"(?:src|docs|tests|tools|scripts|benchmarks|[a-z]+)"
_PATH = re.compile(rf"(?<![\w/.~$-])({FOLDERS}(?:/[\w.-]+)*/[\w-]+\.(?:py|md|toml|proto)|scripts/\w+)(?![\w/])")
_MODULE = re.compile(r"`([\w-]+\.(?:py|md|toml))`")
_FOLDER = re.compile(r"`((?:src|docs|tests|tools|scripts|benchmarks)/(?:[\w.-]+/)*)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_VERB = re.compile(r"(?:^    |`|/)wherry ([a-z-]+)", re.MULTILINE)


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = set(_PATH.findall(text)) | set(_FOLDER.findall(text))
    assert not {name for name in named if not any((place / name).exists() for place in (*PLACES, page.parent))}


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_file_that_a_page_names_without_its_folder_exists_somewhere(page: Path) -> None:
    names = set(_MODULE.findall(page.read_text()))
    present = {path.name for place in ("src", "tests", "tools", "docs") for path in (ROOT / place).rglob("*.*")}
    present |= {path.name for path in ROOT.iterdir()}
    assert names <= present


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_verb_that_a_page_shows_is_one(page: Path) -> None:
    assert set(_VERB.findall(page.read_text())) <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_command_can_be_called(verb: str) -> None:
    module = importlib.import_module(f"wherry.cli.{verb.replace('-', '_')}")
    assert isinstance(module.command, click.Command)
    assert module.command.name == verb


def test_every_decision_is_in_the_index() -> None:
    linked = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (DECISIONS / "README.md").read_text())
    assert linked == sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))


def test_every_decision_carries_the_number_of_its_file() -> None:
    for path in DECISIONS.glob("[0-9]*.md"):
        assert path.read_text().startswith(f"# {int(path.name[:4])}. "), path.name


def test_the_architecture_names_every_package() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text()
    packages = {path.parent.name for path in (ROOT / "src" / "wherry").glob("*/__init__.py")}
    assert not {name for name in packages if f"\n      {name}/ " not in tree}
