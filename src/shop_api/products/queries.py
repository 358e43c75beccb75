"""Filters → MongoDB queries. Pure functions, in forms that a replica set and the embedded engine run alike."""

from typing import Any

from shop_api.mongo import Document
from shop_api.products.models import ProductFilter
from shop_api.products.search import words

# Where a word may occur, best first: each field holds the words of the one before and more.
WORD_FIELDS = ("words_name", "words_brand", "words")

# Lower edges of the price bands, in minor units.
_BANDS = [0] + [m * 10**e for e in range(3, 9) for m in (1, 2, 5)]


def match(wanted: ProductFilter, word_field: str = "words") -> Document:
    """The documents that `wanted` means; the words of `q` have to occur in `word_field`."""
    conditions: list[Document] = [{"status": wanted.status or "active"}]
    if wanted.category is not None:
        conditions.append({"category": wanted.category})
    if wanted.tag is not None:
        conditions.append({"tags": wanted.tag})
    if wanted.brand is not None:
        conditions.append({"brand": wanted.brand})
    if wanted.currency is not None:
        conditions.append({"price.currency": wanted.currency})
    price = {"$gte": wanted.min_price, "$lte": wanted.max_price}
    if bounds := {operator: amount for operator, amount in price.items() if amount is not None}:
        conditions.append({"price.amount": bounds})
    if wanted.in_stock is not None:
        conditions.append({"stock": {"$gt": 0} if wanted.in_stock else 0})
    if wanted.q is not None:
        conditions += _words_match(wanted.q, word_field)
    return {"$and": conditions}


def match_tier(wanted: ProductFilter, tier: int) -> Document:
    """Those that `q` finds in WORD_FIELDS[tier], but not already in a better one."""
    found = match(wanted, WORD_FIELDS[tier])
    if tier > 0 and wanted.q is not None:
        found["$nor"] = [{"$and": _words_match(wanted.q, WORD_FIELDS[tier - 1])}]
    return found


def _words_match(q: str, field: str) -> list[Document]:
    wanted = words(q)
    if not wanted:  # nothing but punctuation: no product has that
        return [{field: {"$in": []}}]
    *whole, beginning = wanted
    # One array element has to lie within both bounds, hence $elemMatch.
    prefix = {"$gte": beginning, "$lt": beginning + "\U0010ffff"}
    return [{field: word} for word in whole] + [{field: {"$elemMatch": prefix}}]


def facets(wanted: ProductFilter, most: int) -> list[dict[str, Any]]:
    """One aggregation that counts all facets, at most `most` values of each."""
    return [
        {"$match": match(wanted)},
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


def _counts(value: str, most: int) -> list[dict[str, Any]]:
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
    """The price bands: from an amount (included) to another (excluded), the last one open."""
    return list(zip(_BANDS, [*_BANDS[1:], None], strict=True))
