"""Every query of docs/catalogue-queries.md walks the index that the page names, on the engine of this run.

The embedded engine's explain names the index, but neither its bounds nor a LIMIT that ends the walk; those follow
from the form of the index: the fields of all equalities, the field of the order, _id (equality, sort, range).
"""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from shop_api.features.products import queries
from shop_api.features.products.list_models import ProductFilter
from shop_api.features.products.models import Product, ProductIn
from shop_api.features.products.queries import NAME, NEWEST, PRICE
from shop_api.features.products.repository import PRODUCTS, ProductRepository
from shop_api.kernel.clock import utc_now
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import keyset
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.collections import ensure_collection
from shop_api.storage.mongo.keyset import Selection, Sort
from support.factories import a_product

NOW = utc_now()
ORDERS = {
    "newest": Sort(NEWEST, -1),
    "price": Sort(PRICE, 1),
    "-price": Sort(PRICE, -1),
    "name": Sort(NAME, 1),
    "-name": Sort(NAME, -1),
}
KEYS = {NEWEST: {"ms": round(NOW.timestamp() * 1000) + 20}, PRICE: 1020, NAME: "tea 20"}
# Filters, and the equalities with which the index has to begin.
WALKED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "none": ({}, ["status"]),
    "status": ({"status": "draft"}, ["status"]),
    "category": ({"category": "tea"}, ["category", "status"]),
    "brand": ({"brand": "Brew & Co"}, ["brand", "status"]),
    "tag": ({"tag": "sale"}, ["tags", "status"]),
    "category and brand": ({"category": "tea", "brand": "Brew & Co"}, ["brand", "status"]),
    "category and tag": ({"category": "tea", "tag": "sale"}, ["tags", "status"]),
    "category and in_stock": ({"category": "tea", "in_stock": True}, ["category", "status"]),
    "currency": ({"currency": "INR"}, ["status"]),
    "brand and q": ({"brand": "Brew & Co", "q": "green te"}, ["brand", "status"]),
}


