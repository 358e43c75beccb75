"""Collections as data, through both drivers."""

import asyncio
from dataclasses import replace

import pytest

from shop_api.storage.mongo.client import DuplicateKeyError, PyMongoError
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel, ensure_collection, erase, owned_by

SCHEMA = {"bsonType": "object", "required": ["n"], "properties": {"n": {"bsonType": "int"}}}
INDEXES = [IndexModel([("n", 1)], unique=True), IndexModel([("m", -1), ("_id", -1)])]
THINGS = CollectionSpec("things", SCHEMA, INDEXES, owner="user_id", erasure="delete")


async def indexes(database) -> list[str]:
    return sorted(await database["things"].index_information())


class TestEnsureCollection:
    async def test_makes_the_collection_with_its_validator_and_indexes(self, database):
        await ensure_collection(database, THINGS)
        assert await indexes(database) == ["_id_", "m_-1__id_-1", "n_1"]
        with pytest.raises(PyMongoError):
            await database["things"].insert_one({"n": "one"})
        await database["things"].insert_one({"n": 1})
        with pytest.raises(DuplicateKeyError):
            await database["things"].insert_one({"n": 1})

    async def test_again_changes_nothing(self, database):
        for n in range(3):
            await ensure_collection(database, THINGS)
            await database["things"].insert_one({"n": n})
        assert await database["things"].count_documents({}) == 3
        assert await indexes(database) == ["_id_", "m_-1__id_-1", "n_1"]

    async def test_many_at_once_all_succeed(self, database):
        await asyncio.gather(*(ensure_collection(database, THINGS) for _ in range(8)))
        assert await indexes(database) == ["_id_", "m_-1__id_-1", "n_1"]
        with pytest.raises(PyMongoError):
            await database["things"].insert_one({"n": "one"})

    async def test_a_new_validator_takes_the_place_of_the_old_one(self, database):
        await ensure_collection(database, replace(THINGS, schema={"required": ["other"]}))
        await ensure_collection(database, THINGS)
        await database["things"].insert_one({"n": 1})
        with pytest.raises(PyMongoError):
            await database["things"].insert_one({"other": 1})

    async def test_documents_are_there_from_the_start_and_keep_their_changes(self, database):
        counter = CollectionSpec("counters", documents=({"_id": "one", "n": 0},))
        await ensure_collection(database, counter)
        await database["counters"].update_one({"_id": "one"}, {"$set": {"n": 5}})
        await ensure_collection(database, counter)
        assert await database["counters"].find({}).to_list(None) == [{"_id": "one", "n": 5}]


class TestOwner:
    @pytest.fixture
    async def filled(self, database):
        await ensure_collection(database, THINGS)
        await database["kept"].insert_one({"_id": "k", "user_id": "ada"})
        await database["things"].insert_many(
            [{"_id": str(n), "n": n, "user_id": "ada" if n < 2 else "bob"} for n in range(3)]
        )
        return database

    async def test_what_is_a_users_is_found(self, filled):
        assert [thing["_id"] async for thing in owned_by(filled, THINGS, "ada")] == ["0", "1"]

    async def test_erasure_deletes_where_the_collection_says_so(self, filled):
        kept, ownerless = CollectionSpec("kept", owner="user_id"), CollectionSpec("others")
        await erase(filled, [THINGS, kept, ownerless], "ada", None)
        assert [thing["_id"] async for thing in filled["things"].find()] == ["2"]
        assert await filled["kept"].count_documents({}) == 1
