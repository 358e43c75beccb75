"""Migrations and the preparation of collections, through both drivers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import leases, migrations, schema
from shop_api.storage.mongo.client import Database, PyMongoError
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel, ensure_collection
from shop_api.storage.mongo.leases import LeaseLost, try_acquire
from shop_api.storage.mongo.migrations import migrate, open_schema, run_in_background
from shop_api.storage.mongo.schema import DeclaredSchema, Migration, SchemaError, SchemaOutdated, SchemaTooNew
from support import migrating
from support.commands import CommandCounter
from support.mongo_wire import NOT_PRIMARY, Fault, MongoWire

N, M = IndexModel([("n", 1)]), IndexModel([("m", -1), ("_id", -1)])
THINGS = CollectionSpec("things", {"properties": {"n": {"bsonType": "int"}}}, [N], documents=({"_id": "one"},))
OTHERS = CollectionSpec("others")
DECLARED = DeclaredSchema([THINGS, OTHERS])


def said(_: str) -> None: ...


async def opened(database: Database, declared: DeclaredSchema = DECLARED, *, auto: bool = False) -> None:
    await open_schema(database, declared, "test", auto=auto)


async def recorded(database: Database) -> schema.RecordedSchema:
    found = await schema.read(database)
    assert found is not None
    return found


async def indexes(database: Database) -> list[str]:
    return sorted(await database["things"].index_information())


@pytest.fixture
def counter() -> CommandCounter:
    return CommandCounter()


@pytest.fixture
async def counted(database, engines, counter) -> AsyncIterator[Database]:
    """The same database by a client whose commands are counted."""
    async with mongo.open_database(engines.required()[0], database.name, "pymongo", [counter]) as other:
        yield other


class TestEmptyDatabase:
    async def test_whoever_starts_creates_it_at_the_newest_schema(self, database):
        ran: list[Any] = []

        async def never(_: Database, position: Any) -> None:
            ran.append(position)

        await opened(database, DeclaredSchema([THINGS], {"things": [Migration(1, "never needed", never)]}))
        assert ran == []
        assert (await recorded(database)).applied == {"things": 1}
        assert await indexes(database) == ["_id_", "n_1"]
        with pytest.raises(PyMongoError):
            await database["things"].insert_one({"n": "one"})

    async def test_many_at_once_create_it_once(self, counted, counter):
        await asyncio.gather(*(open_schema(counted, DECLARED, f"holder-{n}", auto=False) for n in range(6)))
        created = sorted(of for name, of in counter.sent if name == "create")
        assert created == ["instances", "others", "things"]
        assert [of for name, of in counter.sent if name == "createIndexes"] == ["instances", "things"]
        assert counter.count("collMod") == 0

    async def test_one_that_died_while_it_created_is_taken_over(self, database):
        await schema.begin(database, "creating")
        await database["things"].insert_one({"_id": "one"})
        await opened(database)
        assert await indexes(database) == ["_id_", "n_1"]


class TestUpToDate:
    async def test_a_start_writes_nothing_and_asks_once(self, database, counted, counter):
        await opened(database)
        await counted.command("ping")
        counter.clear()
        await opened(counted)
        assert counter.sent == [("find", "schema")]

    async def test_migrate_once_more_changes_no_collection(self, database, counted, counter):
        """Finding out takes locks of nobody: no collMod, which waits behind a backup, and all else behind it."""
        await opened(database)
        counter.clear()
        await migrate(counted, DECLARED, "again", said)
        assert {of for _, of in counter.writes()} == {"leases"}

    async def test_migrate_mends_what_somebody_has_removed(self, database):
        await opened(database)
        await database["things"].drop_index("n_1")
        await migrate(database, DECLARED, "test", said)
        assert await indexes(database) == ["_id_", "n_1"]


class TestOutdated:
    async def test_a_database_of_an_earlier_version_is_refused_and_the_command_is_named(self, database):
        await ensure_collection(database, THINGS)
        with pytest.raises(SchemaOutdated, match="run: shop-api migrate"):
            await opened(database)
        assert await schema.read(database) is None

    async def test_it_is_migrated_at_the_start_where_that_is_set(self, database):
        await ensure_collection(database, THINGS)
        await opened(database, auto=True)
        assert (await recorded(database)).state == "ready"

    @pytest.mark.parametrize(
        "changed",
        [
            replace(THINGS, schema={"required": ["m"]}),
            replace(THINGS, indexes=[N, M]),
            replace(THINGS, indexes=[IndexModel([("n", 1)], expireAfterSeconds=0)]),
            replace(THINGS, documents=()),
        ],
    )
    async def test_another_declaration_is_another_schema(self, database, changed):
        await opened(database)
        newer = DeclaredSchema([changed, OTHERS])
        with pytest.raises(SchemaOutdated):
            await opened(database, newer)
        await migrate(database, newer, "test", said)
        await opened(database, newer)

    async def test_instances_of_the_version_before_may_restart_during_an_upgrade(self, database):
        """As long as there is no migration: the documents have the same form."""
        await opened(database)
        await migrate(database, DeclaredSchema([replace(THINGS, indexes=[N, M]), OTHERS]), "test", said)
        await opened(database)
        assert "m_-1__id_-1" in await indexes(database)

    async def test_a_newer_one_is_refused_by_all(self, database):
        await opened(database, replace(DECLARED, migrations={"things": [Migration(1, "step", migrating.upgrade)]}))
        for auto in (False, True):
            with pytest.raises(SchemaTooNew, match="things 1"):
                await opened(database, auto=auto)
        with pytest.raises(SchemaTooNew):
            await migrate(database, DECLARED, "test", said)

    def test_numbers_have_no_gaps(self):
        with pytest.raises(ValueError, match="1, 2, 3"):
            DeclaredSchema([], {"things": [Migration(2, "step", migrating.upgrade)]})


class TestIndexes:
    async def test_only_those_that_the_service_made_are_dropped(self, database):
        await opened(database, DeclaredSchema([replace(THINGS, indexes=[N, M])]))
        await database["things"].create_index([("dba", 1)])
        await migrate(database, DeclaredSchema([THINGS]), "test", said)
        assert await indexes(database) == ["_id_", "dba_1", "n_1"]

    async def test_of_an_earlier_version_the_declared_ones_are_its_own(self, database):
        await ensure_collection(database, replace(THINGS, indexes=[N, M]))
        await database["things"].create_index([("dba", 1)])
        both = DeclaredSchema([replace(THINGS, indexes=[N, M])])
        await migrate(database, both, "test", said)
        await migrate(database, DeclaredSchema([THINGS]), "test", said)
        assert await indexes(database) == ["_id_", "dba_1", "n_1"]

    async def test_one_that_a_dba_made_first_is_used_and_stays(self, database):
        await opened(database, DeclaredSchema([THINGS]))
        await database["things"].create_index([("m", -1), ("_id", -1)], name="by hand")
        await migrate(database, DeclaredSchema([replace(THINGS, indexes=[N, M])]), "test", said)
        assert await indexes(database) == ["_id_", "by hand", "n_1"]
        await migrate(database, DeclaredSchema([THINGS]), "test", said)
        assert await indexes(database) == ["_id_", "by hand", "n_1"]

    async def test_one_of_its_own_that_is_declared_otherwise_is_made_anew(self, database):
        await opened(database)
        unique = DeclaredSchema([replace(THINGS, indexes=[IndexModel([("n", 1)], unique=True)])])
        await migrate(database, unique, "test", said)
        assert (await database["things"].index_information())["n_1"]["unique"] is True

    async def test_one_of_a_dba_that_is_in_the_way_is_named(self, database):
        await opened(database, DeclaredSchema([replace(THINGS, indexes=[])]))
        await database["things"].create_index([("n", -1)], name="n_1")
        for _ in range(2):
            with pytest.raises(SchemaError, match=r"an index of things that the service did not make.*n_1"):
                await migrate(database, DECLARED, "test", said)
        assert (await database["things"].index_information())["n_1"]["key"] == [("n", -1)]

    async def test_a_majority_is_enough_for_a_new_one(self, counted, counter):
        """Else it would wait for each voting member, and with one of three down for ever."""
        await opened(counted)
        quorums = [sent.get("commitQuorum") for sent in counter.documents if "createIndexes" in sent]
        assert quorums == ["majority", "majority"]


@pytest.fixture
async def old(database) -> Database:
    """Things in their old form."""
    await migrating.fill(database)
    return database


async def forms(database: Database) -> dict[str, int]:
    """How many things there are of the old form, of the new one, and of the new one changed twice."""
    things = await database["things"].find().to_list(None)
    return {
        "old": sum(one["form"] == 1 for one in things),
        "new": sum(one["form"] == 2 for one in things),
        "twice": sum(one.get("changed", 0) > 1 for one in things),
    }


ALL_NEW = {"old": 0, "new": migrating.DOCUMENTS, "twice": 0}
ALL_OLD = {"old": migrating.DOCUMENTS, "new": 0, "twice": 0}


class TestMigrations:
    async def test_a_blocking_one_is_done_before_anybody_starts(self, old):
        declared = migrating.declared(background=False)
        with pytest.raises(SchemaOutdated):
            await opened(old, declared)
        await migrate(old, declared, "test", said)
        assert await forms(old) == ALL_NEW
        await opened(old, declared)

    async def test_a_background_one_is_done_beside_the_service(self, old):
        declared = migrating.declared(background=True)
        await migrate(old, declared, "test", said)
        assert await forms(old) == ALL_OLD
        await opened(old, declared)
        await run_in_background(old, declared, "test")
        assert await forms(old) == ALL_NEW
        assert not (await recorded(old)).in_background(declared)

    async def test_the_command_completes_it_if_asked(self, old):
        declared = migrating.declared(background=True)
        await migrate(old, declared, "test", said, background=True)
        assert await forms(old) == ALL_NEW

    async def test_of_many_instances_one_does_it(self, old, monkeypatch):
        monkeypatch.setattr(migrations, "_LOOK_AGAIN_SECONDS", 0.01)
        declared = migrating.declared(background=True)
        await migrate(old, declared, "test", said)
        await asyncio.gather(*(run_in_background(old, declared, f"instance-{n}") for n in range(5)))
        positions = [call["position"] async for call in old["calls"].find()]
        assert positions == [None, 9, 19, 29, 39, 49]

    async def test_one_that_fails_is_tried_again(self, old, monkeypatch):
        monkeypatch.setattr(migrations, "_LOOK_AGAIN_SECONDS", 0.01)
        failures = iter([RuntimeError("once")])

        async def failing(database: Database, position: Any) -> Any:
            if position == 19 and (error := next(failures, None)):
                raise error
            return await migrating.upgrade(database, position)

        declared = DeclaredSchema([migrating.THINGS], {"things": [Migration(1, "fails once", failing, True)]})
        await migrate(old, declared, "test", said)
        await run_in_background(old, declared, "test")
        assert await forms(old) == ALL_NEW
        assert [call["position"] async for call in old["calls"].find()] == [None, 9, 19, 29, 39, 49]

    async def test_the_next_one_waits_for_it(self, old):
        steps: list[dict[str, int]] = []

        async def after(database: Database, _: Any) -> None:
            steps.append(await forms(database))

        first = migrating.declared(background=True)
        await migrate(old, first, "test", said)
        both = [*first.migrations["things"], Migration(2, "rely on the new form", after)]
        await migrate(old, replace(first, migrations={"things": both}), "test", said)
        assert steps == [ALL_NEW]
        assert (await recorded(old)).applied == {"things": 2}

    async def test_a_holder_that_was_taken_over_records_nothing(self, old):
        """It was stopped in a batch, and goes on when another one has the lease."""

        async def overtaken(database: Database, _: Any) -> Any:
            await database["leases"].update_one({"_id": "schema"}, {"$set": {"expires_at": leases._EPOCH}})
            other = await try_acquire(database, "schema", "other")
            assert other is not None
            await migrations._Runner(database, declared, other, said)._record({"by": "other"})
            return "a position of the past"

        declared = DeclaredSchema([migrating.THINGS], {"things": [Migration(1, "slow", overtaken)]})

        await schema.begin(old, "unversioned")
        async with leases.held(old, migrations.LEASE, "slow") as lease:
            with pytest.raises(LeaseLost):
                await migrations.migrate_under(lease, old, declared, said)
        assert (await recorded(old)).unfinished == {}

    async def test_after_it_was_taken_over_it_waits_for_the_other_one(self, old, monkeypatch):
        lost = iter([LeaseLost("taken over")])
        under = migrations.migrate_under

        async def once(*arguments: Any, **options: Any) -> Any:
            if error := next(lost, None):
                raise error
            return await under(*arguments, **options)

        monkeypatch.setattr(migrations, "migrate_under", once)
        told: list[str] = []
        await migrate(old, migrating.declared(background=False), "test", told.append)
        assert told[0] == "taken over"
        assert await forms(old) == ALL_NEW


@pytest.fixture
async def wire(engines: Settings, database) -> AsyncIterator[tuple[MongoWire, Database]]:
    """A database behind a wire that breaks what a test wants."""
    wire = MongoWire(urlsplit(engines.required()[0]).port or 27017)
    with wire.open() as port:
        # Else the driver believes for ten seconds what it was told by a server that has not really changed.
        monitor = "serverMonitoringMode=poll&heartbeatFrequencyMS=500"
        url = f"mongodb://127.0.0.1:{port}/?directConnection=true&{monitor}"
        async with mongo.open_database(url, database.name, "pymongo") as behind:
            yield wire, behind


class TestWhatMongoDBRefuses:
    @pytest.mark.parametrize(
        ("command", "error"),
        [
            ("collMod", {"ok": 0, "code": 12587, "errmsg": "cannot perform operation: an index build is running"}),
            ("collMod", NOT_PRIMARY),
            ("create", NOT_PRIMARY),
            ("createIndexes", NOT_PRIMARY),
        ],
    )
    async def test_what_passes_is_waited_for(self, wire, database, monkeypatch, command, error):
        monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0.01)
        broken, behind = wire
        await ensure_collection(database, replace(THINGS, schema={"required": ["m"]}, indexes=[], documents=()))
        broken.add(Fault("refused", {command}, error), times=3)
        told: list[str] = []
        await migrate(behind, DECLARED, "test", told.append)
        assert broken.met == 3
        assert [line for line in told if line.startswith("waiting for MongoDB")]
        assert await indexes(database) == ["_id_", "n_1"]

    async def test_missing_rights_name_the_roles(self, wire, database):
        broken, behind = wire
        await ensure_collection(database, replace(THINGS, schema={"required": ["_id"]}))
        broken.add(
            Fault("refused", {"collMod"}, {"ok": 0, "code": 13, "errmsg": "not authorized to execute command"})
        )
        with pytest.raises(SchemaError, match=r"readWrite and dbAdmin .*grantRolesToUser"):
            await migrate(behind, DECLARED, "test", said)

    async def test_a_start_survives_a_database_in_which_collmod_is_refused(self, wire, database):
        await opened(database)
        broken, behind = wire
        broken.add(Fault("refused", {"collMod", "create", "createIndexes"}, {"ok": 0, "code": 50, "errmsg": "slow"}))
        await opened(behind)
        assert broken.met == 0
