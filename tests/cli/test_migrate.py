"""`shop-api migrate`, instances that start at once, and processes killed in the middle of a migration."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from shop_api.settings import Settings
from support import migrating, prefork
from support.patience import PATIENCE
from support.processes import FIRST_ADMIN, environment, run, started

pytestmark = pytest.mark.long
TESTS = Path(__file__).parents[1]


@pytest.fixture
def database(engines: Settings) -> Iterator[Database[dict[str, Any]]]:
    """An empty database of its own."""
    with MongoClient[dict[str, Any]](engines.required()[0]) as client:
        name = f"test-{uuid.uuid4().hex[:12]}"
        yield client[name]
        client.drop_database(name)


@pytest.fixture
def env(engines: Settings, database) -> dict[str, str]:
    return environment(engines, SHOP_MONGO_DB=database.name)


@contextmanager
def worker(engines: Settings, name: str, what: str) -> Iterator[subprocess.Popen[str]]:
    """A process with throw-away migrations, once it has begun."""
    command = [sys.executable, "-m", "support.migrating", engines.required()[0], name, what]
    process = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def an_earlier_version(database: Database[dict[str, Any]]) -> None:
    """What an earlier version leaves: documents, and no record of the schema."""
    database["guards"].insert_one({"_id": "admins", "changes": 0})
    database["products"].create_index([("dba", 1)])


def test_a_database_of_an_earlier_version_is_refused_until_it_is_migrated(env, database, tmp_path):
    an_earlier_version(database)
    for command in (["serve"], ["demo"], ["products", "export"], ["admin", "create", "ada", "--password", "x" * 12]):
        refused = run(env, *command)
        assert refused.returncode == 1
        assert "run: shop-api migrate" in refused.stderr
        assert "Traceback" not in refused.stderr
    listed = run(env, "migrate", "--check")
    pending = "products 1: normalize the texts of products (NFC, trimmed) (in the background)\n"
    assert (listed.returncode, listed.stdout) == (1, f"{pending}collections, validators and indexes\n")
    assert database["schema"].find_one() is None

    assert run(env, "migrate").returncode == 0
    listed = run(env, "migrate", "--check")
    under_way = pending.replace("(in the", "(under way in the")
    assert (listed.returncode, listed.stdout) == (0, under_way)
    assert "dba_1" in database["products"].index_information()
    with started(env, tmp_path / "serve.log"):
        assert [one["_id"].split(":")[0] for one in database["instances"].find()]
    assert database["instances"].find_one() is None


def test_a_newer_schema_is_refused_in_words(env, database):
    assert run(env, "migrate").returncode == 0
    database["schema"].update_one({}, {"$set": {"applied.products": 7}})
    for command in ("serve", "migrate"):
        refused = run(env, command)
        assert refused.returncode == 1
        assert "a newer version of shop-api has migrated" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_instances_that_start_at_once_create_the_database_once(env, database, tmp_path):
    with ExitStack() as stack:
        logs = [(tmp_path / f"{n}.log").open("wb") for n in range(3)]
        processes = [prefork.Forked(["serve"], {**env, **FIRST_ADMIN}, log, log) for log in logs]
        for process, log in zip(processes, logs, strict=True):
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.terminate)
            stack.callback(log.close)
        texts = [tmp_path / f"{n}.log" for n in range(3)]
        wait_for(lambda: all(b"ready on" in text.read_bytes() for text in texts) or any(p.poll() for p in processes))
        assert [p.poll() for p in processes] == [None] * 3, [text.read_text() for text in texts]
        assert database["instances"].count_documents({}) == 3
    assert database["schema"].find_one()["state"] == "ready"


@pytest.mark.parametrize("what", ["migrate", "serve"])
def test_one_that_is_killed_in_a_migration_is_taken_over(engines, database, what):
    """Blocking and background: what it had done is not done again, and the one that waited does the rest."""
    database["things"].insert_many([{"_id": n, "form": 1} for n in range(migrating.DOCUMENTS)])
    if what == "serve":
        declared = {"state": "ready", "applied": {"things": 1}, "unfinished": {"things": {"1": None}}}
        database["schema"].insert_one({"_id": "schema", "fence": {}, **declared})
    database["gates"].insert_one({"_id": "gate", "at": 20})
    with worker(engines, database.name, what) as first, worker(engines, database.name, what) as second:
        wait_for(lambda: database["calls"].find_one({"position": 19}))
        (working,) = database["calls"].distinct("pid")
        killed, waiting = (first, second) if working == first.pid else (second, first)
        killed.kill()
        database["gates"].delete_many({})
        assert waiting.wait(PATIENCE) == 0
    things = list(database["things"].find())
    assert {(one["form"], one["changed"]) for one in things} == {(2, 1)}
    calls = [(one["pid"] == working, one["position"]) for one in database["calls"].find()]
    assert calls == [(True, p) for p in (None, 9, 19)] + [(False, p) for p in (19, 29, 39, 49)]
    recorded = database["schema"].find_one()
    assert recorded["applied"] == {"things": 1}
    assert recorded["unfinished"] == {"things": {}}


def test_two_that_begin_at_once_migrate_once(engines, database):
    database["things"].insert_many([{"_id": n, "form": 1} for n in range(migrating.DOCUMENTS)])
    with worker(engines, database.name, "migrate") as one, worker(engines, database.name, "migrate") as other:
        assert [one.wait(PATIENCE), other.wait(PATIENCE)] == [0, 0]
    assert [call["position"] for call in database["calls"].find()] == [None, 9, 19, 29, 39, 49]
