"""A feature that the service has never seen, passed to create_app: everything follows from its record alone."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from pydantic import ConfigDict

from cache.conftest import settled
from conftest import Client, client_of, empty, running_app
from shop_api.app import create_app
from shop_api.cache.marking import cacheable
from shop_api.cli.backup import repository as backup
from shop_api.cli.check import check_invariants
from shop_api.features import FEATURES
from shop_api.features.feature import Feature, Invariant, Tag, collections_of
from shop_api.features.users.models import Role
from shop_api.features.users.repository import UserRepository
from shop_api.http.dependencies import Requires
from shop_api.http.problems import SIGNED_IN, problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.clock import utc_now
from shop_api.kernel.errors import Forbidden, NotFound
from shop_api.kernel.permissions import Caller, Permission
from shop_api.kernel.schema import Schema
from shop_api.security.tokens import AccessTokens
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database, PyMongoError
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel
from support import migrating
from support.authorization import required
from support.factories import TEST_SECRET, a_session, a_user

NOTES_READ = Permission("notes:read", "Read all notes.")
TAG = "note:{note_id}"


class NoteOut(Schema):
    """A note."""

    text: str


class NoteExport(NoteOut):
    """A note, as its owner may see it."""

    model_config = ConfigDict(extra="ignore")


router = APIRouter(prefix="/notes", tags=["Notes"], route_class=StrictRoute)


@router.get("", responses=problems(*SIGNED_IN, Forbidden))
async def list_notes(request: Request, caller: Annotated[Caller, Requires(NOTES_READ)]) -> list[NoteOut]:
    """List all notes."""
    return [NoteOut(text=note["text"]) async for note in request.app.state.services.database["notes"].find()]


@router.get("/{note_id}", responses=problems(NotFound))
@cacheable(TAG)
async def get_note(note_id: str, request: Request) -> NoteOut:
    """Return a note."""
    note = await request.app.state.services.database["notes"].find_one({"_id": note_id})
    if note is None:
        raise NotFound
    return NoteOut(text=note["text"])


async def _empty_notes(database: Database) -> AsyncIterator[str]:
    async for note in database["notes"].find({"text": ""}):
        yield f"notes: {note['_id']} is empty"


NOTES = CollectionSpec(
    "notes",
    schema={"bsonType": "object", "required": ["user_id", "text"]},
    indexes=[IndexModel([("user_id", 1)])],
    owner="user_id",
    erasure="delete",
    exported=NoteExport,
)
feature = Feature(
    name="notes",
    routers=(router,),
    tags=(Tag("Notes", "What people have written down."),),
    collections=(NOTES,),
    cache_tags={"notes": lambda note_id: (TAG.format(note_id=note_id),)},
    permissions=(NOTES_READ,),
    audit_actions=("note_pinned",),
    invariants=(Invariant("notes_say_something", "No note is empty.", _empty_notes),),
)
ALL = (*FEATURES, feature)


@pytest.fixture(scope="module")
async def _app(engines: Settings) -> AsyncIterator[FastAPI]:
    settings = engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})
    async with running_app(settings, ALL) as app:
        yield app
        await app.state.services.database.client.drop_database(settings.mongo_db)


@pytest.fixture
async def app(_app: FastAPI) -> FastAPI:
    await empty(_app.state.services, ALL)
    return _app


@pytest.fixture
def database(app: FastAPI) -> Database:
    database: Database = app.state.services.database
    return database


@pytest.fixture
async def people(app: FastAPI, database: Database) -> AsyncIterator[dict[str, Client]]:
    """Clients of nobody, of a user and of an admin."""
    clients = {"nobody": client_of(app)}
    users = UserRepository(database)
    roles: dict[str, Role] = {"ada": "user", "root": "admin"}
    for name, role in roles.items():
        user = a_user(name, role)
        await users.add(user)
        await database["sessions"].insert_one(a_session(user))
        token = AccessTokens(TEST_SECRET.encode(), utc_now).issue(user.id, user.sessions[0])
        clients[name] = client_of(app, Authorization=f"Bearer {token}")
    yield clients
    for client in clients.values():
        await client.aclose()


@pytest.fixture
async def notes(database: Database, people: dict[str, Client]) -> None:
    """A note of ada's and one of root's."""
    for name in ("ada", "root"):
        user: Any = await database["users"].find_one({"username": name})
        await database["notes"].insert_one({"_id": f"of-{name}", "user_id": user["_id"], "text": f"by {name}"})


async def test_its_collection_is_prepared(database):
    assert "user_id_1" in await database["notes"].index_information()
    with pytest.raises(PyMongoError):
        await database["notes"].insert_one({"text": "whose?"})


async def test_its_permission_is_asked_for(people, notes):
    statuses = {name: (await client.get("/notes")).status_code for name, client in people.items()}
    assert statuses == {"nobody": 401, "ada": 403, "root": 200}


def test_the_authorization_test_has_a_row_for_it(app):
    assert ("list_notes", "GET", "/notes", NOTES_READ) in required(app)


async def test_its_answers_are_cached_until_somebody_changes_them(app, database, people, notes):
    await settled(app.state.services)
    first, again = [await people["nobody"].get("/notes/of-ada") for _ in range(2)]
    assert again.headers["cache-status"].startswith("shop_api; hit")
    await database["notes"].update_one({"_id": "of-ada"}, {"$set": {"text": "changed in a shell"}})
    await settled(app.state.services)
    assert (await people["nobody"].get("/notes/of-ada")).json() == {"text": "changed in a shell"}
    assert first.json() == {"text": "by ada"}


async def test_a_user_exports_their_own(people, notes):
    export = (await people["ada"].get("/users/me/export")).json()
    assert export["notes"] == [{"text": "by ada"}]
    assert export["user"]["username"] == "ada"


async def test_erasure_takes_them_along(database, people, notes):
    assert (await people["ada"].delete("/users/me")).status_code == 204
    assert [note["_id"] async for note in database["notes"].find()] == ["of-root"]


async def test_a_backup_holds_them(database, notes):
    saved = [json.loads(document)["_id"] async for name, document in backup.documents(database) if name == "notes"]
    assert sorted(saved) == ["of-ada", "of-root"]


async def test_check_asserts_its_invariant(database, people, notes):
    async def broken() -> dict[str, list[str]]:
        results = await check_invariants(database, ALL)
        return {result.name: result.violations for result in results if result.violations}

    assert await broken() == {}
    await database["notes"].update_one({"_id": "of-ada"}, {"$set": {"text": ""}})
    assert await broken() == {"notes_say_something": ["notes: of-ada is empty"]}


async def test_the_audit_log_takes_its_action(people):
    assert (await people["root"].get("/audit", params={"action": "note_pinned"})).status_code == 200
    unknown = await people["root"].get("/audit", params={"action": "note_eaten"})
    assert (unknown.status_code, unknown.json()["errors"][0]["loc"]) == (422, ["query", "action"])


def test_the_document_has_all_of_it(engines: Settings):
    document = create_app(engines, ALL).openapi()
    schemas = document["components"]["schemas"]
    assert {"name": "Notes", "description": "What people have written down."} in document["tags"]
    assert {"/notes", "/notes/{note_id}"} <= set(document["paths"])
    assert schemas["Export"]["properties"]["notes"]["items"] == {"$ref": "#/components/schemas/NoteExport"}
    assert "note_pinned" in schemas["AuditEntryOut"]["properties"]["action"]["enum"]
    without = create_app(engines).openapi()
    assert "/notes" not in without["paths"]
    assert "notes" not in without["components"]["schemas"]["Export"]["properties"]


async def test_emptying_a_database_empties_it(app, database, notes):
    await empty(app.state.services, ALL)
    assert await database["notes"].count_documents({}) == 0
    assert await database["guards"].count_documents({}) == 1


async def test_its_migration_runs_beside_the_service(engines: Settings):
    """In a database of an earlier version, where the start may migrate."""
    settings = engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})
    things = Feature(
        name="things",
        collections=(migrating.THINGS,),
        migrations=migrating.declared(background=True).migrations["things"],
    )
    async with mongo.open_database(engines.required()[0], settings.mongo_db, "pymongo") as database:
        await migrating.fill(database)
        async with running_app(settings, (*FEATURES, things)):
            while await database["things"].count_documents({"form": 1}):
                await asyncio.sleep(0.02)
        assert await database["things"].count_documents({"form": 2, "changed": 1}) == migrating.DOCUMENTS
        await database.client.drop_database(settings.mongo_db)


def test_two_features_cannot_declare_one_collection():
    with pytest.raises(ValueError, match="notes"):
        collections_of((*ALL, Feature(name="other", collections=(NOTES,))))
