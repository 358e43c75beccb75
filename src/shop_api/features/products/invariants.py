"""Invariants of stored products."""

from collections.abc import AsyncIterator

from shop_api.features.feature import Invariant
from shop_api.features.products.repository import PRODUCTS, search_fields
from shop_api.storage.mongo.client import Database


async def _not_indexed(database: Database) -> AsyncIterator[str]:
    async for stored in database[PRODUCTS.name].find({}).sort("_id", 1):
        expected = search_fields(
            stored["name"], stored.get("brand"), stored.get("category"), stored.get("tags") or []
        )
        if any(stored.get(name) != value for name, value in expected.items()):
            yield f"products: words or name_key of {stored['_id']} do not match its fields"


PRODUCTS_ARE_INDEXED = Invariant(
    "products_are_indexed", "The search words and sort key of a product match its fields.", _not_indexed
)
