"""What a restore leaves out, and in which order it prepares and fills a database."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from shop_api.cli.backup import archive, repository, restoring
from shop_api.features.feature import Feature, schema_of
from shop_api.storage.mongo import extended_json, migrations, schema
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel, not_restored
from shop_api.storage.mongo.migrations import migrate
from shop_api.storage.mongo.schema import Migration
from support.archives import ABOUT, lines_of, write_sealed

KEY = b"5b1f7a0c9e3d48268a7c6d5e4f3b2a1908f7e6d5c4b3a291"
Line = tuple[str, Document]


def write(path: Path, documents: Iterable[Line]) -> Path:
    with archive.written(path, ABOUT, KEY) as out:
        for name, document in documents:
            out.add(name, extended_json.dumps(document))
    return path


def lines(*documents: Line) -> repository.Lines:
    return lambda: iter([f'["{name}",{extended_json.dumps(document)}]'.encode() for name, document in documents])


async def restore(database: Database, source: repository.Lines, features: Sequence[Feature]) -> repository.Restored:
    return await restoring.restore(database, source, features, repository.schema_in(source()), lambda _: None)


async def test_a_feature_says_itself_what_is_not_restored(database: Database):
    def without_secret(document: Document) -> Document:
        return {name: value for name, value in document.items() if name != "secret"}

    mine = Feature(
        name="mine",
        collections=(
            CollectionSpec("codes", on_restore=not_restored),
            CollectionSpec("wallets", on_restore=without_secret),
            CollectionSpec("others"),
        ),
    )
    found = await restore(
        database,
        lines(
            ("codes", {"_id": 1}),
            ("others", {"_id": 1, "secret": 1}),
            ("of a DBA", {"_id": 1, "secret": 1}),
            ("wallets", {"_id": 1, "secret": 1}),
            ("wallets", {"_id": 2, "secret": 1, "a": 1}),
        ),
        [mine],
    )
    assert (found.documents, found.left_out) == (4, {"codes": 1})
    assert await database["codes"].count_documents({}) == 0
    assert await database["wallets"].find({}).sort("_id").to_list(None) == [{"_id": 1}, {"_id": 2, "a": 1}]
    for name in ("others", "of a DBA"):
        assert await database[name].find_one({}) == {"_id": 1, "secret": 1}


THINGS = CollectionSpec(
    "things",
    schema={"bsonType": "object", "required": ["n"], "properties": {"n": {"bsonType": "int"}}},
    indexes=[IndexModel([("n", 1)], unique=True)],
)
OTHERS = CollectionSpec(
    "others", indexes=[IndexModel([("m", 1)], unique=True, sparse=True)], documents=({"_id": "first", "changes": 0},)
)
others = Feature(name="others", collections=(OTHERS,))


async def _numbers(database: Database, _: Any) -> None:
    """Migrate the texts of an older form to numbers."""
    async for thing in database["things"].find({"n": {"$type": "string"}}):
        await database["things"].update_one({"_id": thing["_id"]}, {"$set": {"n": int(thing["n"])}})


without_indexes = Feature(name="things", collections=(replace(THINGS, indexes=()),))


def things(*, background: bool | None = None) -> Feature:
    """Without `background` it has no migration."""
    step = Migration(1, "texts to numbers", _numbers, bool(background))
    return Feature(name="things", collections=(THINGS,), migrations=() if background is None else (step,))


def recorded(**fields: Any) -> Line:
    """The schema of the database that was backed up."""
    return "schema", {"_id": "schema", "state": "ready", "fence": {"schema": 99}, **fields}


DUPLICATES = (("others", {"_id": "a", "m": 1}), ("others", {"_id": "b", "m": 1}))


class TestOrder:
    """Collections, validators and indexes come first, then documents."""

    async def test_a_duplicate_is_refused_by_the_index_and_named(self, database: Database):
        with pytest.raises(repository.RestoreFailed) as failed:
            await restore(database, lines(*DUPLICATES), [others])
        assert str(failed.value) == "others: the document 'b' has the same m as another one"
        assert (await schema.read(database) or fail()).state == "restoring"

    async def test_a_document_that_is_not_valid_is_refused_by_the_validator_and_named(self, database: Database):
        with pytest.raises(repository.RestoreFailed) as failed:
            await restore(database, lines(("things", {"_id": "a", "n": "one"})), [things()])
        assert str(failed.value) == "things: the document 'a' is not valid"

    async def test_documents_that_have_to_exist_come_from_the_backup_or_else_as_declared(self, database: Database):
        await restore(database, lines(("others", {"_id": "first", "changes": 7})), [others])
        assert await database["others"].find({}).to_list(None) == [{"_id": "first", "changes": 7}]
        await restore(database, lines(), [others])
        assert await database["others"].find({}).to_list(None) == [{"_id": "first", "changes": 0}]

    async def test_the_indexes_count_as_the_services_own(self, database: Database):
        """So that `shop-api migrate` drops one that is no longer declared, whatever the backup says of its own."""
        for stored in (recorded(indexes={"things": ["m_1"]}), recorded(), ("things", {"_id": 1, "n": 1})):
            await restore(database, lines(stored), [things()])
            assert "n_1" in await database["things"].index_information()
            await migrate(database, schema_of([without_indexes]), "test", lambda _: None)
            assert list(await database["things"].index_information()) == ["_id_"]

    @pytest.mark.parametrize(
        "stored",
        [
            (recorded(),),
            (),
            (recorded(applied={"things": 1}, unfinished={"things": {"1": None}}),),
        ],
        ids=["pending", "unversioned", "unfinished"],
    )
    async def test_documents_of_an_older_form_are_migrated_before_validators_and_indexes_hold(
        self, database: Database, stored: tuple[Line, ...]
    ):
        features = [things(background=bool(stored and "unfinished" in stored[0][1])), others]
        old = lines(*stored, ("things", {"_id": "a", "n": "1"}), ("things", {"_id": "b", "n": "2"}))
        assert (await restore(database, old, features)).documents == 2
        await migrations.run_in_background(database, schema_of(features), "test")
        assert [one["n"] async for one in database["things"].find({}).sort("_id")] == [1, 2]
        assert "n_1" in await database["things"].index_information()
        assert (await schema.read(database) or fail()).is_current(schema_of(features), strict=True)

    async def test_beside_them_those_of_other_features_are_checked_as_ever(self, database: Database):
        with pytest.raises(repository.RestoreFailed, match="others: the document 'b' has the same m"):
            await restore(database, lines(recorded(), *DUPLICATES), [things(background=False), others])

    async def test_duplicates_among_them_are_named_when_the_index_is_made(self, database: Database):
        old = lines(recorded(), ("things", {"_id": "a", "n": "1"}), ("things", {"_id": "b", "n": "01"}))
        with pytest.raises(schema.SchemaError, match=r"documents of things .* n_1"):
            await restore(database, old, [things(background=False)])

    async def test_a_file_that_was_changed_since_it_was_verified_is_not_restored(
        self, database: Database, tmp_path: Path
    ):
        file = write(tmp_path / "shop.backup", [("things", {"_id": n, "n": n}) for n in range(3)])
        assert archive.examined(file, KEY).documents == 3
        *kept, _, _ = lines_of(file)
        write_sealed(file, kept)
        with pytest.raises(repository.RestoreFailed, match="changed while"):
            await restoring.restore(database, lambda: archive.documents(file, KEY), [things()], None, lambda _: None)
        assert (await schema.read(database) or fail()).state == "restoring"


def fail() -> NoReturn:
    raise AssertionError("there is no schema")
