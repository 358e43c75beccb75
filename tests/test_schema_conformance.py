"""Every operation of the OpenAPI document with generated requests, as anyone, as a user and as an admin.

SHOP_TEST_CASES sets how many requests each operation gets from each of them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from factories import PASSWORD, a_product
from processes import serving, token_of

CASES = os.environ.get("SHOP_TEST_CASES", "20")


@pytest.fixture(scope="module")
def base_url(engines, tmp_path_factory):
    settings = engines.model_copy(update={"mongo_db": engines.mongo_db + "-conformance"})
    with serving(settings, tmp_path_factory.mktemp("conformance"), admin=("root", PASSWORD)) as url:
        with httpx.Client(base_url=url) as client:
            client.post("/register", json={"username": "somebody", "password": PASSWORD})
            client.headers["Authorization"] = f"Bearer {token_of(url, 'root', PASSWORD)}"
            client.post("/register", json={"username": "ada", "password": PASSWORD})
            assert client.post("/products", json=a_product()).status_code == 201
        yield url


@pytest.mark.parametrize("caller", [None, "somebody", "root"])
def test_every_answer_is_as_documented(base_url, caller, repository_root, tmp_path):
    command = [
        *(Path(sys.executable).with_name("schemathesis"), "--config-file", repository_root / "schemathesis.toml"),
        *("run", f"{base_url}/openapi.json", "--phases", "examples,coverage,fuzzing", "--max-examples", CASES),
        *("--generation-database", "none", "--no-color"),
    ]
    if caller is not None:
        command += ["--header", f"Authorization: Bearer {token_of(base_url, caller, PASSWORD)}"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) > 300
