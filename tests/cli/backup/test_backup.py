"""`shop-api backup` and `shop-api restore`, as an operator runs them beside the service."""

import os
import shutil
import signal
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from pymongo import MongoClient

from shop_api.cli.backup import archive, repository
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import schema
from shop_api.storage.mongo.transactions import Transactions
from support import prefork
from support.archives import ABOUT
from support.factories import a_product
from support.faults import Wire
from support.patience import PATIENCE
from support.processes import environment as settings_environment
from support.processes import run, started, token_of

pytestmark = pytest.mark.long

KEY = "5b1f7a0c9e3d48268a7c6d5e4f3b2a1908f7e6d5c4b3a291"
ADMIN = ("owner", "a long password of the owner")


def environment(folder: Path) -> dict[str, str]:
    """Of a service on the embedded engines, all of whose data is in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    own = {"DATA_DIR": str(folder), "PORT": "0", "ADMIN_USERNAME": ADMIN[0], "ADMIN_PASSWORD": ADMIN[1]}
    own["BACKUP_KEY"] = KEY
    return inherited | {f"SHOP_{name}": value for name, value in own.items()}


class Writers:
    """Four of them, who put the numbers from 1 on into a product each, and remember what was acknowledged."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self.acknowledged = {f"product-{n}": 0 for n in range(4)}
        self.unexpected: list[int] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._ended = threading.Event()
        threads = [threading.Thread(target=self._write, args=(name,)) for name in self.acknowledged]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _write(self, name: str) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx.Client(base_url=self._url, headers=headers, timeout=PATIENCE) as client:
            response = client.post("/products", json=a_product(product_id=name, stock=0))
            while not self._ended.is_set():
                if response.is_error:
                    self.unexpected.append(response.status_code)
                    return
                self.acknowledged[name] = response.json()["stock"]
                changed = a_product(product_id=name, stock=self.acknowledged[name] + 1)
                response = client.put(f"/products/{name}", json=changed)


def stocks(url: str) -> dict[str, int]:
    items = httpx.get(f"{url}/products", params={"limit": 100}).raise_for_status().json()["items"]
    return {item["product_id"]: item["stock"] for item in items}


def test_a_backup_under_load_brings_back_every_write_acknowledged_before_it(tmp_path: Path):
    env, file = environment(tmp_path / "data"), tmp_path / "shop.backup"
    with started(env, tmp_path / "serve.log") as (_, url):
        writers = Writers(url, token_of(url, *ADMIN))
        with writers.at_work():
            deadline = time.monotonic() + PATIENCE
            while min(writers.acknowledged.values()) < 20:
                assert time.monotonic() < deadline
                assert not writers.unexpected
                time.sleep(0.01)
            before = dict(writers.acknowledged)
            backup = run(env, "backup", file)
            after = {name: stock + 1 for name, stock in writers.acknowledged.items()}  # one may be on its way
        assert backup.returncode == 0, backup.stderr
        assert not writers.unexpected
    shutil.rmtree(tmp_path / "data")

    restore = run(env, "restore", file)
    assert restore.returncode == 0, restore.stderr
    with started(env, tmp_path / "serve-again.log") as (_, url):
        found = stocks(url)
        token_of(url, *ADMIN)  # accounts are back too, the same as before
    print(f"\nacknowledged before {before}, found {found}, while it ran up to {after}")
    assert found.keys() == before.keys()
    assert all(before[name] <= found[name] <= after[name] for name in before)
    assert sum(after.values()) - sum(before.values()) > 2 * len(before)  # or there was no load
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = (tmp_path / "data" / "jwt-secret").read_text()
    assert secret not in backup.stderr + restore.stderr + backup.stdout


