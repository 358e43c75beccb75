"""All collections of the database, whatever is in them: read at one moment, and filled again."""

from collections.abc import AsyncIterator, Iterable

from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import extended_json
from shop_api.storage.mongo.client import Database, Document

_BATCH = 500


async def collections(database: Database) -> list[str]:
    names = await database.list_collection_names()
    return sorted(name for name in names if not name.startswith("system."))


async def documents(database: Database) -> AsyncIterator[tuple[str, str]]:
    """Each document with its collection's name, as extended JSON that keeps every type, all as of one moment: what
    was acknowledged before this began is in it, and of what is done together meanwhile, all or nothing."""
    names = await collections(database)
    async with mongo.snapshot(database) as session:
        for name in names:
            async for document in database[name].find({}, session=session, batch_size=_BATCH):
                yield name, extended_json.dumps(document)


async def is_empty(database: Database) -> bool:
    for name in await collections(database):
        if await database[name].find_one({}):
            return False
    return True


async def clear(database: Database) -> None:
    for name in await collections(database):
        await database[name].drop()


async def fill(database: Database, lines: Iterable[bytes]) -> None:
    """Inserts documents, each the JSON of a list: its collection's name, and itself."""
    current, batch = "", list[Document]()
    for line in lines:
        name, document = extended_json.loads(line)
        if batch and (name != current or len(batch) == _BATCH):
            await database[current].insert_many(batch)
            batch = []
        current = name
        batch.append(document)
    if batch:
        await database[current].insert_many(batch)
