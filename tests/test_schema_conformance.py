"""Every operation of the OpenAPI document with generated requests, as anyone, as a user and as an admin.

SHOP_TEST_CASES sets how many generated requests each operation gets from each of them, beside those at the edges of
what its schema allows; `make fuzz` sends 20,000 and more from each.
"""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest

from support.factories import PASSWORD, a_product
from support.processes import serving, token_of

pytestmark = pytest.mark.long

CASES = int(os.environ.get("SHOP_TEST_CASES", "5"))
ENDINGS = ["sign_out", "end_all_sessions", "end_session", "delete_user", "change_password"]
"""What may end the caller's sign-ins: all that follows would be a 401, as documented, and show nothing."""


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
    token = token_of(base_url, caller, PASSWORD) if caller else None
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text((repository_root / "schemathesis.toml").read_text())
    if "SHOP_TEST_CASES" not in os.environ:  # the suite sends what is at the edges of a schema once, as who may most
        spared = [name for name, secured in operations(repository_root) if caller != ("root" if secured else None)]
        with configuration.open("a") as file:
            file.write(f"\n[[operations]]\ninclude-operation-id = {spared}\nphases.coverage.enabled = false\n")
    run = partial(_run, base_url, token, configuration)
    endings = [f"--include-operation-id={name}" for name in ENDINGS]
    if caller is None:  # has nothing to be ended
        generated = run()
    else:
        generated = run(*(option.replace("include", "exclude") for option in endings)) + run(*endings)
    print(f"\n{caller}: {generated:,} requests")
    assert generated >= (100 if CASES < 900 else 20_000)


def operations(repository_root: Path) -> list[tuple[str, bool]]:
    """Their ids, and whether each needs a token."""
    paths = json.loads((repository_root / "openapi.json").read_text())["paths"].values()
    found = [operation for path in paths for operation in path.values()]
    return [(each["operationId"], bool(each["security"]) and {} not in each["security"]) for each in found]


def _run(base_url: str, token: str | None, configuration: Path, *selection: str) -> int:
    """How many requests were sent, all of them answered as documented."""
    command = [
        *(Path(sys.executable).with_name("schemathesis"), "--config-file", configuration),
        *("run", f"{base_url}/openapi.json", "--phases", "examples,coverage,fuzzing", "--max-examples", CASES),
        *("--generation-database", "none", "--no-color", *selection),
    ]
    if token is not None:
        command += ["--header", f"Authorization: Bearer {token}"]
    limit = 300 + 20 * CASES
    done = subprocess.run(
        list(map(str, command)), cwd=configuration.parent, capture_output=True, text=True, timeout=limit
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated
    return int(generated[1])
