"""The driver seam, through both drivers, on a real engine that is stopped and killed."""

import asyncio
import gc
import os
import signal
import uuid
import warnings
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from pymongo.errors import (
    BulkWriteError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WriteError,
)

from shop_api import embedded
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import DuplicateKeyError, PyMongoError
from shop_api.storage.mongo.transactions import Transactions
from support.own_time import own_time
from support.patience import impatient
from support.pids import engines_on, stop


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
class TestOptionsOfTheUrl:
    async def test_go_before_ours(self, engines, driver):
        said = "appName=mine&timeoutMS=1234&serverSelectionTimeoutMS=2345&maxPoolSize=3&readConcernLevel=majority"
        async with mongo.open_database(f"{impatient(engines.required()[0])}&{said}", "shop", driver) as database:
            options = database.client.options
            assert (options.timeout, options.server_selection_timeout) == (1.234, 2.345)
            assert (options.pool_options.max_pool_size, options.pool_options.appname) == (3, "mine")
            assert options.read_concern.level == "majority"
            assert options.write_concern.document == {"w": "majority", "j": True}

    async def test_that_are_missing_are_ours(self, engines, driver):
        async with mongo.open_database(impatient(engines.required()[0]), "shop", driver) as database:
            options = database.client.options
            assert (options.timeout, options.server_selection_timeout) == (4, 3)
            assert (options.pool_options.max_pool_size, options.pool_options.appname) == (64, "shop_api")

    async def test_turn_tls_on(self, driver):
        url = "mongodb://127.0.0.1:1/?directConnection=true&tls=true&tlsAllowInvalidHostnames=true"
        async with mongo.open_database(url, "shop", driver) as database:
            assert database.client.options.pool_options._ssl_context is not None


class TestTransaction:
    @pytest.fixture(autouse=True)
    async def things(self, database):
        things = database["things"]
        await things.insert_many([{"_id": "a", "n": 100}, {"_id": "b", "n": 0}])
        return things

    @staticmethod
    async def amounts(things) -> list[int]:
        return [document["n"] for document in await things.find().sort("_id").to_list(None)]

    async def test_gives_what_the_work_gives_and_keeps_it_all(self, database, things):
        async def move(session):
            await things.update_one({"_id": "a"}, {"$inc": {"n": -30}}, session=session)
            await things.update_one({"_id": "b"}, {"$inc": {"n": 30}}, session=session)
            return "moved"

        assert await Transactions(database).run(move) == "moved"
        assert await self.amounts(things) == [70, 30]

    async def test_keeps_nothing_when_the_work_fails(self, database, things):
        async def fail(session):
            await things.update_one({"_id": "a"}, {"$inc": {"n": -30}}, session=session)
            await things.insert_one({"_id": "c", "n": 1}, session=session)
            raise ValueError("half-way")

        with pytest.raises(ValueError, match="half-way"):
            await Transactions(database).run(fail)
        assert await self.amounts(things) == [100, 0]

    async def test_keeps_nothing_when_the_caller_gives_up(self, database, things):
        half_way = asyncio.Event()

        async def hang(session):
            await things.update_one({"_id": "a"}, {"$inc": {"n": -30}}, session=session)
            half_way.set()
            await asyncio.sleep(60)

        task = asyncio.create_task(Transactions(database).run(hang))
        await half_way.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await self.amounts(things) == [100, 0]
        await asyncio.wait_for(things.update_one({"_id": "a"}, {"$inc": {"n": 1}}), 30)  # no lock is left
        assert await self.amounts(things) == [101, 0]

    async def test_those_that_meet_are_run_again_until_all_have_happened(self, database, things):
        runs = 0

        async def move(session):
            nonlocal runs
            runs += 1
            from_a = await things.find_one({"_id": "a"}, session=session)
            await asyncio.sleep(0.01)
            # Written from what was read: one that did not notice another would undo it.
            await things.update_one({"_id": "a"}, {"$set": {"n": from_a["n"] - 1}}, session=session)
            await things.update_one({"_id": "b"}, {"$inc": {"n": 1}}, session=session)

        await asyncio.gather(*(Transactions(database).run(move) for _ in range(30)))
        assert await self.amounts(things) == [70, 30]
        assert runs > 30

    async def test_what_is_written_is_not_seen_before_its_end(self, database, things):
        seen = []

        async def write(session):
            await things.update_one({"_id": "a"}, {"$set": {"n": 1}}, session=session)
            seen.append((await things.find_one({"_id": "a"}))["n"])
            seen.append((await things.find_one({"_id": "a"}, session=session))["n"])

        await Transactions(database).run(write)
        assert seen == [100, 1]


