"""Bulk writes with optimistic concurrency."""

from collections.abc import Sequence
from typing import Any

import pymongo
from pymongo import InsertOne, UpdateOne
from pymongo.errors import WriteError

from shop_api.storage.mongo.client import BulkWriteError, Collection, Document
from shop_api.storage.mongo.portable import replacement

# Seconds. Many documents take longer than one, and longer still on a busy machine.
_TIMEOUT = 60
_DUPLICATE_KEY = 11000
_REPLACED_BY_NOTHING = 40228


async def write(collection: Collection, new: Sequence[Document], changed: Sequence[Document]) -> set[str]:
    """Insert `new`, and replace the previous version of each document in `changed`.

    Returns the ids of conflicts: documents that were written or deleted concurrently. They are left unchanged.
    """
    operations: list[InsertOne[Document] | UpdateOne] = [*map(InsertOne, new), *map(_replacement, changed)]
    if not operations:
        return set()
    with pymongo.timeout(_TIMEOUT):
        done = await _outcome(collection, operations)
    refused = {one["index"]: one["code"] for one in done["writeErrors"]}
    if done["writeConcernErrors"] or not {_DUPLICATE_KEY, _REPLACED_BY_NOTHING}.issuperset(refused.values()):
        raise BulkWriteError(done)
    documents = [*new, *changed]
    conflicts = {documents[index]["_id"] for index in refused}
    replaced = [document for document in changed if document["_id"] not in conflicts]
    return conflicts if done["nMatched"] == len(replaced) else conflicts | await _not_stored(collection, replaced)


async def replace_versions(collection: Collection, documents: Sequence[Document]) -> list[bool | Exception]:
    """Replace the version just before each of `documents`, which together fit into one message to the server (48 MB).

    Returns for each whether it was stored, or the error. False means that this version is no longer current; of
    documents with the same id, all but the first get False.
    """
    first = {document["_id"]: index for index, document in reversed([*enumerate(documents)])}
    tried = sorted(first.values())
    done = await _outcome(collection, [_replacement(documents[index]) for index in tried])
    results: list[bool | Exception] = [index in tried for index in range(len(documents))]
    for one in done["writeErrors"]:
        is_conflict = one["code"] == _REPLACED_BY_NOTHING
        results[tried[one["index"]]] = False if is_conflict else WriteError(one["errmsg"], one["code"], one)
    stored = [documents[index] for index, result in enumerate(results) if result is True]
    if done["writeConcernErrors"]:  # stored, but perhaps not for good
        return [BulkWriteError(done) if result is True else result for result in results]
    if done["nMatched"] != len(stored):
        gone = await _not_stored(collection, stored)
        for index in tried:
            if results[index] is True and documents[index]["_id"] in gone:
                results[index] = False
    return results


async def _outcome(collection: Collection, operations: Sequence[InsertOne[Document] | UpdateOne]) -> Any:
    """Try all `operations`, and return the server's counts and errors."""
    try:
        return (await collection.bulk_write(operations, ordered=False)).bulk_api_result
    except BulkWriteError as error:
        return error.details


def _replacement(document: Document) -> UpdateOne:
    # With the version in the filter, an update without a match would be counted but not identified. Replacing a
    # document with null is an error that identifies it.
    return UpdateOne({"_id": document["_id"]}, replacement(document, otherwise=None))


async def _not_stored(collection: Collection, documents: Sequence[Document]) -> set[str]:
    """Return the ids of `documents` that are not stored as given, because they were deleted before the update."""
    ids = [document["_id"] for document in documents]
    stored = {document["_id"]: document async for document in collection.find({"_id": {"$in": ids}})}
    return {document["_id"] for document in documents if stored.get(document["_id"]) != document}
