"""SHOP_BACKUP_KEY: without it, nobody can change what a restore brings back."""

import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shop_api.cli.backup import archive
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database
from support.archives import ABOUT, FIRST, document_line, lines_of, write_sealed
from support.processes import command, environment, run

KEY = "5b1f7a0c9e3d48268a7c6d5e4f3b2a1908f7e6d5c4b3a291"
OTHER = "08f7e6d5c4b3a2915b1f7a0c9e3d48268a7c6d5e4f3b2a19"
THINGS = [document_line("things", {"_id": n}) for n in range(3)]


def hmac_of(lines: list[bytes], key: str = KEY) -> str:
    return hmac.digest(key.encode(), b"".join(lines), "sha256").hex()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An archive that was made with KEY."""
    with archive.written(tmp_path / "shop.backup", ABOUT, KEY.encode()) as out:
        for n in range(3):
            out.add("things", json.dumps({"_id": n}))
    return tmp_path / "shop.backup"


@pytest.fixture
async def shop(engines: Settings) -> AsyncIterator[tuple[dict[str, str], Database]]:
    """The environment of commands on an empty database, and the database."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    async with mongo.open_database(engines.required()[0], name, "pymongo") as database:
        yield environment(engines, SHOP_MONGO_DB=name), database
        await database.client.drop_database(name)


def test_the_last_line_has_an_hmac_of_all_others(file: Path):
    *lines, trailer = lines_of(file)
    assert json.loads(trailer) == {
        "documents": 3,
        "sha256": hashlib.sha256(b"".join(lines)).hexdigest(),
        "hmac": hmac_of(lines),
    }
    assert archive.examined(file, KEY.encode()).documents == 3
    assert len(list(archive.documents(file, KEY.encode()))) == 3


CHANGED = [FIRST, *THINGS[:2], document_line("things", {"_id": 7})]
NO_HMACS: list[Any] = [None, "", 0, 1, True, [], {}, "é" * 64, "\ud800", hmac_of([FIRST, *THINGS])[:32]]
FORGED: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "changed, with the hmac that it had": (CHANGED, {"hmac": hmac_of([FIRST, *THINGS])}),
    "changed, without an hmac": (CHANGED, {}),
    "changed, with the hmac of another key": (CHANGED, {"hmac": hmac_of(CHANGED, OTHER)}),
    "changed, with the hmac of no key": (CHANGED, {"hmac": hmac_of(CHANGED, "")}),
    "changed, with a hash for an hmac": (CHANGED, {"hmac": hashlib.sha256(b"".join(CHANGED)).hexdigest()}),
    "as it was, without an hmac": ([FIRST, *THINGS], {}),
    "shorter": ([FIRST, *THINGS[:2]], {"hmac": hmac_of([FIRST, *THINGS])}),
    "in another order": ([FIRST, *reversed(THINGS)], {"hmac": hmac_of([FIRST, *THINGS])}),
    "of another day": ([FIRST.replace(b"2030", b"2031"), *THINGS], {"hmac": hmac_of([FIRST, *THINGS])}),
    **{f"with {value!r} for an hmac": ([FIRST, *THINGS], {"hmac": value}) for value in NO_HMACS},
}


@pytest.mark.parametrize(("lines", "more"), FORGED.values(), ids=FORGED)
def test_an_archive_that_was_not_made_with_the_key_changes_nothing(
    tmp_path: Path, lines: list[bytes], more: dict[str, Any]
):
    forged = write_sealed(tmp_path / "forged", lines, **more)
    refused = command("restore", forged, "--force", SHOP_DATA_DIR=tmp_path / "data", SHOP_BACKUP_KEY=KEY)
    assert refused.returncode == 2, refused.stderr
    assert str(forged) in refused.stderr
    assert "--unauthenticated" in refused.stderr
    assert "taken 20" not in refused.stderr  # what it says of itself may be a lie
    assert KEY not in refused.stderr
    assert not (tmp_path / "data").exists()


def test_without_the_key_nothing_is_restored(file: Path, tmp_path: Path):
    refused = command("restore", file, "--force", SHOP_DATA_DIR=tmp_path / "data")
    assert refused.returncode == 2
    assert "SHOP_BACKUP_KEY: is missing" in refused.stderr
    assert "--unauthenticated" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_damaged_archive_is_not_called_a_forged_one(file: Path, tmp_path: Path):
    file.write_bytes(file.read_bytes()[:-20])
    refused = command("restore", file, SHOP_DATA_DIR=tmp_path / "data", SHOP_BACKUP_KEY=KEY)
    assert (refused.returncode, "--unauthenticated" in refused.stderr) == (2, False)
    assert "ends too early" in refused.stderr


def test_a_key_is_as_strong_as_other_secrets(file: Path, tmp_path: Path):
    for words in (("backup", tmp_path / "new"), ("restore", file)):
        refused = command(*words, SHOP_DATA_DIR=tmp_path / "data", SHOP_BACKUP_KEY="hunter2")
        assert refused.returncode == 1
        assert "SHOP_BACKUP_KEY: is weak: needs at least 32 bytes" in refused.stderr
        assert "hunter2" not in refused.stderr


@pytest.mark.long
class TestCommands:
    async def test_an_archive_made_with_the_key_is_restored_with_it(self, shop, tmp_path: Path):
        env, database = shop
        (tmp_path / "key").write_text(f"{KEY}\n")
        env |= {"SHOP_BACKUP_KEY_FILE": str(tmp_path / "key")}
        await database["things"].insert_one({"_id": 1})
        backup = run(env, "backup", tmp_path / "shop.backup")
        assert (backup.returncode, "authenticated" in backup.stderr) == (0, False), backup.stderr
        other_key = {"SHOP_BACKUP_KEY_FILE": "", "SHOP_BACKUP_KEY": OTHER}
        other = run(env | other_key, "restore", tmp_path / "shop.backup")
        assert (other.returncode, "another SHOP_BACKUP_KEY" in other.stderr) == (2, True), other.stderr
        restore = run(env, "restore", tmp_path / "shop.backup", "--force")
        assert (restore.returncode, "authenticated" in restore.stderr) == (0, False), restore.stderr
        assert await database["things"].count_documents({}) == 1

    async def test_without_a_key_both_say_what_that_means(self, shop, tmp_path: Path):
        env, _ = shop
        backup = run(env, "backup", tmp_path / "shop.backup")
        assert backup.returncode == 0
        assert "is not authenticated: SHOP_BACKUP_KEY is not set" in backup.stderr
        assert "hmac" not in json.loads(lines_of(tmp_path / "shop.backup")[-1])
        restore = run(env, "restore", tmp_path / "shop.backup", "--unauthenticated")
        assert restore.returncode == 0, restore.stderr
        assert "not authenticated" in restore.stderr

    @pytest.mark.parametrize("key", [{}, {"SHOP_BACKUP_KEY": OTHER}], ids=["no key", "another key"])
    async def test_unauthenticated_restores_with_the_checksum_alone(self, shop, file: Path, key: dict[str, str]):
        env, database = shop
        restore = run(env | key, "restore", file, "--unauthenticated")
        assert restore.returncode == 0, restore.stderr
        assert await database["things"].count_documents({}) == 3
        file.write_bytes(file.read_bytes()[:-20])
        refused = run(env | key, "restore", file, "--unauthenticated", "--force")
        assert refused.returncode == 2
        assert await database["things"].count_documents({}) == 3
