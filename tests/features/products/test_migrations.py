"""Migrations of stored products."""

from typing import Any

import pytest

from shop_api.features.products.invariants import PRODUCTS_ARE_INDEXED
from shop_api.features.products.migrations import MIGRATIONS
from shop_api.features.products.models import Product
from shop_api.features.products.repository import PRODUCTS, ProductRepository, document_of
from shop_api.kernel.clock import utc_now
from shop_api.kernel.versions import first_version
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.collections import ensure_collection
from support.factories import a_product, changes


def times() -> dict[str, Any]:
    now = utc_now()
    return {"version": first_version(now), "created_at": now, "updated_at": now}


async def migrate(database: Database) -> None:
    position: Any = None
    while (position := await MIGRATIONS[0].batch(database, position)) is not None:
        pass


@pytest.fixture
async def products(database) -> ProductRepository:
    """Through each driver."""
    await ensure_collection(database, PRODUCTS)
    return ProductRepository(database)


async def stored(products: ProductRepository, database: Database, product_id: str, **fields: Any) -> Product:
    """Store a product as an earlier version did: with texts as they were sent."""
    product = Product.of({**a_product(product_id=product_id), **times()})
    await database[PRODUCTS.name].insert_one({**document_of(product), **fields})
    found = await products.get(product_id)
    assert found is not None
    return found


class TestNormalizedTexts:
    async def test_texts_that_look_the_same_become_the_same(self, products, database):
        await stored(
            products, database, "old", brand=" Cafe\u0301", name="e\u0301", attributes={"e\u0301": "e\u0301 "}
        )
        before = await stored(products, database, "new")
        await migrate(database)
        await migrate(database)  # a batch may be repeated
        old = await products.get("old")
        assert old is not None
        assert (old.brand, old.name, old.attributes, changes(old)) == ("Café", "é", {"é": "é"}, 1)
        assert await products.get("new") == before
        assert [broken async for broken in PRODUCTS_ARE_INDEXED.violations(database)] == []

    async def test_goes_on_after_a_batch(self, products, database):
        made = [Product.of({**a_product(product_id=f"p-{n:04}"), **times()}) for n in range(1100)]
        await database[PRODUCTS.name].insert_many([{**document_of(product), "brand": "e\u0301"} for product in made])
        await migrate(database)
        assert await database[PRODUCTS.name].count_documents({"brand": "é"}) == 1100

    async def test_loses_no_attribute(self, products, database):
        await stored(products, database, "old", attributes={"é": 1, "e\u0301": 2})
        await migrate(database)
        old = await products.get("old")
        assert old is not None
        assert old.attributes == {"é": 1, "e\u0301": 2}
