"""Batched reads and replacements, on the real engine with both drivers."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
from pymongo import monitoring
from pymongo.errors import PyMongoError, WriteError

from shop_api import embedded
from shop_api.settings import Settings
from shop_api.storage.mongo import bulk
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.by_id import DocumentsById
from shop_api.storage.mongo.client import Collection, Database, Document
from shop_api.storage.mongo.collections import CollectionSpec, ensure_collection

THINGS = CollectionSpec(
    name="things",
    schema={"bsonType": "object", "properties": {"n": {"bsonType": ["int", "long"], "minimum": 0}}},
)


class Commands(monitoring.CommandListener):
    """The names of the commands that were sent."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture(params=["motor", "pymongo"])
async def things(request: Any, engines: Settings, commands: Commands) -> AsyncIterator[Collection]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    async with mongo.open_database(engines.required()[0], name, request.param, [commands]) as database:
        await ensure_collection(database, THINGS)
        await database["things"].insert_many([a_thing(key) for key in "abcde"])
        commands.names.clear()
        yield database["things"]
        await database.client.drop_database(name)


def a_thing(key: str, version: int = 1, n: Any = 0) -> Document:
    return {"_id": key, "version": version, "n": n}


async def stored(things: Collection) -> dict[str, Document]:
    return {document["_id"]: document for document in await things.find().to_list(None)}


async def replace_all(things: Collection, *documents: Document) -> list[Any]:
    by_id = DocumentsById(things)
    return await asyncio.gather(*map(by_id.replace, documents), return_exceptions=True)


class TestGet:
    async def test_each_gets_the_document_with_its_id(self, things, commands):
        get = DocumentsById(things, {"version": 0}).get
        found = await asyncio.gather(*map(get, ["c", "a", "nowhere", "a", "e"]))
        assert found == [{"_id": "c", "n": 0}, {"_id": "a", "n": 0}, None, {"_id": "a", "n": 0}, {"_id": "e", "n": 0}]
        assert commands.names == ["find"]

    async def test_of_one_id(self, things, commands):
        get = DocumentsById(things).get
        assert await get("a") == a_thing("a")
        assert await asyncio.gather(get("b"), get("b"), get("b")) == 3 * [a_thing("b")]
        assert commands.names == ["find", "find"]

    async def test_one_that_cannot_be_sent_fails_alone(self, things):
        get = DocumentsById(things).get
        found = await asyncio.gather(get("a"), get("\ud800"), get("b"), return_exceptions=True)
        assert (found[0], found[2]) == (a_thing("a"), a_thing("b"))
        assert isinstance(found[1], UnicodeEncodeError)

    async def test_more_than_a_batch(self, things):
        await things.insert_many([a_thing(str(n), n=n) for n in range(300)])
        by_id = DocumentsById(things)
        found = await asyncio.gather(*(by_id.get(str(n)) for n in range(300)))
        assert found == [a_thing(str(n), n=n) for n in range(300)]


class TestReplace:
    async def test_all_in_one_command(self, things, commands):
        assert await replace_all(things, *(a_thing(key, 2, 7) for key in "abcd")) == 4 * [True]
        assert commands.names == ["update"]
        assert await stored(things) == {key: a_thing(key, 2, 7) for key in "abcd"} | {"e": a_thing("e")}

    async def test_only_of_the_version_before(self, things):
        rivals = [a_thing("a", 2, 1), a_thing("b", 3, 1), a_thing("c", 2, 1), a_thing("nowhere", 2, 1)]
        assert await replace_all(things, *rivals) == [True, False, True, False]
        kept = await stored(things)
        assert (kept["a"]["n"], kept["b"]["n"], kept["c"]["n"]) == (1, 0, 1)
        assert "nowhere" not in kept

    async def test_of_twenty_of_one_document_one_wins(self, things):
        outcomes = await replace_all(things, *(a_thing("a", 2, n) for n in range(20)), a_thing("b", 2, 5))
        assert outcomes.count(True) == 2
        assert outcomes.count(False) == 19
        assert (await stored(things))["a"]["n"] == outcomes.index(True)

    async def test_one_that_is_not_valid_fails_alone(self, things):
        outcomes = await replace_all(things, a_thing("a", 2, 1), a_thing("b", 2, -1), a_thing("c", 2, 1))
        assert (outcomes[0], outcomes[2]) == (True, True)
        assert isinstance(outcomes[1], WriteError)
        assert outcomes[1].code == 121
        assert (await stored(things))["b"] == a_thing("b")

    async def test_one_that_cannot_be_sent_fails_alone(self, things):
        outcomes = await replace_all(things, a_thing("a", 2, 1), a_thing("b", 2, 2**70), a_thing("c", 2, 1))
        assert (outcomes[0], outcomes[2]) == (True, True)
        assert isinstance(outcomes[1], OverflowError)

    async def test_what_is_deleted_meanwhile_is_not_replaced(self, things):
        for _ in range(20):
            await things.delete_many({})
            await things.insert_many([a_thing(key) for key in "abcde"])
            replacing = asyncio.create_task(replace_all(things, *(a_thing(key, 2, 3) for key in "abcde")))
            await things.delete_many({"_id": {"$in": ["b", "d"]}})
            outcomes = dict(zip("abcde", await replacing, strict=True))
            assert await stored(things) == {key: a_thing(key, 2, 3) for key in "ace"}
            assert [outcomes[key] for key in "ace"] == 3 * [True]

    async def test_a_deletion_before_it_is_a_conflict(self, things):
        """Also where it is not named: an update that matches nothing is only counted."""
        await things.delete_one({"_id": "b"})
        documents = [a_thing("a", 2, 3), a_thing("b", 2, 3), a_thing("c", 9, 3)]
        assert await bulk.replace_versions(things, documents) == [True, False, False]

    async def test_an_uncertain_end_is_told_to_all_and_is_no_refusal(self, things, monkeypatch):
        uncertain = {
            "writeErrors": [],
            "writeConcernErrors": [{"code": 11602, "errmsg": "interrupted"}],
            "nMatched": 2,
        }

        async def bulk_write(*_: object, **__: object) -> object:
            raise mongo.BulkWriteError(uncertain)

        monkeypatch.setattr(type(things), "bulk_write", bulk_write)
        outcomes = await replace_all(things, a_thing("a", 2), a_thing("b", 2))
        assert [isinstance(error, PyMongoError) and mongo.unavailable(error) for error in outcomes] == [True, True]
        assert outcomes[0] is not outcomes[1]


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
async def test_without_a_server_each_is_told_so(driver: mongo.Driver, tmp_path):
    async def work(database: Database) -> list[Any]:
        by_id = DocumentsById(database["things"])
        calls = [by_id.get("a"), by_id.get("b"), by_id.replace(a_thing("a", 2)), by_id.replace(a_thing("b", 2))]
        return await asyncio.gather(*calls, return_exceptions=True)

    with ExitStack() as own:
        url = own.enter_context(embedded.mongo.running(tmp_path))
        async with mongo.open_database(f"{url}&serverSelectionTimeoutMS=300", "test", driver) as database:
            assert await work(database) == [None, None, False, False]
            own.close()
            errors = await work(database)
    assert [isinstance(error, PyMongoError) and mongo.unavailable(error) for error in errors] == 4 * [True]
    assert len({id(error) for error in errors}) == 4