class TestRestore:
    @pytest.fixture(scope="module")
    @staticmethod
    def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Of a shop with nothing but its first admin."""
        folder = tmp_path_factory.mktemp("backup")
        env = environment(folder / "data")
        with started(env, folder / "serve.log"):
            assert run(env, "backup", folder / "shop.backup").returncode == 0
        return folder / "shop.backup"

    def test_refuses_a_database_that_has_something_unless_forced(self, file: Path, tmp_path: Path):
        env = environment(tmp_path / "data") | {"SHOP_ADMIN_USERNAME": "another"}
        with started(env, tmp_path / "serve.log"):
            pass
        refused = run(env, "restore", file)
        assert refused.returncode == 2
        assert "there is something in the database shop; --force removes it first" in refused.stderr
        with started(env, tmp_path / "serve.log") as (_, url):
            token_of(url, "another", ADMIN[1])
        assert run(env, "restore", file, "--force").returncode == 0
        with started(environment(tmp_path / "data"), tmp_path / "serve.log") as (_, url):
            token_of(url, *ADMIN)
            with pytest.raises(httpx.HTTPStatusError):
                token_of(url, "another", ADMIN[1])

    def test_refuses_while_an_instance_serves(self, file: Path, tmp_path: Path):
        env = environment(tmp_path / "data") | {"SHOP_ADMIN_USERNAME": "another"}
        with started(env, tmp_path / "serve.log") as (process, url):
            refused = run(env, "restore", file, "--force")
            assert refused.returncode == 2
            assert f":{process.pid}:" in refused.stderr
            token_of(url, "another", ADMIN[1])

    def test_nobody_uses_what_a_restore_left_half_done(self, file: Path, engines: Settings, tmp_path: Path):
        """MongoDB refuses its second document, which has the id of the first."""
        name, half = f"test-{uuid.uuid4().hex[:12]}", tmp_path / "half.backup"
        with archive.written(half, ABOUT, KEY.encode()) as out:
            out.add("things", '{"_id": "1"}')
            out.add("things", '{"_id": "1"}')
        env = settings_environment(engines, SHOP_MONGO_DB=name, SHOP_BACKUP_KEY=KEY)
        failed = run(env, "restore", half)
        assert failed.returncode == 1
        assert "things: the document '1' has the same _id as another one; no instance uses" in failed.stderr
        for command in (["serve"], ["migrate"], ["demo"]):
            refused = run(env, *command)
            assert refused.returncode == 1
            assert f"a restore of the database {name} did not end" in refused.stderr
        again = run(env, "restore", file, "--force")
        assert again.returncode == 0, again.stderr
        with started(env, tmp_path / "serve.log") as (_, url):
            token_of(url, *ADMIN)
        with MongoClient[dict[str, Any]](engines.required()[0]) as client:
            client.drop_database(name)

    def test_a_damaged_file_changes_nothing(self, file: Path, tmp_path: Path):
        half = tmp_path / "half"
        half.write_bytes(file.read_bytes()[:-40])
        refused = run(environment(tmp_path / "data"), "restore", half, "--force")
        assert refused.returncode == 2
        assert "not all of a backup" in refused.stderr
        assert not (tmp_path / "data").exists()

    def test_a_missing_file_is_told_in_words(self, tmp_path: Path):
        refused = run(environment(tmp_path / "data"), "restore", tmp_path / "none")
        assert (refused.returncode, refused.stderr) == (
            2,
            f"shop-api: {tmp_path}/none: No such file or directory\n",
        )


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_backup_that_is_ended_leaves_the_one_before(tmp_path: Path, engines: Settings, signum: signal.Signals):
    mongo_url, redis_url, secret = engines.required()
    urls = {"SHOP_REDIS_URL": redis_url, "SHOP_JWT_SECRET": secret.decode()}
    name = f"test-{uuid.uuid4().hex[:12]}"
    wire = Wire(urlsplit(mongo_url).port or 27017)
    file, part = tmp_path / "shop.backup", tmp_path / "shop.backup.part"
    with MongoClient[dict](mongo_url) as client, wire.open() as port:
        urls["SHOP_MONGO_URL"] = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        env = environment(tmp_path) | urls | {"SHOP_MONGO_DB": name}
        assert run(env, "backup", file).returncode == 0
        client[name]["things"].insert_many([{"_id": n, "text": "x" * 200} for n in range(20_000)])
        wire.delay = 0.05  # for each piece of megabytes: it takes seconds, however fast the machine
        with open(os.devnull, "wb") as nowhere:
            process = prefork.Forked(["backup", str(file)], env, nowhere, nowhere)
        while not part.exists():
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signum)
        assert process.wait(PATIENCE) != 0
        wire.delay = 0.0
        assert archive.examined(file, KEY.encode()).documents == 0
        assert part.exists() == (signum == signal.SIGKILL)
        assert run(env, "backup", file).returncode == 0  # what is left of the other does not matter
        assert archive.examined(file, KEY.encode()).documents == 20_000
        assert list(tmp_path.iterdir()) == [file]
        client.drop_database(name)


async def test_every_type_comes_back_as_it_was(database: mongo.Database, tmp_path: Path):
    document = {
        "_id": ObjectId(),
        "at": datetime(2030, 1, 2, 3, 4, 5, 678000, UTC),
        "long": Int64(2**53 + 1),
        "small": 7,
        "real": 0.1,
        "text": 'quotes " and lines\n and \u2028 and 🛒',
        "bytes": Binary(b"\0\xff", 5),
        "exact": Decimal128(Decimal("0.10")),
        "nested": {"list": [1, None, {"$odd": True}]},
    }
    await database["things"].insert_one(document)
    await database["others"].insert_many([{"_id": n} for n in range(1200)])
    with archive.written(tmp_path / "file", ABOUT, None) as out:
        async for name, text in repository.documents(database):
            out.add(name, text)
    await repository.clear(database)
    assert await schema.is_empty(database)
    await repository.fill(database, archive.documents(tmp_path / "file", None), [])
    found = await database["things"].find_one()
    assert found == document
    assert type(found["long"]) is Int64
    assert await database["others"].count_documents({}) == 1200


async def test_what_is_done_together_is_in_it_together(database: mongo.Database):
    """A transaction that ends while the backup is at work is in it as a whole or not at all."""
    await database["a"].insert_many([{"_id": n, "n": 0} for n in range(1000)])
    await database["b"].insert_one({"_id": 0, "n": 0})
    found: dict[str, set[str]] = {"a": set(), "b": set()}

    async def change(session: mongo.Session) -> None:
        await database["a"].update_one({"_id": 999}, {"$set": {"n": 1}}, session=session)
        await database["b"].update_one({"_id": 0}, {"$set": {"n": 1}}, session=session)

    async for name, text in repository.documents(database):
        if not any(found.values()):
            await Transactions(database).run(change)
        found[name].add(text.partition('"n"')[2])
    assert len(found["a"]) == 1
    assert found["a"] == found["b"]