class TestAggregate:
    async def test_gives_all_documents(self, database):
        await database["things"].insert_many([{"_id": n, "even": n % 2 == 0} for n in range(250)])
        pipeline: list[dict] = [{"$match": {"even": True}}, {"$sort": {"_id": 1}}, {"$project": {"even": 1}}]
        assert [d["_id"] for d in await mongo.aggregate(database["things"], pipeline)] == list(range(0, 250, 2))


OPERATION_TIMEOUT = mongo.OPERATION_TIMEOUT_MS / 1000
# What a transaction takes longer, to abort; and what two busy cores take.
ABORT, GRACE = 2, 2.5


Failed = tuple[int, str]


def batch(*writes: Failed, concern: Failed | None = None) -> BulkWriteError:
    """What becomes of a batch in which these writes fail, or the write concern."""
    errors = [{"index": index, "code": code, "errmsg": message} for index, (code, message) in enumerate(writes)]
    concerns = [{"code": concern[0], "errmsg": concern[1]}] if concern else []
    return BulkWriteError({"writeErrors": errors, "writeConcernErrors": concerns})


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OperationFailure("shutdown in progress", 91), True),
        (OperationFailure("interrupted", 11600), True),
        (OperationFailure("not primary", 10107), True),
        (OperationFailure("?", 1, {"errorLabels": ["RetryableWriteError"]}), True),
        (OperationFailure("met another one", 112, {"errorLabels": ["TransientTransactionError"]}), True),
        (OperationFailure("no space left", 14031), True),
        (OperationFailure("user writes blocked", 371), True),
        (OperationFailure("28: No space left on device", 8), True),
        (OperationFailure("WiredTiger error: WT_PANIC: WiredTiger library panic", 1), True),
        (OperationFailure("Cannot execute a write operation in read-only mode", 20), True),
        (WriteError("27: File too large", 8, {"index": 0}), True),
        (WriteConcernError("shutdown in progress", 91, {}), True),
        (batch(), False),
        (batch((11000, "there is one"), (2, "unknown operator")), False),
        (batch((11000, "there is one"), (8, "5: Input/output error")), True),
        (batch((11000, "there is one"), (10107, "not primary")), True),
        (batch(concern=(11602, "interrupted")), True),
        (batch(concern=(100, "not enough members")), False),
        (OperationFailure("WiredTiger error: Invalid argument", 1), False),
        (OperationFailure("Caught std::exception", 8), False),
        (OperationFailure("Transaction numbers are only allowed on a replica set member", 20), False),
        (OperationFailure("unknown operator", 2), False),
        (OperationFailure("?", 1, {"errmsg": "?", "keyValue": "WT_PANIC"}), False),
        (DuplicateKeyError("No space left on device", 11000), False),
        (OperationFailure("not authorized", 13), False),
        (DuplicateKeyError("there is one", 11000), False),
    ],
    ids=str,
)
def test_what_a_server_says_while_it_changes_its_state_or_stores_nothing_is_unavailability(
    error: PyMongoError, passes: bool
):
    assert mongo.unavailable(error) is passes


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ServerSelectionTimeoutError(
                "db:1: [Errno 111] Connection refused (configured timeouts: connectTimeoutMS: 20.0ms), Timeout: 3.0s,"
                " Topology Description: <TopologyDescription id: 1, servers: []>"
            ),
            "db:1: [Errno 111] Connection refused",
        ),
        (ServerSelectionTimeoutError("No servers found yet, Timeout: 3.0s"), "No servers found yet"),
        (OperationFailure("Authentication failed., full error: {'ok': 0.0}", 18), "Authentication failed."),
        (PyMongoError("what else it says, in full"), "what else it says, in full"),
    ],
)
def test_a_brief_message_is_without_what_the_drivers_add(error: PyMongoError, message: str):
    assert mongo.brief_message(error) == message


class Told(NamedTuple):
    """What became of operations on an engine that does not answer."""

    errors: list[object]
    seconds: float


