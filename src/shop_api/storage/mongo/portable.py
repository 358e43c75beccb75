"""Statements in forms that MongoDB and the embedded engine both run correctly, and from an index.

Each stands in for a simpler form that is enough for MongoDB. docs/embedded-engine.md says for each what the embedded
engine gets wrong with the simpler form, and when the function can go.
"""

from collections.abc import Container, Mapping
from typing import Any

from shop_api.storage.mongo.client import Collection, Document, Session


async def replace_version(collection: Collection, document: Document, session: Session | None = None) -> bool:
    """Replace the version just before `document`. Return False if that version is no longer current.

    For MongoDB: `replace_one({"_id": …, "version": document["version"] - 1}, document)`."""
    update = replacement(document, otherwise="$$ROOT")
    return (await collection.update_one({"_id": document["_id"]}, update, session=session)).modified_count == 1


def replacement(document: Document, otherwise: Any) -> list[Document]:
    """An update by `_id` that puts `document` in place of the version just before it, and `otherwise` in place of any
    other version."""
    is_before = {"$eq": ["$version", document["version"] - 1]}
    return [{"$replaceWith": {"$cond": [is_before, {"$literal": document}, otherwise]}}]


async def compare_and_set(
    collection: Collection, document_id: str, expected: Mapping[str, Any], changes: Mapping[str, Any]
) -> bool:
    """Set the fields `changes`, at least one of which is new, if the fields `expected` have these values. Return
    False, and change nothing, if not.

    For MongoDB: `update_one({"_id": …, **expected}, {"$set": changes})`."""
    as_expected = {"$and": [{"$eq": [f"${field}", {"$literal": value}]} for field, value in expected.items()]}
    update = {field: {"$cond": [as_expected, {"$literal": value}, f"${field}"]} for field, value in changes.items()}
    return (await collection.update_one({"_id": document_id}, [{"$set": update}])).modified_count == 1


async def delete_except(
    collection: Collection, match: Document, kept: Container[str], session: Session | None = None
) -> None:
    """Delete what `match`, a condition with an index, finds, except the documents with the ids `kept`.

    For MongoDB: `delete_many({**match, "_id": {"$nin": kept}})`."""
    found = await collection.find(match, {"_id": 1}, session=session).to_list(None)
    ended = [document["_id"] for document in found if document["_id"] not in kept]
    await collection.delete_many({"_id": {"$in": ended}}, session=session)


def at_most(number: int) -> Document:
    """The condition that an integer is not above `number`. For MongoDB: `{"$lte": number}`."""
    return {"$lt": number + 1}


def range_of_prefix(prefix: str) -> Document:
    """The condition that a text begins with `prefix`. For MongoDB: `{"$regex": "^" + re.escape(prefix)}`."""
    return {"$gte": prefix, "$lt": prefix + "\U0010ffff"}


def element_within(field: str, bounds: Document) -> list[Document]:
    """Conditions that some element of the array `field` lies within `bounds`, the first one for the index.

    For MongoDB: `{field: {"$elemMatch": bounds}}`."""
    # The first alone could also be met by two elements, one above the lower bound and one below the upper.
    return [{field: bounds}, {field: {"$elemMatch": bounds}}]
