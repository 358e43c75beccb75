"""The source stays in pieces that one can read: small modules, small functions."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

import shop_api

SOURCE = Path(shop_api.__file__).parent
MODULES = {str(path.relative_to(SOURCE)): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}
MAX_MODULE_LINES = 300
MAX_MEDIAN_FUNCTION_LINES = 6


def function_lengths(source: str) -> Iterator[int]:
    """Of each function in `source` how many lines it has, from its `def` to its last, the docstring among them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize(
    ("source", "lengths"),
    [
        ("def f(): ...", [1]),
        ('@cached\nasync def f():\n    """Says."""\n    a = 1\n\n    return a', [5]),
        ("class C:\n    def f(self):\n        def g():\n            return 1\n        return g", [4, 2]),
    ],
)
def test_functions_are_measured_from_their_def_to_their_end(source: str, lengths: list[int]):
    assert list(function_lengths(source)) == lengths


def test_no_module_is_too_long_to_read_at_once():
    assert len(MODULES) > 100
    lengths = {name: len(source.splitlines()) for name, source in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > MAX_MODULE_LINES} == {}


def test_half_of_all_functions_are_tiny():
    lengths = [length for source in MODULES.values() for length in function_lengths(source)]
    assert len(lengths) > 500
    assert median(lengths) <= MAX_MEDIAN_FUNCTION_LINES
