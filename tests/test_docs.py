"""The pages tell the truth."""

import re

import pytest

from shop_api.settings import reference


def test_the_configuration_page_is_current(repository_root):
    assert (repository_root / "docs" / "configuration.md").read_text() == reference(), "run: make docs"


def _pages(root):
    return [root / "README.md", root / "CHANGELOG.md", *(root / "docs").rglob("*.md")]


def test_every_relative_link_resolves(repository_root):
    broken = []
    for page in _pages(repository_root):
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists():
                broken.append(f"{page.name}: {link}")
    assert broken == []


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_both_commands_are_on_the_first_screen(repository_root, command):
    assert command in "".join((repository_root / "README.md").read_text().splitlines(keepends=True)[:25])


def test_every_target_that_a_page_names_exists(repository_root):
    targets = set(re.findall(r"^([a-z-]+):", (repository_root / "Makefile").read_text(), re.MULTILINE))
    for page in _pages(repository_root):
        named = set(re.findall(r"(?:`|^|\s)make ([a-z]+)(?:`|\s+#)", page.read_text(), re.MULTILINE))
        assert named <= targets, page.name
