"""After a restore nobody is signed in, and no token from a mail works: what was ended since then stays ended."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from shop_api.cli.backup import archive
from shop_api.features.auth.one_time_tokens import ONE_TIME_TOKENS, OneTimeTokens
from shop_api.features.auth.repository import SESSIONS
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import utc_now
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import extended_json
from shop_api.storage.mongo.client import Database, Document
from support import prefork
from support.archives import ABOUT
from support.factories import PASSWORD, a_user
from support.faults import Wire
from support.patience import PATIENCE
from support.processes import environment, run, started, token_of

pytestmark = pytest.mark.long
KEY = "5b1f7a0c9e3d48268a7c6d5e4f3b2a1908f7e6d5c4b3a291"


@pytest.fixture
async def shop(engines: Settings) -> AsyncIterator[tuple[dict[str, str], Database]]:
    """The environment of commands on an empty database, and the database."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    async with mongo.open_database(engines.required()[0], name, "pymongo") as database:
        yield environment(engines, SHOP_MONGO_DB=name, SHOP_BACKUP_KEY=KEY), database
        await database.client.drop_database(name)


def a_stored_user(username: str, **fields: Any) -> Document:
    document = a_user(username, **fields).model_dump()
    return {"_id": document.pop("id"), "email_key": None, **document}


def write(path: Path, documents: Iterable[tuple[str, Document]]) -> Path:
    with archive.written(path, ABOUT, KEY.encode()) as out:
        for name, document in documents:
            out.add(name, extended_json.dumps(document))
    return path


async def left(database: Database) -> tuple[int, ...]:
    """How many users have sessions, how many sessions and how many one-time tokens there are."""
    signed_in = await database["users"].count_documents({"sessions": {"$ne": []}})
    others = [await database[spec.name].count_documents({}) for spec in (SESSIONS, ONE_TIME_TOKENS)]
    return signed_in, *others


async def test_no_token_of_before_is_worth_anything(shop, tmp_path: Path):
    env, database = shop
    file, ada = tmp_path / "shop.backup", a_user("ada", email="ada@example.com", email_verified=True)
    with started(env, tmp_path / "serve.log") as (_, url):
        await UserRepository(database).add(ada)
        tokens = httpx.post(f"{url}/auth", json={"username": "ada", "password": PASSWORD}).json()
        mailed = await OneTimeTokens(database, utc_now).make("reset", ada)
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert httpx.get(f"{url}/users/me", headers=bearer).status_code == 200
        assert run(env, "backup", file).returncode == 0
    restore = run(env, "restore", file, "--force")
    assert restore.returncode == 0, restore.stderr
    with started(env, tmp_path / "serve-again.log") as (_, url):
        refresh = {"refresh_token": tokens["refresh_token"]}
        reset = {"token": mailed, "new_password": "a wholly different one"}
        assert httpx.get(f"{url}/users/me", headers=bearer).status_code == 401
        assert httpx.post(f"{url}/auth/refresh", json=refresh).status_code == 401
        assert httpx.post(f"{url}/auth/password/reset/confirm", json=reset).status_code == 400
        token_of(url, "ada", PASSWORD)
    assert "left out: one_time_tokens (1), sessions (1)" in restore.stderr
    assert await database[ONE_TIME_TOKENS.name].count_documents({}) == 0
    assert await database[SESSIONS.name].count_documents({}) == 1  # the new one


async def test_so_it_is_at_each_moment_of_a_restore_that_is_killed_and_repeated(shop, tmp_path: Path):
    env, database = shop
    users = [("users", a_stored_user(f"user-{n:04}", sessions=["a", "b"])) for n in range(600)]
    tokens = [("one_time_tokens", {"_id": str(n), "user_id": "x", "purpose": "reset"}) for n in range(600)]
    things = [("things", {"_id": n, "text": "x" * 200}) for n in range(20_000)]
    file = write(tmp_path / "shop.backup", [*users, *tokens, *things])
    wire = Wire(urlsplit(env["SHOP_MONGO_URL"]).port or 27017)
    with wire.open() as port, open(os.devnull, "wb") as nowhere:
        slow = env | {"SHOP_MONGO_URL": f"mongodb://127.0.0.1:{port}/?directConnection=true"}
        wire.delay = 0.02  # for each of some hundred messages
        process = prefork.Forked(["restore", str(file)], slow, nowhere, nowhere)
        while not await database["things"].find_one({}):
            assert process.poll() is None
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(PATIENCE) != 0
    assert await database["users"].count_documents({}) == 600
    assert await left(database) == (0, 0, 0)
    again = run(env, "restore", file, "--force")
    assert again.returncode == 0, again.stderr
    assert await database["users"].count_documents({}) == 600
    assert await database["things"].count_documents({}) == 20_000
    assert await left(database) == (0, 0, 0)
