"""A service on a database of its own has an admin from the beginning, or says what is missing."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient

from shop_api.settings import Settings
from support.patience import PATIENCE
from support.processes import environment, run, started

pytestmark = pytest.mark.long

NAME, PASSWORD = "owner", "a long password of the owner"
ADMIN = {"SHOP_ADMIN_USERNAME": NAME, "SHOP_ADMIN_PASSWORD": PASSWORD}


@pytest.fixture
def env(engines: Settings) -> Iterator[dict[str, str]]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    env = environment(engines, SHOP_MONGO_DB=name, SHOP_LOG_LEVEL="warning", SHOP_AUTO_MIGRATE="on")
    yield env
    with MongoClient[dict](env["SHOP_MONGO_URL"]) as client:
        client.drop_database(name)


def change(env: dict[str, str], **fields: object) -> None:
    with MongoClient[dict](env["SHOP_MONGO_URL"]) as client:
        assert (
            client[env["SHOP_MONGO_DB"]]["users"].update_one({"username": NAME}, {"$set": fields}).matched_count == 1
        )


def signs_in(url: str) -> bool:
    form = {"username": NAME, "password": PASSWORD}
    return httpx.post(f"{url}/auth", json=form, timeout=PATIENCE).status_code == 200


def test_without_any_admin_it_refuses_to_start(env):
    done = run(env, "serve")
    assert done.returncode == 1
    assert done.stderr == (
        f"shop-api: the database {env['SHOP_MONGO_DB']} has no active admin: run shop-api admin create NAME, or set"
        " SHOP_ADMIN_USERNAME and SHOP_ADMIN_PASSWORD to create one at the next start\n"
    )


def test_an_admin_made_by_command_is_enough(env, tmp_path):
    assert run(env, "admin", "create", NAME, "--password", PASSWORD).returncode == 0
    with started(env, tmp_path / "log") as (_, url):
        assert signs_in(url)


def test_instances_that_start_at_once_make_one_admin(env, tmp_path):
    def one(number: int) -> bool:
        with started(env | ADMIN, tmp_path / f"{number}.log") as (_, url):
            return signs_in(url)

    assert run(env, "migrate").returncode == 0
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(one, range(3))) == [True] * 3


@pytest.mark.parametrize("fields", [{"disabled": True}, {"role": "user"}])
def test_the_name_of_somebody_else_is_no_admin(env, tmp_path, fields):
    assert run(env, "admin", "create", NAME, "--password", PASSWORD).returncode == 0
    change(env, **fields)
    refused = run(env | ADMIN, "serve")
    assert refused.returncode == 1
    assert "SHOP_ADMIN_USERNAME names owner, a user who is not an active admin" in refused.stderr
    assert "has no active admin: run shop-api admin create NAME" in refused.stderr
    assert run(env, "admin", "create", "another", "--password", PASSWORD).returncode == 0
    log: Path = tmp_path / "log"
    with started(env | ADMIN, log):
        pass  # the log is written in the background, and completely at the end
    assert "SHOP_ADMIN_USERNAME names owner, a user who is not an active admin" in log.read_text()
