"""Filters → MongoDB queries. Pure functions.

docs/catalogue-queries.md lists which index serves which query.
"""

from typing import Any

from shop_api.features.products.list_models import ProductFilter
from shop_api.features.products.search import TIERS, term, words
from shop_api.storage.mongo import portable
from shop_api.storage.mongo.client import Document
from shop_api.storage.mongo.collections import IndexModel
from shop_api.storage.mongo.keyset import Selection

NEWEST, PRICE, NAME, VARIANT = "created_at", "price.amount", "name_key", "variant_key"
"""Sort fields of lists."""

# Few products have the same value, so their order needs no index.
_FEW = ("sku", "barcode", "group")
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
    *(IndexModel([(field, 1)], sparse=True) for field in _FEW),
]

# Lower edges of the price bands, in minor units.
_BANDS = [0] + [m * 10**e for e in range(3, 9) for m in (1, 2, 5)]


def select(filters: ProductFilter, order: str | None = None, tier: int | None = None) -> Selection:
    """Return the selection of the documents that match the filter, for sorting by `order`.

    With `tier`, only documents whose words all occur in this or a better tier, and not all in better tiers.
    """
    found = _found(words(filters.q), tier) if filters.q is not None else []
    equalities = {"brand": filters.brand, "tags": filters.tag, "category": filters.category}
    equal: list[Document] = [{field: equalities[field]} for field in _EQUAL if equalities[field] is not None]
    few: list[Document] = [{field: value} for field in _FEW if (value := getattr(filters, field)) is not None]
    status = {"status": filters.status or "active"}
    bounds: Document = {}
    if filters.min_price is not None:
        bounds["$gte"] = filters.min_price
    if filters.max_price is not None:
        bounds |= portable.at_most(filters.max_price)
    prices: list[Document] = [{PRICE: bounds}] if bounds else []
    others: list[Document] = []
    if filters.currency is not None:
        others.append({"price.currency": filters.currency})
    if filters.in_stock is not None:
        others.append({"stock": {"$gt": 0} if filters.in_stock else 0})
    if few:
        return Selection(few[0], [*few[1:], *equal, status, *found, *prices, *others], ordered=False)
    if found and not equal:
        return Selection(found[0], [status, *found[1:], *prices, *others], ordered=False)
    walk = {field: value for part in (*equal[:1], status, *prices) for field, value in part.items()}
    return Selection(walk, [*equal[1:], *found, *others], ordered=not prices or order == PRICE)


def _found(query_words: list[str], tier: int | None) -> list[Document]:
    """Return the conditions that match the words, at `tier` or anywhere. The first one can use the index."""
    if not query_words:  # only punctuation, which matches no product
        return [{"words": {"$in": []}}]
    if tier is None:
        return _within(query_words, TIERS)
    not_better = [{"$nor": [{"$and": _within(query_words, TIERS[:tier])}]}] if tier else []
    if len(query_words) > 1:
        return [*_within(query_words, TIERS[: tier + 1]), *not_better]
    here = portable.range_of_prefix(term(tier, query_words[0]))
    return [*portable.element_within("words", here), *not_better]


def _within(query_words: list[str], tiers: tuple[int, ...]) -> list[Document]:
    *whole, last = query_words
    begun = [{"words": {"$elemMatch": portable.range_of_prefix(term(tier, last))}} for tier in tiers]
    whole.sort(key=len, reverse=True)  # the longest is likely to be the rarest
    return [*({"words": {"$in": [term(tier, word) for tier in tiers]}} for word in whole), {"$or": begun}]


def facets(filters: ProductFilter, limit: int) -> list[Document]:
    """Return one aggregation that counts all facets, with at most `limit` values of each."""
    return [
        *select(filters).stages(),
        {
            "$facet": {
                "total": [{"$count": "count"}],
                "categories": _counts("$category", limit),
                "brands": _counts("$brand", limit),
                "tags": [{"$unwind": "$tags"}, *_counts("$tags", limit)],
                "options": [{"$unwind": "$options"}, *_counts("$options", limit)],
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


def _counts(value: str, limit: int) -> list[Document]:
    return [
        {"$match": {value[1:]: {"$ne": None}}},
        {"$group": {"_id": value, "count": {"$sum": 1}}},
        {"$sort": {"count": -1, "_id": 1}},
        {"$limit": limit},
    ]


def _band() -> dict[str, Any]:
    branches = [{"case": {"$lt": ["$price.amount", above]}, "then": low} for low, above in bands() if above]
    return {"$switch": {"branches": branches, "default": _BANDS[-1]}}


def bands() -> list[tuple[int, int | None]]:
    """Return the price bands as (inclusive lower, exclusive upper) amounts. The last band has no upper bound."""
    return list(zip(_BANDS, [*_BANDS[1:], None], strict=True))