class Failures:
    """Everything that waits for a time-out, at the same time, since it takes so long."""

    def __init__(self, engines: Settings, folder: Path) -> None:
        self.told: dict[tuple[str, str], Told] = {}
        self.afterwards: dict[tuple[str, str], list[dict]] = {}
        self._elsewhere, self._folder = impatient(engines.required()[0]), folder

    async def happen(self) -> None:
        async with AsyncExitStack() as stack:
            scenarios = [
                scenario(driver, engine)
                for driver in ("motor", "pymongo")
                for scenario, engine in (
                    (self._nowhere, "mongodb://127.0.0.1:1/?directConnection=true"),
                    (self._dead, stack.enter_context(self._engine(f"dead-{driver}"))),
                    (self._hanging, stack.enter_context(self._engine(f"hanging-{driver}"))),
                    (self._slow, self._elsewhere),
                )
            ]
            await asyncio.gather(*scenarios)
        with warnings.catch_warnings():  # PyMongo forgets a socket when it is closed while it connects
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    @contextmanager
    def _engine(self, name: str) -> Iterator[str]:
        (self._folder / name).mkdir()
        with embedded.mongo.running(self._folder / name) as url:
            yield url

    def _pid(self, name: str) -> int:
        [pid] = engines_on(self._folder / name)
        return pid

    async def _nowhere(self, driver: mongo.Driver, url: str) -> None:
        async with mongo.open_database(url, "test", driver) as database:
            self.told["nowhere", driver] = await told(mongo.ping(database))

    async def _dead(self, driver: mongo.Driver, url: str) -> None:
        async with mongo.open_database(url, "test", driver) as database:
            await database["things"].insert_one({"_id": 1})
            os.kill(self._pid(f"dead-{driver}"), signal.SIGKILL)
            self.told["dead", driver] = await told(*operations(database))

    async def _hanging(self, driver: mongo.Driver, url: str) -> None:
        async with mongo.open_database(url, "test", driver) as database:
            await database["things"].insert_many([{"_id": 1}, {"_id": "other"}])
            stop(self._pid(f"hanging-{driver}"))
            self.told["hanging", driver] = await told(
                *operations(database), *(mongo.ping(database) for _ in range(30))
            )
            os.kill(self._pid(f"hanging-{driver}"), signal.SIGCONT)
            await database["things"].update_one({"_id": 1}, {"$set": {"later": True}})
            self.afterwards["hanging", driver] = await database["things"].find({"_id": 1}).to_list(None)

    async def _slow(self, driver: mongo.Driver, url: str) -> None:
        async with mongo.open_database(url, f"test-{uuid.uuid4().hex[:12]}", driver) as database:
            things = database["things"]
            await things.insert_one({"_id": 1})

            async def dawdle(session: mongo.Session) -> None:
                await things.update_one({"_id": 1}, {"$set": {"slow": True}}, session=session)
                await asyncio.sleep(OPERATION_TIMEOUT + 0.2)
                await things.update_one({"_id": 1}, {"$set": {"slower": True}}, session=session)

            self.told["slow", driver] = await told(Transactions(database).run(dawdle))
            await things.update_one({"_id": 1}, {"$set": {"later": True}})  # times out if the lock was left
            self.afterwards["slow", driver] = await things.find().to_list(None)
            await database.client.drop_database(database.name)


async def told(*work: Awaitable[object]) -> Told:
    # The limit is for a mistake: a driver by itself would go on for two minutes.
    async with own_time() as spent:
        errors = await asyncio.gather(*(asyncio.wait_for(each, 60) for each in work), return_exceptions=True)
    return Told(errors, spent.seconds)


def operations(database: mongo.Database) -> list[Awaitable[object]]:
    things = database["things"]

    async def update(session: mongo.Session) -> None:
        # Of its own: MongoDB takes a minute to find out that nobody will end it.
        await things.update_one({"_id": "other"}, {"$set": {"n": 1}}, session=session)

    return [
        mongo.ping(database),
        things.find_one({"_id": 1}),
        things.insert_one({"_id": 2}),
        things.update_one({"_id": 3}, {"$set": {"n": 1}}),
        mongo.aggregate(things, [{"$match": {}}]),
        Transactions(database).run(update),
    ]


@pytest.fixture(scope="module")
async def failures(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Failures:
    failures = Failures(engines, tmp_path_factory.mktemp("failures"))
    await failures.happen()
    return failures


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
class TestUnavailable:
    @pytest.mark.parametrize("kind", ["nowhere", "dead", "hanging", "slow"])
    async def test_is_told_within_the_time_out(self, failures, driver, kind):
        errors, seconds = failures.told[kind, driver]
        assert [e for e in errors if not (isinstance(e, PyMongoError) and mongo.unavailable(e))] == []
        assert seconds < OPERATION_TIMEOUT + ABORT + GRACE

    async def test_an_engine_that_hung_is_used_again(self, failures, driver):
        [found] = failures.afterwards["hanging", driver]
        assert found["later"]

    async def test_a_transaction_that_took_too_long_leaves_nothing_and_no_lock(self, failures, driver):
        assert failures.afterwards["slow", driver] == [{"_id": 1, "later": True}]

    async def test_what_was_asked_wrongly_is_not_unavailability(self, driver, engines):
        async with mongo.open_database(engines.required()[0], engines.mongo_db, driver) as database:
            things = database["seam"]
            await things.insert_one({"_id": 1})
            for work in (
                things.insert_one({"_id": 1}),
                things.insert_many([{"_id": 2}, {"_id": 2}]),
                things.update_one({"_id": 1}, {"$nonsense": {"a": 1}}),
                database.command("noSuchCommand"),
            ):
                with pytest.raises(PyMongoError) as failed:
                    await work
                assert not mongo.unavailable(failed.value)
            await things.drop()
