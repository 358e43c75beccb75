"""Reads all collections from one snapshot, and fills them again."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from shop_api.cli.backup.archive import BadArchive
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import extended_json
from shop_api.storage.mongo.client import BulkWriteError, Database, Document
from shop_api.storage.mongo.collections import CollectionSpec
from shop_api.storage.mongo.instances import INSTANCES
from shop_api.storage.mongo.leases import LEASES
from shop_api.storage.mongo.refusals import refused_document
from shop_api.storage.mongo.schema import DOCUMENT_ID, PLATFORM, SCHEMA, RecordedSchema

_BATCH = 500
_BATCH_BYTES = 16 << 20
_OF_THE_MOMENT = {INSTANCES.name, LEASES.name}
# Of collections that are backed up: not those of the server itself.
_COLLECTION_NAME = re.compile(r"(?!system\.)[^$.\0]+(\.[^$.\0]+)*")
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


class Entry(NamedTuple):
    """A document of a backup."""

    collection: str
    document: Document
    line_bytes: int
    """The length of its line."""


def parsed(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Parse lines, each an array of collection name and document. Raise BadArchive for one that no backup has."""
    for number, line in enumerate(lines, 2):
        try:
            name, document = extended_json.loads(line)
            extended_json.check_storable(document)
            if not _COLLECTION_NAME.fullmatch(name):
                raise ValueError("not the name of a collection")
        except (ValueError, TypeError) as error:
            raise BadArchive(f"line {number} of the backup is not one of a document: {error}") from None
        yield Entry(name, document, len(line))


def schema_in(lines: Iterable[bytes]) -> Document | None:
    """Return the schema document of a backup, or None if it has none. Raise BadArchive if a line cannot be parsed."""
    schema = None
    for entry in parsed(lines):
        if entry.collection == SCHEMA.name and entry.document.get("_id") == DOCUMENT_ID:
            schema = entry.document
    if schema is not None:
        _check_schema(schema)
    return schema


def _check_schema(document: Document) -> None:
    fields = {name: value for name, value in document.items() if name in RecordedSchema._fields}
    try:
        TypeAdapter(RecordedSchema).validate_python(fields, strict=True)
    except ValidationError as error:
        raise BadArchive(f"the schema in the backup is not one of shop_api: {_places(error)}") from None


def _places(error: ValidationError) -> str:
    return ", ".join(sorted({str(one["loc"][0]) for one in error.errors() if one["loc"]}))


def batches(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Document]]]:
    """Yield a collection and some documents of it: at most 500, and several only if their lines fit into 16 MiB."""
    current, batch, size = "", list[Document](), 0
    for entry in entries:
        full = len(batch) == _BATCH or size + entry.line_bytes > _BATCH_BYTES
        if batch and (full or entry.collection != current):
            yield current, batch
            batch, size = [], 0
        current = entry.collection
        batch.append(entry.document)
        size += entry.line_bytes
    if batch:
        yield current, batch


Lines = Callable[[], Iterator[bytes]]
"""Reads the documents of a backup once more; each line is an array of collection name and document."""


class RestoreFailed(Exception):
    """The restore has begun and cannot be completed. The message says why."""


class Restored(NamedTuple):
    """What a restore did with the documents of a backup, those of the storage layer aside."""

    documents: int
    """How many it stored."""
    left_out: Mapping[str, int]
    """How many `CollectionSpec.on_restore` left out, by collection."""


async def fill(database: Database, lines: Iterable[bytes], specs: Iterable[CollectionSpec]) -> Restored:
    """Insert the documents as `specs` say. Raise BadArchive if a line cannot be parsed, and RestoreFailed if MongoDB
    refuses a document."""
    count, left_out = 0, Counter[str]()
    for name, documents in batches(_restorable(parsed(lines), specs, left_out)):
        await _insert(database, name, documents)
        count += len(documents)
    return Restored(count, left_out)


async def _insert(database: Database, name: str, documents: list[Document]) -> None:
    try:
        await database[name].insert_many(documents)
    except BulkWriteError as error:
        raise RestoreFailed(f"{name}: {refused_document(error)}") from error


def _restorable(entries: Iterable[Entry], specs: Iterable[CollectionSpec], left_out: Counter[str]) -> Iterator[Entry]:
    hooks = {spec.name: spec.on_restore for spec in specs if spec.on_restore}
    for entry in entries:
        if entry.collection in _KEPT:
            continue
        hook = hooks.get(entry.collection)
        document = hook(entry.document) if hook else entry.document
        if document is None:
            left_out[entry.collection] += 1
        else:
            yield entry._replace(document=document)
