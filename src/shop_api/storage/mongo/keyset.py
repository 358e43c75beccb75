"""Keyset pagination of a collection, and bounded counts: the cost of a page does not depend on its position.

"After this item" is two index ranges, read without a surplus key: the remaining documents with the same sort value,
by id, and then all documents with a later sort value. A single range with a filter on ties would scan all earlier
ties on each page, and half of all products may have the same price.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pymongo

from shop_api.kernel.pagination import Key
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Collection, Document


class Sort(NamedTuple):
    """A sort order: by one field, with ties by `_id` in the same direction."""

    field: str
    direction: int
    """1 ascending, -1 descending."""


class Selection(NamedTuple):
    """A filter in two parts.

    MongoDB merges the two and plans the query itself. The embedded engine uses an index only if the index answers a
    condition completely, so the conditions that an index can answer come first, in a stage of their own.
    """

    walk: Document
    """Equalities followed by at most one range, which one index can answer completely."""
    rest: Sequence[Document] = ()
    """Further conditions."""
    ordered: bool = True
    """Whether the sort field comes next in that index, so that the index range can be narrowed to a page."""

    def stages(self) -> list[Document]:
        """Return the aggregation stages that match these documents."""
        return [{"$match": self.walk}, *({"$match": condition} for condition in self.rest)]


async def page(
    collection: Collection,
    selection: Selection,
    sort: Sort,
    after: Key | None,
    limit: int,
    projection: Document | None = None,
) -> tuple[list[Document], Key | None]:
    """Return up to `limit` documents, and the key of the last one or None if no more follow."""
    documents = await following(collection, selection, sort, after, limit + 1, projection)
    if len(documents) <= limit:
        return documents, None
    return documents[:limit], key_of(documents[limit - 1], sort)


async def following(
    collection: Collection,
    selection: Selection,
    sort: Sort,
    after: Key | None,
    limit: int,
    projection: Document | None = None,
) -> list[Document]:
    """Return the first `limit` documents after the key `after`."""
    found: list[Document] = []
    for part in parts(selection, sort, after):
        if len(found) < limit:
            found += await _first(collection, part, sort, limit - len(found), projection)
    return found


def parts(selection: Selection, sort: Sort, after: Key | None) -> list[Selection]:
    """Split `selection` after the key `after`: first the remaining ties, then all later sort values."""
    if after is None:
        return [selection]
    value, last_id = _from_json(after[0]), after[1]
    strictly = "$gt" if sort.direction > 0 else "$lt"
    bounds = selection.walk.get(sort.field, {}) if selection.ordered else {}
    other_end = {operator: bound for operator, bound in bounds.items() if not operator.startswith(strictly)}
    return [
        _narrowed(selection, {sort.field: value, "_id": {strictly: last_id}}),
        _narrowed(selection, {sort.field: {**other_end, strictly: value}}),
    ]


async def count(collection: Collection, selection: Selection, limit: int, seconds: float) -> int | None:
    """Count the documents, up to `limit`. Return None if that takes longer than `seconds`."""
    try:
        with pymongo.timeout(seconds):
            counted = await mongo.aggregate(collection, [*selection.stages(), {"$limit": limit}, {"$count": "found"}])
    except mongo.PyMongoError as error:
        if not error.timeout:
            raise
        return None
    return counted[0]["found"] if counted else 0


def key_of(document: Document, sort: Sort) -> Key:
    value: Any = document
    for part in sort.field.split("."):
        value = value[part]
    return [_to_json(value), document["_id"]]


async def _first(
    collection: Collection, selection: Selection, sort: Sort, limit: int, projection: Document | None
) -> list[Document]:
    order = [(sort.field, sort.direction), ("_id", sort.direction)]
    if not selection.rest:
        return await collection.find(selection.walk, projection).sort(order).limit(limit).to_list(None)
    # MongoDB coalesces consecutive $match stages and plans this like a find.
    # (Source: MongoDB manual, "Aggregation Pipeline Optimization", $match + $match Coalescence.)
    ending: list[Document] = [{"$sort": dict(order)}, {"$limit": limit}]
    if projection:
        ending.append({"$project": projection})
    return await mongo.aggregate(collection, [*selection.stages(), *ending])


def _narrowed(selection: Selection, bounds: Document) -> Selection:
    if selection.ordered:
        return selection._replace(walk={**selection.walk, **bounds})
    return selection._replace(rest=[*selection.rest, bounds])


def _to_json(value: Any) -> Any:
    return {"ms": round(value.timestamp() * 1000)} if isinstance(value, datetime) else value


def _from_json(value: Any) -> Any:
    return datetime.fromtimestamp(value["ms"] / 1000, UTC) if isinstance(value, dict) else value
