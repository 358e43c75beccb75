"""The pages tell the truth."""

import json
import os
import re
import shlex
import shutil

import pytest

from shop_api.cli import reference as errors
from shop_api.kernel.errors import ShopError
from shop_api.settings import reference as settings
from support.processes import run as run_command
from support.walkthrough import blocks, walkthrough

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("page", "module"), [("configuration.md", settings), ("errors.md", errors)])
def test_a_page_that_is_made_from_the_code_is_current(repository_root, page, module):
    assert (repository_root / "docs" / page).read_text() == module.reference(), "run: make docs"


def _pages(root):
    names = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
    return [*(root / name for name in names), *(root / "docs").rglob("*.md")]


@pytest.mark.skipif(not shutil.which("curl"), reason="skipped: there is no curl here, which the pages use")
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_every_block_works_from_top_to_bottom_on_a_fresh_checkout(repository_root, tmp_path, page):
    steps = blocks(repository_root / page)
    if any("make sdk" in step.text for step in steps) and not list((repository_root / "sdk/dist").glob("*.tgz")):
        pytest.skip("skipped: `make sdk` has not made the clients here")
    with walkthrough(repository_root, tmp_path) as reader:
        for step in steps:
            reader.follow(step)


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
    makefiles = [repository_root / "Makefile", *repository_root.glob("*/*.mk")]
    targets = {name for file in makefiles for name in re.findall(r"^([a-z-]+):", file.read_text(), re.MULTILINE)}
    for page in _pages(repository_root):
        named = set(re.findall(r"(?:`|^|\s)make ([a-z-]+)(?:`|\s+#)", page.read_text(), re.MULTILINE))
        assert named <= targets, page.name


def test_the_import_on_the_readme_loads_its_sample_exactly_and_again_without_change(repository_root, tmp_path):
    [line] = re.findall(
        r"^\.venv/bin/shop-api (products import .*)$", (repository_root / "README.md").read_text(), re.M
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    env["SHOP_DATA_DIR"] = str(tmp_path)

    def run(*words: str) -> str:
        done = run_command(env, *words, cwd=repository_root)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert re.search(r"created\D+5\b", run(*shlex.split(line)))
    assert re.search(r"unchanged\D+5\b", run(*shlex.split(line)))
    products = [json.loads(product) for product in run("products", "export").splitlines()]
    assert {product["product_id"]: product["price"]["amount"] for product in products} == {
        "ASM-250": 950,
        "DRJ-100": 1499,
        "SEN-100": 1125,
        "POT-900": 4900,
        "CUP-2": 1240,
    }


def test_http_md_names_every_status_of_a_problem_and_only_tests_that_exist(repository_root):
    page = (repository_root / "docs/http.md").read_text()
    named = set(re.findall(r"tests/\S+\.py", page))
    assert [path for path in named if not (repository_root / path).exists()] == []
    statuses = page.partition("## Statuses")[2]
    assert {str(kind.status) for kind in ShopError.kinds()} <= set(re.findall(r"\b[45]\d\d\b", statuses))
