"""docs/security.md says something of every requirement, and names no test that is not there."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

STATUSES = ("met", "not met", "not applicable")
HEADER = "| requirement | level | asks for | status |"
# OWASP ASVS 5.0.0: how many requirements of level 1 and of level 2 each section has. They stand in this order.
SECTIONS = """
1.1 0+2, 1.2 5+4, 1.3 2+9, 1.4 0+3, 1.5 1+1, 2.1 1+2, 2.2 2+1, 2.3 1+3, 2.4 0+1, 3.2 2+0, 3.3 1+3, 3.4 2+4,
3.5 3+2, 3.7 0+2, 4.1 1+2, 4.2 0+1, 4.3 0+2, 4.4 1+3, 5.1 0+1, 5.2 2+1, 5.3 2+0, 5.4 0+3, 6.1 1+2, 6.2 8+4,
6.3 2+2, 6.4 2+2, 6.5 0+5, 6.6 0+3, 6.8 0+4, 7.1 0+3, 7.2 4+0, 7.3 0+2, 7.4 2+3, 7.5 0+2, 7.6 0+2, 8.1 1+1,
8.2 2+1, 8.3 1+0, 8.4 0+1, 9.1 3+0, 9.2 1+3, 10.1 0+2, 10.2 0+2, 10.3 0+4, 10.4 5+6, 10.5 0+5, 10.6 0+2,
10.7 0+3, 11.1 0+2, 11.2 0+3, 11.3 2+1, 11.4 1+3, 11.5 0+1, 11.6 0+1, 12.1 1+2, 12.2 2+0, 12.3 0+4, 13.1 0+1,
13.2 0+5, 13.3 0+2, 13.4 1+4, 14.1 0+2, 14.2 1+3, 14.3 1+2, 15.1 1+2, 15.2 1+2, 15.3 1+6, 16.1 0+1, 16.2 0+5,
16.3 0+4, 16.4 0+3, 16.5 0+3, 17.1 0+1, 17.2 0+4, 17.3 0+2
"""
LEVELS = {
    f"{section}.{n + 1}": "1" if n < int(first) else "2"
    for section, first, second in re.findall(r"([0-9.]+) ([0-9]+)\+([0-9]+)", SECTIONS)
    for n in range(int(first) + int(second))
}
ALL = list(LEVELS)


class Row(NamedTuple):
    """A line of one of the tables."""

    requirements: list[str]
    level: str
    asks_for: str
    status: str
    how: str
    shown_by: str


def expanded(cell: str) -> Iterator[str]:
    """The requirements that a cell means: `4`, `4.3`, `4.1.2`, `4.1.1–4.1.3`, `4.3–4.4`, and several of those."""
    for part in cell.split(", "):
        first, _, last = part.partition("–")
        meant = [n for n, number in enumerate(ALL) if f"{number}.".startswith((f"{first}.", f"{last or first}."))]
        assert meant, f"there is no {part}"
        yield from ALL[meant[0] : meant[-1] + 1]


@pytest.fixture(scope="module")
def text(repository_root: Path) -> str:
    return (repository_root / "docs" / "security.md").read_text()


@pytest.fixture(scope="module")
def rows(text: str) -> list[Row]:
    found, inside = [], False
    for line in text.splitlines():
        inside = line.startswith(HEADER) or (inside and line.startswith("|"))
        if inside and re.match(r"\| \d", line):
            number, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found.append(Row(list(expanded(number)), *cells))
    return found


def levels(requirements: list[str]) -> str:
    return ", ".join(sorted({LEVELS[number] for number in requirements}))


def test_the_numbers_here_are_those_of_the_standard():
    assert Counter(LEVELS.values()) == {"1": 70, "2": 183}


def test_every_requirement_is_in_the_tables_once(rows: list[Row]):
    assert Counter(number for row in rows for number in row.requirements) == Counter(ALL)


def test_each_row_has_its_level_a_status_and_words(rows: list[Row]):
    for row in rows:
        assert row.status in STATUSES, row
        assert row.level == levels(row.requirements), row
        assert row.asks_for, row
        assert row.shown_by, row
        # What is said without a test to show it has to be said in words.
        assert row.how or "`tests/" in row.shown_by, row
        assert row.how or row.status == "met", row


def test_the_summary_counts_right(rows: list[Row], text: str):
    for level in ("1", "2"):
        counted = Counter(row.status for row in rows for number in row.requirements if levels([number]) == level)
        numbers = " | ".join(str(counted[status]) for status in STATUSES)
        assert f"\n| {level} | {numbers} |\n" in text, numbers


def test_every_test_that_is_named_exists(text: str, repository_root: Path):
    named = re.findall(r"`(tests/[^`]+)`", text)
    assert len(named) > 100
    missing = []
    for name in named:
        path, *steps = name.split("::")
        if not (repository_root / path).is_file():
            missing.append(name)
            continue
        inside: ast.AST | None = ast.parse((repository_root / path).read_text())
        for step in steps:
            inside = next((part for part in getattr(inside, "body", ()) if getattr(part, "name", "") == step), None)
        if inside is None:
            missing.append(name)
    assert missing == []


def test_every_other_file_that_is_named_exists(text: str, repository_root: Path):
    named = set(re.findall(r"`((?:src|deploy|sdk|\.ci)/[^`\s]+|[\w-]+\.(?:txt|yml|json))`", text))
    assert {"constraints.txt", "deploy/nginx.conf"} <= named
    assert [name for name in sorted(named) if not (repository_root / name).is_file()] == []
