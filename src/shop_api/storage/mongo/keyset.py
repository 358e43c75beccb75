"""Pages of a collection by keyset, and bounded counts: a page costs the same wherever in the list it is.

"After this item" is two ranges that an index can walk without reading a key too many: the rest of those that tie with
it in the sort field, by id, and then all beyond. As one range, with the ties sorted out afterwards, a page would read
its way through all that tie before it, and half a shop may cost 9.99.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pymongo

from shop_api.kernel.pagination import Key
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Collection, Document


class Sort(NamedTuple):
    """An order of a list: by a field of the documents, ties by `_id` in the same direction."""

    field: str
    direction: int
    """1 ascending, -1 descending."""


class Selection(NamedTuple):
    """The documents that are meant, in two parts.

    MongoDB takes the two for one and plans by itself. The embedded engine uses an index only where it answers a
    condition completely, so what an index can answer is asked first and apart.
    """

    walk: Document
    """Equalities, and at most one range behind them, which one index can answer completely."""
    rest: Sequence[Document] = ()
    """What else has to hold."""
    ordered: bool = True
    """Whether that index goes on with the sort field, so that its range can be narrowed to a page."""

    def stages(self) -> list[Document]:
        """The beginning of an aggregation over just these documents."""
        return [{"$match": self.walk}, *({"$match": condition} for condition in self.rest)]


async def page(
    collection: Collection,
    selection: Selection,
    sort: Sort,
    after: Key | None,
    limit: int,
    projection: Document | None = None,
) -> tuple[list[Document], Key | None]:
    """Up to `limit` documents, and the key of the last one; None as the key when no more follow."""
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
    """The first `limit` documents after the one with the key `after`."""
    found: list[Document] = []
    for part in parts(selection, sort, after):
        if len(found) < limit:
            found += await _first(collection, part, sort, limit - len(found), projection)
    return found


def parts(selection: Selection, sort: Sort, after: Key | None) -> list[Selection]:
    """What `selection` has after the item with the key `after`, in order: the rest of its ties, then all beyond."""
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


async def count(collection: Collection, selection: Selection, most: int, seconds: float) -> int | None:
    """How many documents are meant, counted to `most`; None when that takes longer than `seconds`."""
    try:
        with pymongo.timeout(seconds):
            counted = await mongo.aggregate(collection, [*selection.stages(), {"$limit": most}, {"$count": "found"}])
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
    # MongoDB takes conditions that follow each other for one, and plans this as it would plan a find.
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
