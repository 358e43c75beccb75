"""The source stays in pieces that one can read, and folders are units: imports run in one direction.

import-linter holds the order of the packages; here is what its contracts cannot say.
"""

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


# Each may import what stands behind it; none of a group imports another of it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("app",),
    ("container",),
    ("features",),
    ("cache",),
    ("http",),
    ("audit", "security"),
    ("storage",),
    ("observability", "email", "embedded"),
    ("settings",),
    ("kernel",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
SHARED_BY_FEATURES = {"service", "password_service", "models"}


def imports(module: str, source: str) -> Iterator[str]:
    """Yield what a module imports of the package, function-local imports and those for types included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "shop_api":
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "shop_api")


def folder(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


def own_folder(name: str) -> str:
    return Path(name).parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n    from shop_api.http import etags", ["shop_api.http.etags"]),
        ("import shop_api.cli.main\nimport json", ["shop_api.cli.main"]),
        ("if TYPE_CHECKING:\n    from shop_api.app import create_app", ["shop_api.app.create_app"]),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, found: list[str]):
    assert list(imports("x.py", source)) == found


def test_every_folder_has_its_place():
    assert {own_folder(name) for name in MODULES} - {"__init__"} == set(LEVEL)


def test_no_import_runs_back_up_and_no_folders_form_a_circle():
    upward = [
        f"{name} imports {target}"
        for name, source in MODULES.items()
        for target in imports(name, source)
        if (own := own_folder(name)) in LEVEL
        and (other := folder(target)) in LEVEL
        and other != own
        and LEVEL[other] <= LEVEL[own]
    ]
    assert upward == []


def test_features_use_of_each_other_only_services_and_models():
    foreign = [
        f"{name} imports {target}"
        for name, source in MODULES.items()
        if name.startswith("features/") and name.count("/") > 1
        for target in imports(name, source)
        if target.startswith("shop_api.features.")
        and (parts := target.split("."))[2] not in (Path(name).parts[1], "feature")
        and parts[3] not in SHARED_BY_FEATURES
    ]
    assert foreign == []
