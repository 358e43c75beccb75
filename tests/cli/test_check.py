"""`shop-api check`: what always holds of the stored data."""

import subprocess
from datetime import timedelta

import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from shop_api.kernel.clock import utc_now
from shop_api.settings import Settings
from support.factories import a_product
from support.processes import environment, run


def check(settings: Settings) -> subprocess.CompletedProcess[str]:
    return run(environment(settings), "check")


@pytest.fixture
async def stored(admin, shop) -> Settings:
    assert (await admin.post("/products", json=a_product())).status_code == 201
    return shop.settings


async def test_all_holds_of_what_the_service_writes(stored, sign_in):
    await sign_in("ada")
    done = check(stored)
    assert (done.returncode, done.stdout) == (0, "")
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["ok"] * len(done.stderr.splitlines())
    assert "sessions_have_users" in done.stderr


async def test_each_violation_is_told_and_ends_it_with_1(stored):
    with MongoClient[dict](stored.required()[0]) as client:
        database = client[stored.mongo_db]
        database["products"].update_one({}, {"$set": {"words": []}})
        database["sessions"].insert_one(
            {
                **dict.fromkeys(("family_hash", "secret_hash"), "x"),
                **dict.fromkeys(("created_at", "last_used_at"), utc_now()),
                "expires_at": utc_now() + timedelta(days=1),
                "_id": "left-over",
                "user_id": "nobody",
            }
        )
    done = check(stored)
    assert done.returncode == 1
    assert "broken: products_are_indexed" in done.stderr
    assert "sessions: left-over belongs to nobody, who does not exist" in done.stdout


def test_without_mongodb_it_says_so(engines: Settings):
    away = engines.model_copy(update={"mongo_url": SecretStr("mongodb://127.0.0.1:1/?replicaSet=rs0")})
    done = check(away)
    assert done.returncode == 1
    assert done.stderr.startswith("shop-api: MongoDB failed: ")
