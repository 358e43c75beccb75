"""The `products` collection: its documents, queries and indexes."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from shop_api import bulk, keyset, mongo
from shop_api.errors import DuplicateProduct
from shop_api.etags import Expected
from shop_api.mongo import Database, Document, IndexModel
from shop_api.pagination import Key
from shop_api.products import queries
from shop_api.products.models import Facets, Product, ProductFilter, ProductQuery
from shop_api.products.search import different_words, fold

_SCHEMA: Mapping[str, Any] = {
    "bsonType": "object",
    "required": ["_id", "name", "price", "stock", "status", "version", "created_at", "updated_at", "words"],
    "properties": {
        "_id": {"bsonType": "string"},
        "name": {"bsonType": "string", "minLength": 1},
        "price": {
            "bsonType": "object",
            "required": ["amount", "currency"],
            "properties": {
                "amount": {"bsonType": ["int", "long"], "minimum": 0},
                "currency": {"bsonType": "string", "minLength": 3, "maxLength": 3},
            },
        },
        "stock": {"bsonType": ["int", "long"], "minimum": 0},
        "status": {"enum": ["draft", "active", "archived"]},
        "version": {"bsonType": ["int", "long"], "minimum": 1},
        "created_at": {"bsonType": "date"},
        "updated_at": {"bsonType": "date"},
        "words": {"bsonType": "array"},
    },
}
_NEWEST = [("created_at", -1), ("_id", -1)]
_INDEXES = [
    IndexModel([("status", 1), *_NEWEST]),
    IndexModel([("status", 1), ("price.amount", 1), ("_id", 1)]),
    IndexModel([("status", 1), ("name_key", 1), ("_id", 1)]),
    IndexModel([("category", 1), ("status", 1), *_NEWEST]),
    IndexModel([("category", 1), ("status", 1), ("price.amount", 1), ("_id", 1)]),
    IndexModel([("brand", 1), ("status", 1), *_NEWEST]),
    IndexModel([("tags", 1), ("status", 1), *_NEWEST]),
    IndexModel([("words", 1), ("status", 1), *_NEWEST]),
    IndexModel([("words_name", 1), ("status", 1), *_NEWEST]),
    IndexModel([("words_brand", 1), ("status", 1), *_NEWEST]),
]
_SORTS = {
    "newest": keyset.Sort("created_at", -1),
    "price": keyset.Sort("price.amount", 1),
    "-price": keyset.Sort("price.amount", -1),
    "name": keyset.Sort("name_key", 1),
    "-name": keyset.Sort("name_key", -1),
}
_MOST_FACETS = 100


class ProductRepository:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._products = database["products"]

    async def prepare(self) -> None:
        await mongo.prepare(self._database, "products", _SCHEMA, _INDEXES)

    async def get(self, product_id: str) -> Product | None:
        document = await self._products.find_one({"_id": product_id})
        return _product(document) if document else None

    async def list_page(self, query: ProductQuery, after: Key | None) -> tuple[list[Product], Key | None]:
        """A page of products and the key of its last one, None when no more follow."""
        if query.sort == "relevance":
            return await self._by_relevance(query, after)
        sort = _SORTS[query.sort or "newest"]
        documents, key = await keyset.page(self._products, queries.match(query), sort, after, query.limit)
        return [_product(document) for document in documents], key

    async def _by_relevance(self, query: ProductQuery, after: Key | None) -> tuple[list[Product], Key | None]:
        """Tier by tier, the newest first within each; the key begins with the tier."""
        first, after = (after[0], after[1:]) if after else (0, None)
        found: list[tuple[int, Document]] = []
        for tier in range(first, len(queries.WORD_FIELDS)):
            match, room = queries.match_tier(query, tier), query.limit + 1 - len(found)
            documents = await keyset.following(self._products, match, _SORTS["newest"], after, room)
            found += [(tier, document) for document in documents]
            if len(found) > query.limit:
                tier, last = found[query.limit - 1]
                key = [tier, *keyset.key_of(last, _SORTS["newest"])]
                return [_product(document) for _, document in found[: query.limit]], key
            after = None
        return [_product(document) for _, document in found], None

    async def count(self, query: ProductFilter) -> int:
        return await self._products.count_documents(queries.match(query))

    async def facets(self, wanted: ProductFilter) -> Facets:
        [counted] = await mongo.aggregate(self._products, queries.facets(wanted, _MOST_FACETS))
        above = dict(queries.bands())
        return Facets.model_validate(
            {
                "total": counted["total"][0]["count"] if counted["total"] else 0,
                **{
                    kind: [{"value": row["_id"], "count": row["count"]} for row in counted[kind]]
                    for kind in ("categories", "brands", "tags")
                },
                "price_bands": [
                    {**row["_id"], "max": above[row["_id"]["min"]], "count": row["count"]}
                    for row in counted["price_bands"]
                ],
            }
        )

    async def add(self, product: Product) -> None:
        """Stores a new product; DuplicateProduct when its id is taken."""
        try:
            await self._products.insert_one(_document(product))
        except mongo.DuplicateKeyError:
            raise DuplicateProduct from None

    async def replace(
        self, product_id: str, fields: Mapping[str, Any], expected: Expected, now: datetime
    ) -> Product | None:
        """Puts `fields` in place of all that is said about a product, if its version is one of `expected`, in one
        step; None when there is no such product in such a version."""
        match: Document = {"_id": product_id}
        if expected is not None:
            match["version"] = {"$in": sorted(expected)}
        update = {"$set": {**fields, **_derived(fields), "updated_at": now}, "$inc": {"version": 1}}
        document = await self._products.find_one_and_update(match, update, return_document=True)
        return _product(document) if document else None

    async def remove(self, product_id: str, expected: Expected) -> bool:
        """Deletes a product if its version is one of `expected`; whether it did."""
        match: Document = {"_id": product_id}
        if expected is not None:
            match["version"] = {"$in": sorted(expected)}
        return (await self._products.delete_one(match)).deleted_count == 1

    async def find_many(self, product_ids: Collection[str]) -> dict[str, Product]:
        """Those that exist, by id."""
        documents = await self._products.find({"_id": {"$in": list(product_ids)}}).to_list(None)
        return {document["_id"]: _product(document) for document in documents}

    async def put_many(self, new: Sequence[Product], changed: Sequence[Product]) -> set[str]:
        """Stores `new` products, and `changed` ones in place of the version before; the ids of those that somebody
        else was faster to write, which are left as they are."""
        return await bulk.write(self._products, [*map(_document, new)], [*map(_document, changed)])

    async def each(self) -> AsyncIterator[Product]:
        """Every product, by id."""
        async for document in self._products.find({}).sort("_id", 1):
            yield _product(document)


def _document(product: Product) -> Document:
    fields = product.fields()
    return {
        "_id": product.product_id,
        **fields,
        **_derived(fields),
        "version": product.version,
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def _derived(fields: Mapping[str, Any]) -> Document:
    """What is stored only for queries."""
    name, brand = fields["name"], fields["brand"]
    return {
        "name_key": fold(name),
        "words_name": different_words(name),
        "words_brand": different_words(name, brand),
        "words": different_words(name, brand, fields["category"], *fields["tags"]),
    }


_DERIVED = ("name_key", "words_name", "words_brand", "words")


def _product(document: Document) -> Product:
    document["product_id"] = document.pop("_id")
    for name in _DERIVED:
        document.pop(name, None)
    return Product.model_validate(document)
