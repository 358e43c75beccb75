"""Filters → MongoDB queries. Pure functions.

docs/catalogue-queries.md lists which index serves which query.
"""

from typing import Any

from shop_api.features.products.models import ProductFilter
from shop_api.features.products.search import TIERS, term, words
from shop_api.storage.mongo import portable
from shop_api.storage.mongo.client import Document
from shop_api.storage.mongo.collections import IndexModel
from shop_api.storage.mongo.keyset import Selection

NEWEST, PRICE, NAME = "created_at", "price.amount", "name_key"
"""Sort fields of lists."""

# Most selective first. Each has an index for each sort order; without any of them, `status` has its own.
_EQUAL = ("brand", "tags", "category")
# Equality, sort, id: a page is one bounded index scan in sort order.
INDEXES = [
    *(
        IndexModel([*((field, 1) for field in equal), ("status", 1), (order, direction), ("_id", direction)])
        for equal in ((), *((field,) for field in _EQUAL))
        for order, direction in ((NEWEST, -1), (PRICE, 1), (NAME, 1))
    ),
    IndexModel([("words", 1), ("status", 1), (NEWEST, -1), ("_id", -1)]),
]

# Lower edges of the price bands, in minor units.
_BANDS = [0] + [m * 10**e for e in range(3, 9) for m in (1, 2, 5)]


def select(wanted: ProductFilter, order: str | None = None, tier: int | None = None) -> Selection:
    """Return the selection of the documents that match the filter, for sorting by `order`.

    With `tier`, only documents whose words all occur in this or a better tier, and not all in better tiers.
    """
    found = _found(words(wanted.q), tier) if wanted.q is not None else []
    given = {"brand": wanted.brand, "tags": wanted.tag, "category": wanted.category}
    equal: list[Document] = [{field: given[field]} for field in _EQUAL if given[field] is not None]
    status = {"status": wanted.status or "active"}
    bounds: Document = {}
    if wanted.min_price is not None:
        bounds["$gte"] = wanted.min_price
    if wanted.max_price is not None:
        bounds |= portable.at_most(wanted.max_price)
    prices: list[Document] = [{PRICE: bounds}] if bounds else []
    others: list[Document] = []
    if wanted.currency is not None:
        others.append({"price.currency": wanted.currency})
    if wanted.in_stock is not None:
        others.append({"stock": {"$gt": 0} if wanted.in_stock else 0})
    if found and not equal:
        return Selection(found[0], [status, *found[1:], *prices, *others], ordered=False)
    walk = {field: value for part in (*equal[:1], status, *prices) for field, value in part.items()}
    return Selection(walk, [*equal[1:], *found, *others], ordered=not prices or order == PRICE)


def _found(wanted: list[str], tier: int | None) -> list[Document]:
    """Return the conditions that match the words, at `tier` or anywhere. The first one can use the index."""
    if not wanted:  # only punctuation, which matches no product
        return [{"words": {"$in": []}}]
    if tier is None:
        return _within(wanted, TIERS)
    not_better = [{"$nor": [{"$and": _within(wanted, TIERS[:tier])}]}] if tier else []
    if len(wanted) > 1:
        return [*_within(wanted, TIERS[: tier + 1]), *not_better]
    here = portable.range_of_prefix(term(tier, wanted[0]))
    return [*portable.element_within("words", here), *not_better]


def _within(wanted: list[str], tiers: tuple[int, ...]) -> list[Document]:
    *whole, last = wanted
    begun = [{"words": {"$elemMatch": portable.range_of_prefix(term(tier, last))}} for tier in tiers]
    whole.sort(key=len, reverse=True)  # the longest is likely to be the rarest
    return [*({"words": {"$in": [term(tier, word) for tier in tiers]}} for word in whole), {"$or": begun}]


def facets(wanted: ProductFilter, most: int) -> list[Document]:
    """Return one aggregation that counts all facets, with at most `most` values of each."""
    return [
        *select(wanted).stages(),
        {
            "$facet": {
                "total": [{"$count": "count"}],
                "categories": _counts("$category", most),
                "brands": _counts("$brand", most),
                "tags": [{"$unwind": "$tags"}, *_counts("$tags", most)],
                "price_bands": [
                    {
                        "$group": {
                            "_id": {"currency": "$price.currency", "min": _band()},
                            "count": {"$sum": 1},
                        }
                    },
                    {"$sort": {"_id.currency": 1, "_id.min": 1}},
                ],
            }
        },
    ]


def _counts(value: str, most: int) -> list[Document]:
    return [
        {"$match": {value[1:]: {"$ne": None}}},
        {"$group": {"_id": value, "count": {"$sum": 1}}},
        {"$sort": {"count": -1, "_id": 1}},
        {"$limit": most},
    ]


def _band() -> dict[str, Any]:
    branches = [{"case": {"$lt": ["$price.amount", above]}, "then": low} for low, above in bands() if above]
    return {"$switch": {"branches": branches, "default": _BANDS[-1]}}


def bands() -> list[tuple[int, int | None]]:
    """Return the price bands as (inclusive lower, exclusive upper) amounts. The last band has no upper bound."""
    return list(zip(_BANDS, [*_BANDS[1:], None], strict=True))
