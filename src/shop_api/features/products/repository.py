"""The `products` collection: its documents, queries and indexes."""

from collections.abc import AsyncIterator, Collection, Sequence

from shop_api.features.products import queries
from shop_api.features.products.errors import DuplicateProduct
from shop_api.features.products.models import Facets, Product, ProductFilter, ProductQuery
from shop_api.features.products.search import TIERS, fold, terms
from shop_api.kernel.pagination import Key
from shop_api.storage.mongo import bulk, keyset, portable
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database, Document, Session
from shop_api.storage.mongo.collections import CollectionSpec

PRODUCTS = CollectionSpec(
    name="products",
    schema={
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
    },
    indexes=queries.INDEXES,
)
_SORTS = {
    "newest": keyset.Sort(queries.NEWEST, -1),
    "price": keyset.Sort(queries.PRICE, 1),
    "-price": keyset.Sort(queries.PRICE, -1),
    "name": keyset.Sort(queries.NAME, 1),
    "-name": keyset.Sort(queries.NAME, -1),
}
# Excludes `words`, which only queries need, from results.
_VISIBLE: Document = {"words": 0}
_MAX_FACETS = 100
_MAX_COUNTED = 10_000
_COUNTING_TIMEOUT = 1.0


class ProductRepository:
    def __init__(self, database: Database) -> None:
        self._products = database[PRODUCTS.name]

    async def get(self, product_id: str, session: Session | None = None) -> Product | None:
        document = await self._products.find_one({"_id": product_id}, _VISIBLE, session=session)
        return _product(document) if document else None

    async def list_page(self, query: ProductQuery, after: Key | None) -> tuple[list[Product], Key | None]:
        """Return a page of products and the key of its last item, or None on the last page."""
        if query.sort == "relevance":
            return await self._by_relevance(query, after)
        sort = _SORTS[query.sort or "newest"]
        selection = queries.select(query, sort.field)
        documents, key = await keyset.page(self._products, selection, sort, after, query.limit, _VISIBLE)
        return [_product(document) for document in documents], key

    async def _by_relevance(self, query: ProductQuery, after: Key | None) -> tuple[list[Product], Key | None]:
        """Return a page ordered by tier, newest first within a tier. The key starts with the tier."""
        sort = _SORTS["newest"]
        first, after = (after[0], after[1:]) if after else (0, None)
        found: list[tuple[int, Document]] = []
        for tier in TIERS[first:]:
            selection, room = queries.select(query, sort.field, tier), query.limit + 1 - len(found)
            documents = await keyset.following(self._products, selection, sort, after, room, _VISIBLE)
            found += [(tier, document) for document in documents]
            if len(found) > query.limit:
                tier, last = found[query.limit - 1]
                key = [tier, *keyset.key_of(last, sort)]
                return [_product(document) for _, document in found[: query.limit]], key
            after = None
        return [_product(document) for _, document in found], None

    async def count(self, query: ProductFilter) -> int | None:
        """Return the number of matching products, at most 10,000, or None if counting takes longer than a second."""
        return await keyset.count(self._products, queries.select(query), _MAX_COUNTED, _COUNTING_TIMEOUT)

    async def size(self) -> int:
        """Return the approximate number of products from collection metadata, without a scan."""
        return await self._products.estimated_document_count()

    async def facets(self, filters: ProductFilter) -> Facets:
        [counted] = await mongo.aggregate(self._products, queries.facets(filters, _MAX_FACETS))
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

    async def add(self, product: Product, session: Session | None = None) -> None:
        """Store a new product. Raises DuplicateProduct if its id is taken."""
        try:
            await self._products.insert_one(_document(product), session=session)
        except mongo.DuplicateKeyError:
            raise DuplicateProduct from None

    async def replace(self, product: Product, session: Session | None = None) -> bool:
        """Replace the previous version with `product`. Return False if that version is no longer current."""
        return await portable.replace_version(self._products, _document(product), session)

    async def remove(self, product_id: str, session: Session | None = None) -> bool:
        """Delete a product. Return whether it existed."""
        return (await self._products.delete_one({"_id": product_id}, session=session)).deleted_count == 1

    async def find_many(self, product_ids: Collection[str]) -> dict[str, Product]:
        """Return products by id, without ids that do not exist."""
        documents = await self._products.find({"_id": {"$in": list(product_ids)}}, _VISIBLE).to_list(None)
        return {document["_id"]: _product(document) for document in documents}

    async def put_many(self, new: Sequence[Product], changed: Sequence[Product]) -> set[str]:
        """Insert `new` products, and replace the previous versions of `changed` ones (compare-and-set).

        Return the ids of conflicts, which a concurrent write has added or changed and this call leaves untouched.
        """
        return await bulk.write(self._products, [*map(_document, new)], [*map(_document, changed)])

    async def each(self) -> AsyncIterator[Product]:
        """Yield every product, ordered by id."""
        async for document in self._products.find({}, _VISIBLE).sort("_id", 1):
            yield _product(document)


def search_fields(name: str, brand: str | None, category: str | None, tags: Sequence[str]) -> Document:
    """Return the fields that are stored only for queries."""
    return {"name_key": fold(name), "words": terms(name, brand, [category or "", *tags])}


def _document(product: Product) -> Document:
    return {
        "_id": product.product_id,
        **product.content(),
        **search_fields(product.name, product.brand, product.category, product.tags),
        "version": product.version,
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def _product(document: Document) -> Product:
    document["product_id"] = document.pop("_id")
    for internal in ("name_key", "creation"):
        document.pop(internal, None)
    return Product.model_validate(document)
