"""The `products` collection: its documents, queries and indexes."""

from collections.abc import AsyncIterator, Collection, Sequence

from shop_api.features.products import queries
from shop_api.features.products.errors import DuplicateProduct
from shop_api.features.products.list_models import Facets, ProductFilter, ProductQuery
from shop_api.features.products.models import DEFAULTS, Product, ProductOut, ProductView
from shop_api.features.products.search import TIERS, fold, terms
from shop_api.kernel.pagination import Key
from shop_api.storage.mongo import bulk, keyset
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.by_id import DocumentsById
from shop_api.storage.mongo.client import Database, Document, Session
from shop_api.storage.mongo.collections import CollectionSpec

_MONEY = {
    "bsonType": "object",
    "required": ["amount", "currency"],
    "properties": {
        "amount": {"bsonType": ["int", "long"], "minimum": 0},
        "currency": {"bsonType": "string", "minLength": 3, "maxLength": 3},
    },
}
_COUNT = {"bsonType": ["int", "long"], "minimum": 0}
_TEXT, _TEXT_OR_NULL = {"bsonType": "string"}, {"bsonType": ["string", "null"]}
_TEXTS = {"bsonType": "array", "items": _TEXT}
_OPTION = {"bsonType": "object", "required": ["name", "value"], "properties": {"name": _TEXT, "value": _TEXT}}
PRODUCTS = CollectionSpec(
    name="products",
    # Complete as to types, because documents are not validated again when they are read.
    schema={
        "bsonType": "object",
        "required": ["_id", "name", "price", "stock", "status", "version", "created_at", "updated_at", "words"],
        "properties": {
            "_id": _TEXT,
            "sku": _TEXT,
            "barcode": _TEXT,
            "group": _TEXT,
            "options": {"bsonType": "array", "items": _OPTION},
            "position": _COUNT,
            "name": {"bsonType": "string", "minLength": 1},
            "description": _TEXT,
            "price": _MONEY,
            "compare_at_price": _MONEY,
            "tax_class": _TEXT,
            "weight_g": _COUNT,
            "requires_shipping": {"bsonType": "bool"},
            "stock": _COUNT,
            "category": _TEXT_OR_NULL,
            "brand": _TEXT_OR_NULL,
            "tags": _TEXTS,
            "images": _TEXTS,
            "attributes": {
                "bsonType": "object",
                "additionalProperties": {"bsonType": ["string", "bool", "int", "long", "double"]},
            },
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
    "position": keyset.Sort(queries.VARIANT, 1),
}
_ABSENT = {**DEFAULTS, "description": "", "category": None, "brand": None, "tags": [], "images": [], "attributes": {}}
_PUBLIC_FIELDS = [(name, _ABSENT.get(name)) for name in ProductOut.model_fields if name != "product_id"]
_INTERNAL = ("name_key", "variant_key", "creation")
# Excludes `words`, which only queries need, from results.
_VISIBLE: Document = {"words": 0}
_MAX_FACETS = 100
_MAX_COUNTED = 10_000
_COUNTING_TIMEOUT = 1.0


class ProductRepository:
    def __init__(self, database: Database) -> None:
        self._products = database[PRODUCTS.name]
        self._by_id = DocumentsById(self._products, _VISIBLE)

    async def view(self, product_id: str) -> ProductView | None:
        document = await self._by_id.get(product_id)
        return view_of(document) if document else None

    async def get(self, product_id: str, session: Session | None = None) -> Product | None:
        document = await self._by_id.get(product_id, session)
        return product_of(document) if document else None

    async def list_page(self, query: ProductQuery, after: Key | None) -> tuple[list[ProductView], Key | None]:
        """Return a page of products and the key of its last item, or None on the last page."""
        if query.sort == "relevance":
            return await self._by_relevance(query, after)
        sort = _SORTS[query.sort or "newest"]
        selection = queries.select(query, sort.field)
        documents, key = await keyset.page(self._products, selection, sort, after, query.limit, _VISIBLE)
        return [view_of(document) for document in documents], key

    async def _by_relevance(self, query: ProductQuery, after: Key | None) -> tuple[list[ProductView], Key | None]:
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
                return [view_of(document) for _, document in found[: query.limit]], key
            after = None
        return [view_of(document) for _, document in found], None

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
                "options": _by_name(counted["options"]),
                "price_bands": [
                    {**row["_id"], "max": above[row["_id"]["min"]], "count": row["count"]}
                    for row in counted["price_bands"]
                ],
            }
        )

    async def add(self, product: Product, session: Session | None = None) -> None:
        """Store a new product. Raises DuplicateProduct if its id is taken."""
        try:
            await self._products.insert_one(document_of(product), session=session)
        except mongo.DuplicateKeyError:
            raise DuplicateProduct from None

    async def replace(self, product: Product, session: Session | None = None) -> bool:
        """Replace the previous version with `product`. Return False if that version is no longer current."""
        return await self._by_id.replace(document_of(product), session)

    async def remove(self, product_id: str, session: Session | None = None) -> bool:
        """Delete a product. Return whether it existed."""
        return (await self._products.delete_one({"_id": product_id}, session=session)).deleted_count == 1

    async def find_many(self, product_ids: Collection[str]) -> dict[str, Product]:
        """Return products by id, without ids that do not exist."""
        documents = await self._products.find({"_id": {"$in": list(product_ids)}}, _VISIBLE).to_list(None)
        return {document["_id"]: product_of(document) for document in documents}

    async def find_variants(self, groups: Collection[str]) -> list[Product]:
        """Return the products of these groups."""
        documents = await self._products.find({"group": {"$in": list(groups)}}, _VISIBLE).to_list(None)
        return [product_of(document) for document in documents]

    async def put_many(self, new: Sequence[Product], changed: Sequence[Product]) -> set[str]:
        """Insert `new` products, and replace the previous versions of `changed` ones (compare-and-set).

        Return the ids of conflicts, which a concurrent write has added or changed and this call leaves untouched.
        """
        return await bulk.write(self._products, [*map(document_of, new)], [*map(document_of, changed)])

    async def each(self) -> AsyncIterator[Product]:
        """Yield every product, ordered by id."""
        async for document in self._products.find({}, _VISIBLE).sort("_id", 1):
            yield product_of(document)