@pytest.fixture(scope="module")
async def database(engines: Settings) -> AsyncIterator[Database]:
    """One with 200 products, for tests that only ask how it would read them."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    async with mongo.open_database(engines.required()[0], name, "pymongo") as database:
        products = ProductRepository(database)
        await ensure_collection(database, PRODUCTS)
        await products.put_many([example(n) for n in range(200)], [])
        yield database
        await database.client.drop_database(name)


def example(n: int) -> Product:
    fields = a_product(
        product_id=f"p-{n:03}",
        name=f"Tea {n}",
        price={"amount": 1000 + n, "currency": "INR"},
        category=["tea", "coffee"][n % 2],
        brand=["Brew & Co", "Assam"][n // 2 % 2],
        tags=["sale", "green"][: n % 3],
    )
    return Product.of({**fields, "version": 1, "created_at": NOW + timedelta(milliseconds=n), "updated_at": NOW})


async def plan(database: Database, stages: list[Document]) -> tuple[set[str], list[list[str]]]:
    """The stages of the plan that won, and the fields of each index that it walks."""
    aggregation = {"aggregate": "products", "pipeline": stages, "cursor": {}}
    explained = await database.command("explain", aggregation, verbosity="queryPlanner")
    winner, *_ = _nodes(explained, "winningPlan")
    stages_of = {node["stage"] for node in _nodes(winner["winningPlan"], "stage")}
    return stages_of, [list(node["keyPattern"]) for node in _nodes(winner["winningPlan"], "keyPattern")]


def _nodes(node: Any, key: str) -> list[Document]:
    """All documents with `key` inside `node`."""
    inside = node if isinstance(node, list) else list(node.values()) if isinstance(node, dict) else []
    found = [node] if isinstance(node, dict) and key in node else []
    return found + [document for each in inside for document in _nodes(each, key)]


async def index_of(database: Database, selection: Selection, sort: Sort) -> list[str]:
    order = {sort.field: sort.direction, "_id": sort.direction}
    names, indexes = await plan(database, [*selection.stages(), {"$sort": order}, {"$limit": 21}])
    assert "IXSCAN" in names
    assert "COLLSCAN" not in names
    [index] = indexes
    return index


class TestList:
    @pytest.mark.parametrize("filters", WALKED)
    async def test_the_first_page_begins_an_index_with_what_is_equal(self, database, filters):
        wanted, equal = WALKED[filters]
        for sort in ORDERS.values():
            selection = queries.select(ProductFilter(**wanted), sort.field)
            assert selection.ordered
            assert (await index_of(database, selection, sort))[: len(equal)] == equal

    @pytest.mark.parametrize("filters", WALKED)
    async def test_a_later_page_begins_in_the_middle_of_the_index_that_has_its_order(self, database, filters):
        wanted, equal = WALKED[filters]
        for sort in ORDERS.values():
            selection = queries.select(ProductFilter(**wanted), sort.field)
            ties, beyond = keyset.parts(selection, sort, [KEYS[sort.field], "p-020"])
            assert await index_of(database, ties, sort) == [*equal, sort.field, "_id"]
            assert await index_of(database, beyond, sort) == [*equal, sort.field, "_id"]

    @pytest.mark.parametrize("filters", WALKED)
    def test_the_conditions_end_where_the_order_begins(self, filters):
        """Equality, sort: so the server stops after the page, and a later page begins at its first key."""
        wanted, equal = WALKED[filters]
        indexes = [list(index.document["key"].items()) for index in queries.INDEXES]
        for sort in ORDERS.values():
            assert set(queries.select(ProductFilter(**wanted), sort.field).walk) == set(equal)
            order = [(sort.field, sort.direction), ("_id", sort.direction)]
            reverse = [(field, -direction) for field, direction in order]  # read from its other end
            assert any(
                index == [*((field, 1) for field in equal), *end] for end in (order, reverse) for index in indexes
            )

    @pytest.mark.parametrize("equal", ["brand", "category", "tag", None])
    @pytest.mark.parametrize(
        "bounds", [{"min_price": 1010}, {"max_price": 1090}, {"min_price": 1010, "max_price": 1090}]
    )
    async def test_a_price_window_is_the_bounds_of_the_index_by_price(self, database, equal, bounds):
        fields = ["tags" if equal == "tag" else equal, "status"] if equal else ["status"]
        wanted = ProductFilter(**bounds, **({equal: "tea"} if equal else {}))
        for name in ("price", "-price"):
            sort, selection = ORDERS[name], queries.select(wanted, PRICE)
            assert selection.ordered
            for part in keyset.parts(selection, sort, None) + keyset.parts(selection, sort, [1020, "p-020"]):
                assert set(part.walk) - {"_id"} == {*fields, PRICE}
                assert await index_of(database, part, sort) == [*fields, PRICE, "_id"]
        others = queries.select(wanted, NEWEST)  # all in the window are read, and sorted
        assert not others.ordered
        assert await index_of(database, others, ORDERS["newest"]) == [*fields, PRICE, "_id"]


class TestWords:
    @pytest.mark.parametrize("tier", [0, 1, 2])
    @pytest.mark.parametrize("q", ["te", "green te", "& !"])
    async def test_each_place_where_words_are_found_is_a_range_of_their_index(self, database, q, tier):
        selection = queries.select(ProductFilter(q=q), NEWEST, tier)
        assert (await index_of(database, selection, ORDERS["newest"]))[0] == "words"

    async def test_several_words_are_looked_up_by_the_longest_whole_one(self, database):
        selection = queries.select(ProductFilter(q="te assam green b"))
        assert selection.walk == {"words": {"$in": ["0assam", "1assam", "2assam"]}}
        for stages in (selection.stages(), queries.facets(ProductFilter(q="te assam green b"), 10)):
            _, [index] = await plan(database, stages)
            assert index[0] == "words"


class TestCount:
    @pytest.mark.parametrize("filters", WALKED)
    async def test_counts_and_facets_read_what_one_index_names(self, database, filters):
        wanted, equal = WALKED[filters]
        counting = [*queries.select(ProductFilter(**wanted)).stages(), {"$limit": 10}, {"$count": "found"}]
        for stages in (counting, queries.facets(ProductFilter(**wanted), 10)):
            names, [index] = await plan(database, stages)
            assert "COLLSCAN" not in names
            assert index[: len(equal)] == equal


class TestFew:
    @pytest.mark.parametrize("field", ["sku", "barcode", "group"])
    async def test_what_few_products_share_is_read_from_its_own_index(self, database, field):
        wanted = ProductFilter(**{field: "A/1"}, category="tea", q="green", min_price=1)
        sorts = [*ORDERS.values(), keyset.Sort(queries.VARIANT, 1)]
        for sort in sorts:
            assert await index_of(database, queries.select(wanted, sort.field), sort) == [field]
        names, [index] = await plan(database, queries.facets(wanted, 10))
        assert ("COLLSCAN" not in names, index) == (True, [field])


class TestById:
    async def test_a_point_read_is_one_key(self, database):
        names, _ = await plan(database, [{"$match": {"_id": "p-001"}}])
        assert "COLLSCAN" not in names

    async def test_no_write_has_more_than_the_id_in_its_filter(self, database, engines):
        """By anything more the embedded engine would read the whole collection, and its explain does not tell."""
        seen = Filters()
        async with AsyncMongoClient[Document](engines.required()[0], event_listeners=[seen]) as client:
            products = ProductRepository(client[database.name])
            before = example(500)
            await products.add(before)
            after = before.changed(ProductIn(**a_product()), NOW)
            assert await products.replace(after)
            await products.put_many([], [after.changed(ProductIn(**a_product(stock=7)), NOW)])
            assert await products.remove("p-500")
        assert [list(filter_) for filter_ in seen.filters] == [["_id"]] * 3


class Filters(CommandListener):
    """Notes what the updates and deletes of a client are meant for."""

    def __init__(self) -> None:
        self.filters: list[Document] = []

    def started(self, event: CommandStartedEvent) -> None:
        writes = event.command.get("updates", []) + event.command.get("deletes", [])
        self.filters += [write["q"] for write in writes]

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...
