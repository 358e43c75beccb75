"""Statements that stand in for simpler ones, through both drivers: they do what the simpler ones do on MongoDB."""

import asyncio
from inspect import getmembers, isfunction

import pytest

from shop_api.storage.mongo import portable
from shop_api.storage.mongo.client import aggregate
from test_structure import MODULES

FUNCTIONS = [
    name for name, f in getmembers(portable, isfunction) if f.__module__ == portable.__name__ and name[0] != "_"
]


async def stored(database) -> list[dict]:
    return await database["things"].find().sort("_id", 1).to_list(None)


class TestReplaceVersion:
    async def test_exactly_one_of_several_writers_wins(self, database):
        await database["things"].insert_one({"_id": "a", "version": 1, "old": 1})
        successors = [{"_id": "a", "version": 2, "text": f"$version {n}"} for n in range(5)]
        won = await asyncio.gather(*(portable.replace_version(database["things"], new) for new in successors))
        assert sorted(won) == [False] * 4 + [True]
        assert await stored(database) == [successors[won.index(True)]]

    @pytest.mark.parametrize("version", [1, 2, 4])
    async def test_another_version_stays(self, database, version):
        await database["things"].insert_one({"_id": "a", "version": 2})
        assert not await portable.replace_version(database["things"], {"_id": "a", "version": version})
        assert not await portable.replace_version(database["things"], {"_id": "b", "version": version})
        assert await stored(database) == [{"_id": "a", "version": 2}]


class TestCompareAndSet:
    async def test_sets_values_as_they_are_and_leaves_other_fields(self, database):
        await database["things"].insert_one({"_id": "a", "secret": "$one", "kept": 1})
        changes = {"secret": "$kept", "new": None}
        assert await portable.compare_and_set(database["things"], "a", {"secret": "$one"}, changes)
        assert await stored(database) == [{"_id": "a", "secret": "$kept", "kept": 1, "new": None}]

    @pytest.mark.parametrize("expected", [{"secret": "two"}, {"secret": "one", "kept": 2}, {"absent": 1}])
    async def test_changes_nothing_unless_all_is_as_expected(self, database, expected):
        document = {"_id": "a", "secret": "one", "kept": 1}
        await database["things"].insert_one(document)
        assert not await portable.compare_and_set(database["things"], "a", expected, {"secret": "x", "new": 1})
        assert not await portable.compare_and_set(database["things"], "b", expected, {"secret": "x", "new": 1})
        assert await stored(database) == [document]


async def test_delete_except_keeps_those_and_what_does_not_match(database):
    await database["things"].insert_many([{"_id": str(n), "owner": n % 2} for n in range(6)])
    await portable.delete_except(database["things"], {"owner": 0}, ["2", "3"])
    assert [document["_id"] for document in await stored(database)] == ["1", "2", "3", "5"]


async def test_conditions_find_what_they_say(database):
    texts = ["te", "tea", "tea\uffff", "teapot", "tea😀", "teb", "Tea"]
    documents = [{"_id": text, "words": ["a", text], "n": n} for n, text in enumerate(texts)]
    await database["things"].insert_many([*documents, {"_id": "around", "words": ["t", "z"], "n": 9}])
    await database["things"].create_index([("n", 1), ("_id", 1)])

    async def found(*conditions: dict) -> set[str]:
        pipeline = [{"$match": condition} for condition in conditions]
        return {d["_id"] for d in await aggregate(database["things"], pipeline)}

    tea = portable.range_of_prefix("tea")
    begun = {text for text in texts if text.startswith("tea")}
    assert await found({"_id": tea}) == begun
    assert await found(*portable.element_within("words", tea)) == begun
    assert await found({"n": portable.at_most(2)}) == set(texts[:3])


def test_the_page_about_the_embedded_engine_names_each(repository_root):
    page = (repository_root / "docs/embedded-engine.md").read_text()
    assert len(FUNCTIONS) >= 7
    assert [name for name in FUNCTIONS if f"`{name}`" not in page] == []


def test_features_read_as_if_for_mongodb():
    features = {name: source for name, source in MODULES.items() if name.startswith("features/")}
    hints = ("embedded engine", "$replaceWith", "$cond", "\\U0010ffff")
    assert [(name, hint) for name, source in features.items() for hint in hints if hint in source] == []
