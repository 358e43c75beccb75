"""Invariants of stored products."""

from collections.abc import AsyncIterator

from shop_api.features.feature import Invariant
from shop_api.features.products.repository import PRODUCTS, derived_fields, product_of
from shop_api.storage.mongo.client import Database


async def _not_indexed(database: Database) -> AsyncIterator[str]:
    async for stored in database[PRODUCTS.name].find({}).sort("_id", 1):
        expected = derived_fields(product_of({name: stored[name] for name in stored if name != "words"}))
        if any(stored.get(name) != value for name, value in expected.items()):
            yield f"products: words or sort keys of {stored['_id']} do not match its fields"


PRODUCTS_ARE_INDEXED = Invariant(
    "products_are_indexed", "The search words and sort keys of a product match its fields.", _not_indexed
)
