"""What is written holds: examples in docstrings run, links of documents lead somewhere, recipes of make exist."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import digitjax

ROOT = Path(__file__).parent.parent
MODULES = [
    module.name for module in pkgutil.walk_packages(digitjax.__path__, "digitjax.") if "__main__" not in module.name
]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    ROOT.glob("*/README.md")
)


def test_the_examples_of_docstrings_give_what_they_say():
    results = [doctest.testmod(importlib.import_module(name)) for name in MODULES]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) >= 10


def anchor(heading: str) -> str:
    """As code hosts name the place of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        name, _, place = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), f"{document.name} links to {target}"
        assert file.is_relative_to(ROOT)
        if place:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert place in map(anchor, headings), f"{document.name} links to {target}"


def test_what_the_documents_tell_to_make_is_there():
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        assert set(re.findall(r"`make ([a-z-]+)", document.read_text())) <= known
