"""An archive made by the code of commit 526dcfa, before the schema was recorded: it restores, migrates and serves."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from cli.backup.test_backup import run
from shop_api.features.products.repository import PRODUCTS
from shop_api.settings import Settings
from support.processes import environment, started, token_of

pytestmark = pytest.mark.long
ARCHIVE = Path(__file__).parent / "data" / "526dcfa.backup"
OWNER, PASSWORD = "owner", "a long password of the owner"


@pytest.fixture
def env(engines: Settings) -> Iterator[dict[str, str]]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield environment(engines, SHOP_MONGO_DB=name)
    with MongoClient[dict[str, Any]](engines.required()[0]) as client:
        client.drop_database(name)


def test_it_restores_migrates_and_serves(env: dict[str, str], engines: Settings, tmp_path: Path):
    restored = run(env, "restore", ARCHIVE, "--unauthenticated")
    assert restored.returncode == 0, restored.stderr
    assert "restored 25 documents" in restored.stderr
    assert "left out: sessions (5)" in restored.stderr
    assert run(env, "check").returncode == 0
    with started(env, tmp_path / "serve.log") as (_, url):
        headers = {"Authorization": f"Bearer {token_of(url, OWNER, PASSWORD)}"}
        products = httpx.get(f"{url}/products", params={"limit": 100}).raise_for_status().json()["items"]
        assert len(products) == 12  # and one draft
        found = httpx.get(f"{url}/products", params={"q": "assam"}).raise_for_status().json()["items"]
        assert [one["product_id"] for one in found] == ["tea-assam-250"]
        users = httpx.get(f"{url}/users", headers=headers).raise_for_status().json()["items"]
        roles = {one["username"]: (one["role"], one["disabled"]) for one in users}
        assert (roles["bob"], roles["carol"]) == (("admin", False), ("user", True))
        entries = httpx.get(f"{url}/audit", headers=headers).raise_for_status().json()["items"]
        assert {"role_changed", "user_disabled", "password_changed"} <= {one["action"] for one in entries}
        token_of(url, "ada", "another horse battery")
    with MongoClient[dict[str, Any]](engines.required()[0]) as client:
        indexes = client[env["SHOP_MONGO_DB"]]["products"].index_information()
    assert len(indexes) == len(PRODUCTS.indexes) + 1


def test_a_database_filled_from_it_by_other_means_is_migrated_by_the_command(
    env: dict[str, str], engines: Settings, tmp_path: Path
):
    """As a volume of that version is: its documents, and no record of the schema."""
    from shop_api.cli.backup import archive
    from shop_api.storage.mongo import extended_json

    with MongoClient[dict[str, Any]](engines.required()[0]) as client:
        for line in archive.documents(ARCHIVE, None):
            name, document = extended_json.loads(line)
            client[env["SHOP_MONGO_DB"]][name].insert_one(document)
    refused = run(env, "serve")
    assert refused.returncode == 1
    assert "run: shop-api migrate" in refused.stderr
    assert run(env, "migrate").returncode == 0
    with started(env, tmp_path / "serve.log") as (_, url):
        token_of(url, OWNER, PASSWORD)
