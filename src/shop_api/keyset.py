"""Pages of a collection by keyset: a page costs the same wherever in the list it is.

The condition "after this item" is one range on the sort field, which an index can walk, plus a residual `$or`
that settles ties by id.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from shop_api.mongo import Collection, Document
from shop_api.pagination import Key


class Sort(NamedTuple):
    """An order of a list: by a field of the documents, ties by `_id` in the same direction."""

    field: str
    direction: int
    """1 ascending, -1 descending."""


async def page(
    collection: Collection, match: Document, sort: Sort, after: Key | None, limit: int
) -> tuple[list[Document], Key | None]:
    """Up to `limit` documents that `match`, and the key of the last one; None as the key when no more follow."""
    documents = await following(collection, match, sort, after, limit + 1)
    if len(documents) <= limit:
        return documents, None
    return documents[:limit], key_of(documents[limit - 1], sort)


async def following(
    collection: Collection, match: Document, sort: Sort, after: Key | None, limit: int
) -> list[Document]:
    """The first `limit` documents that `match` after the one with the key `after`."""
    if after is not None:
        match = {"$and": [match, _after(sort, after)]}
    order = [(sort.field, sort.direction), ("_id", sort.direction)]
    return await collection.find(match).sort(order).limit(limit).to_list(None)


def key_of(document: Document, sort: Sort) -> Key:
    value: Any = document
    for part in sort.field.split("."):
        value = value[part]
    return [_to_json(value), document["_id"]]


def _after(sort: Sort, key: Key) -> Document:
    inclusive, strict = ("$gte", "$gt") if sort.direction > 0 else ("$lte", "$lt")
    value, last_id = _from_json(key[0]), key[1]
    return {
        sort.field: {inclusive: value},
        "$or": [{sort.field: {strict: value}}, {"_id": {strict: last_id}}],
    }


def _to_json(value: Any) -> Any:
    return {"ms": round(value.timestamp() * 1000)} if isinstance(value, datetime) else value


def _from_json(value: Any) -> Any:
    return datetime.fromtimestamp(value["ms"] / 1000, UTC) if isinstance(value, dict) else value