def derived_fields(product: Product) -> Document:
    """Return the fields that are stored only for queries."""
    fields = {
        "name_key": fold(product.name),
        "words": terms(product.name, product.brand, [product.category or "", *product.tags]),
    }
    if product.group is not None:
        created = round(product.created_at.timestamp() * 1000)
        fields["variant_key"] = f"{product.position or 0:07d}{created:013d}"
    return fields


def document_of(product: Product) -> Document:
    """Return the document that stores `product`."""
    content = product.content()
    for name, default in DEFAULTS.items():
        if content[name] == default:
            del content[name]
    return {
        "_id": product.product_id,
        **content,
        **derived_fields(product),
        "version": product.version,
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def product_of(document: Document) -> Product:
    """Return the product that `document` stores."""
    fields = {**document, "product_id": document["_id"]}
    del fields["_id"]
    for internal in _INTERNAL:
        fields.pop(internal, None)
    return Product.of(fields)


def view_of(document: Document) -> ProductView:
    """Return what a response shows of the product that `document` stores. Nothing is validated: a validator of the
    collection did that when it was written."""
    view: ProductView = {"product_id": document["_id"]}
    for name, default in _PUBLIC_FIELDS:
        view[name] = document.get(name, default)
    return view


def _by_name(pairs: Sequence[Document]) -> list[Document]:
    """Return the counts of pairs of name and value, grouped by name."""
    values: dict[str, list[Document]] = {}
    for pair in pairs:
        value = {"value": pair["_id"]["value"], "count": pair["count"]}
        values.setdefault(pair["_id"]["name"], []).append(value)
    return [{"name": name, "values": counts} for name, counts in values.items()]
