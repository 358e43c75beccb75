"""Reads all collections from one snapshot, and fills them again."""

from collections.abc import AsyncIterator, Iterable

from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import extended_json
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.instances import INSTANCES
from shop_api.storage.mongo.leases import LEASES
from shop_api.storage.mongo.schema import PLATFORM, SCHEMA

_BATCH = 500
_OF_THE_MOMENT = {INSTANCES.name, LEASES.name}
_SCHEMA_LINE = f'["{SCHEMA.name}",'.encode()
_KEPT = {spec.name for spec in PLATFORM}


async def collections(database: Database) -> list[str]:
    """Return the names of all collections except leases and instances, which describe running processes."""
    names = set(await database.list_collection_names()) - _OF_THE_MOMENT
    return sorted(name for name in names if not name.startswith("system."))


async def documents(database: Database) -> AsyncIterator[tuple[str, str]]:
    """Yield each document with its collection's name, as type-preserving extended JSON, from one snapshot. It has
    every write acknowledged before, and all or nothing of each concurrent transaction."""
    names = await collections(database)
    async with mongo.snapshot(database) as session:
        for name in names:
            async for document in database[name].find({}, session=session, batch_size=_BATCH):
                yield name, extended_json.dumps(document)


async def clear(database: Database) -> None:
    """Drop all collections except schema, leases and instances."""
    for name in set(await collections(database)) - _KEPT:
        await database[name].drop()


def schema_in(lines: Iterable[bytes]) -> Document | None:
    """Return the schema document of a backup, or None if it has none."""
    for line in lines:
        if line.startswith(_SCHEMA_LINE):
            document: Document = extended_json.loads(line)[1]
            return document
    return None


async def fill(database: Database, lines: Iterable[bytes]) -> None:
    """Insert all documents except the schema. Each line is a JSON array of collection name and document."""
    current, batch = "", list[Document]()
    for line in lines:
        name, document = extended_json.loads(line)
        if name in _KEPT:
            continue
        if batch and (name != current or len(batch) == _BATCH):
            await database[current].insert_many(batch)
            batch = []
        current = name
        batch.append(document)
    if batch:
        await database[current].insert_many(batch)
