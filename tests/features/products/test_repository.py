"""The `products` collection, through both drivers."""

import asyncio
import random
import re
import unicodedata
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, cast

import pytest

from shop_api.features.products.errors import DuplicateProduct
from shop_api.features.products.list_models import ProductFilter, ProductQuery
from shop_api.features.products.models import Product, ProductIn
from shop_api.features.products.repository import PRODUCTS, ProductRepository
from shop_api.http.responses import JsonResponse
from shop_api.kernel.clock import utc_now
from shop_api.kernel.pagination import Cursors
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import PyMongoError
from shop_api.storage.mongo.collections import ensure_collection
from support.factories import a_product

NOW = utc_now()
CURSORS = Cursors(b"a secret")


def product(product_id: str = "tea", **overrides: Any) -> Product:
    times = {"version": 1, "created_at": NOW, "updated_at": NOW}
    return Product.of(a_product(product_id=product_id, **{**times, **overrides}))


@pytest.fixture
async def products(database) -> ProductRepository:
    products = ProductRepository(database)
    await ensure_collection(database, PRODUCTS)
    return products


async def walk(products: ProductRepository, **query: Any) -> list[str]:
    """The ids of a whole list, page by page; the cursor as it goes to the client and back."""
    ids, after, wanted = [], None, ProductQuery(**query)
    while True:
        page, key = await products.list_page(wanted, after)
        ids += [each["product_id"] for each in page]
        if key is None:
            return ids
        assert len(page) == wanted.limit
        assert len(ids) <= 1000  # it ends
        after = CURSORS.decode("q", CURSORS.encode("q", key))


class TestAdd:
    async def test_what_was_added_is_found_unchanged(self, products):
        tea = product(attributes={"weight_g": 250, "organic": True, "ratio": 0.5, "origin": "Assam", "zero": 0.0})
        await products.add(tea)
        assert await products.get("tea") == tea

    async def test_the_least_and_the_most_that_can_be_said_is_found_unchanged(self, products):
        name_only = ProductIn.model_validate({"name": "x", "price": {"amount": 0, "currency": "JPY"}})
        least = product("old", version=7).changed(name_only, NOW)
        most = product(
            "M" * 64,
            name="😀" * 200,
            description="\n" * 10_000,
            price={"amount": 10**12, "currency": "INR"},
            stock=2**53 - 1,
            brand="ß" * 200,
            tags=[f"tag-{n}-{'x' * 50}" for n in range(50)],
            images=[f"https://images.example/{n}/{'x' * 2000}" for n in range(20)],
            attributes={f"name {n} {'ä' * 50}": "€" * 500 for n in range(50)},
        )
        variant = product(
            "variant",
            sku="A/1 ü",
            barcode="4006381333931",
            group="tees",
            options=[{"name": "Size", "value": "M"}, {"name": "Farbe", "value": "grün"}],
            position=3,
            compare_at_price={"amount": 9900, "currency": "INR"},
            tax_class="reduced",
            weight_g=250,
            requires_shipping=False,
            attributes={"ratio": 1e300, "whole": 2.0, "small": 1e-7, "large": 2**53 - 1, "no": False},
            created_at=NOW.replace(microsecond=0),
            updated_at=NOW.replace(microsecond=120_000),
        )
        for each in (least, most, variant):
            await products.add(each)
            assert await products.get(each.product_id) == each
            view = await products.view(each.product_id)
            assert JsonResponse(view).body == each.model_dump_json().encode()

    async def test_nothing_is_found_before(self, products):
        assert await products.get("tea") is None

    async def test_ids_differ_by_case(self, products):
        await products.add(product("tea"))
        await products.add(product("Tea"))
        assert (await products.get("Tea")).product_id == "Tea"

    async def test_of_many_with_one_id_at_once_one_is_added(self, products):
        rivals = [product(name=f"Tea {n}") for n in range(30)]
        outcomes = await asyncio.gather(*map(products.add, rivals), return_exceptions=True)
        assert sum(isinstance(outcome, DuplicateProduct) for outcome in outcomes) == 29
        assert await products.get("tea") == rivals[outcomes.index(None)]

    @pytest.mark.parametrize("wrong", [{"stock": -1}, {"status": "sold"}, {"version": 0}, {"name": ""}])
    async def test_the_database_itself_refuses_what_is_no_product(self, products, wrong):
        with pytest.raises(PyMongoError):
            await products.add(product().model_copy(update=wrong))


class TestReplace:
    LATER = NOW + timedelta(seconds=1)

    def after(self, version: int, **changes: Any) -> Product:
        return product(**{**changes, "version": version + 1, "updated_at": self.LATER})

    async def test_puts_all_of_it_in_place(self, products):
        await products.add(product())
        changed = self.after(1, name="Darjeeling", tags=[], brand=None, attributes={})
        assert await products.replace(changed)
        assert await products.get("tea") == changed

    async def test_text_that_looks_like_an_expression_is_text(self, products):
        await products.add(product())
        changed = self.after(1, name="$name", description="$$ROOT", attributes={"is": "$version"})
        assert await products.replace(changed)
        assert await products.get("tea") == changed

    @pytest.mark.parametrize("version", [2, 7])
    async def test_happens_to_the_version_before_only(self, products, version):
        await products.add(product())
        assert not await products.replace(self.after(version, stock=1))
        assert await products.get("tea") == product()

    async def test_happens_once(self, products):
        await products.add(product())
        assert [await products.replace(self.after(1, stock=1)) for _ in range(2)] == [True, False]

    async def test_what_is_not_there_is_not_made(self, products):
        assert not await products.replace(self.after(1))
        assert await products.get("tea") is None

    async def test_the_database_itself_refuses_what_is_no_product(self, products):
        await products.add(product())
        with pytest.raises(PyMongoError):
            await products.replace(self.after(1).model_copy(update={"stock": -1}))
        assert await products.get("tea") == product()

    async def test_of_fifty_editors_of_one_version_one_wins(self, products):
        await products.add(product())
        rivals = [self.after(1, stock=n) for n in range(50)]
        outcomes = await asyncio.gather(*map(products.replace, rivals))
        assert outcomes.count(True) == 1
        assert await products.get("tea") == rivals[outcomes.index(True)]

    async def test_the_search_and_the_sort_follow(self, products):
        await products.add(product(name="Zebra tea"))
        await products.add(product("other", name="Middle"))
        await products.replace(self.after(1, name="Aardvark tea"))
        assert await walk(products, q="zebra", sort="relevance") == []
        assert await walk(products, q="aardvark", sort="relevance") == ["tea"]
        assert await walk(products, sort="name") == ["tea", "other"]


class TestRemove:
    async def test_takes_it_away_once(self, products):
        await products.add(product())
        assert [await products.remove("tea"), await products.remove("tea")] == [True, False]
        assert await products.get("tea") is None

    async def test_of_many_at_once_one_removes_it(self, products):
        await products.add(product())
        outcomes = await asyncio.gather(*(products.remove("tea") for _ in range(20)))
        assert sorted(outcomes) == [False] * 19 + [True]


def catalogue() -> list[Product]:
    """120 products with few different values, so that most tie in every order."""
    choose = random.Random(4711)
    names = [
        "Assam tea",
        "Crème brûlée",
        "creme de cassis",
        "Teapot",
        "ÉCLAIR",
        "Straße nach Assam",
        "茶 tea",
        "zebra",
    ]
    brands = [None, "Brew & Co", "brew & co", "Assam Traders", "Maison Crème"]
    return [
        product(
            f"p-{n:03}",
            name=choose.choice(names),
            price={"amount": choose.choice([0, 999, 1000, 1001, 2500, 10**9, 10**12]), "currency": currency},
            stock=choose.choice([0, 0, 1, 40]),
            category=choose.choice([None, "tea", "coffee", "tea-pots"]),
            brand=choose.choice(brands),
            tags=choose.sample(["black-tea", "loose-leaf", "sale", "assam"], choose.randrange(4)),
            status=choose.choice(["active", "active", "active", "draft", "archived"]),
            created_at=NOW + timedelta(milliseconds=choose.randrange(8)),
            sku=choose.choice([None, "A/1", "a/1"]),
            barcode=choose.choice([None, "4006381333931"]),
            group=choose.choice([None, "assam", "Assam"]),
            position=choose.choice([None, 0, 1, 2, 10]),
            options=[
                {"name": name, "value": choose.choice(["S", "M"])}
                for name in choose.sample(["Size", "Cut", "size"], choose.randrange(3))
            ],
        )
        for n, currency in enumerate(choose.choices(["INR", "EUR", "JPY"], k=120))
    ]


CATALOGUE = catalogue()


def folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold()


def words_of(*texts: str | None) -> list[str]:
    return [word for text in texts if text for word in re.findall(r"[^\W_]+", folded(text))]


def finds(q: str, *texts: str | None) -> bool:
    *whole, beginning = words_of(q) or ["\0"]
    there = words_of(*texts)
    return all(word in there for word in whole) and any(word.startswith(beginning) for word in there)


def tier(q: str, each: Product) -> int | None:
    """0 for a match in the name, 1 with the brand, 2 with all else; None for no match."""
    texts: list[str | None] = []
    fields: list[list[str | None]] = [[each.name], [each.brand], [each.category, *each.tags]]
    for number, more in enumerate(fields):
        texts += more
        if finds(q, *texts):
            return number
    return None


FILTERS: list[tuple[dict[str, Any], Callable[[Product], object]]] = [
    ({}, lambda p: True),
    ({"category": "tea"}, lambda p: p.category == "tea"),
    ({"category": "no-such"}, lambda p: False),
    ({"sku": "A/1"}, lambda p: p.sku == "A/1"),
    ({"barcode": "4006381333931", "category": "tea"}, lambda p: p.barcode == "4006381333931" and p.category == "tea"),
    ({"group": "assam"}, lambda p: p.group == "assam"),
    (
        {"group": "assam", "sku": "A/1", "min_price": 1000},
        lambda p: (p.group, p.sku) == ("assam", "A/1") and p.price.amount >= 1000,
    ),
    ({"tag": "black-tea"}, lambda p: "black-tea" in p.tags),
    ({"brand": "Brew & Co"}, lambda p: p.brand == "Brew & Co"),
    ({"currency": "JPY"}, lambda p: p.price.currency == "JPY"),
    ({"min_price": 1000}, lambda p: p.price.amount >= 1000),
    ({"max_price": 1000}, lambda p: p.price.amount <= 1000),
    ({"min_price": 1000, "max_price": 1000}, lambda p: p.price.amount == 1000),
    ({"in_stock": True}, lambda p: p.stock > 0),
    ({"in_stock": False}, lambda p: p.stock == 0),
    (
        {"category": "tea", "tag": "sale", "in_stock": True, "currency": "INR", "min_price": 1},
        lambda p: (
            p.category == "tea" and "sale" in p.tags and p.stock > 0 and p.price.currency == "INR" and p.price.amount
        ),
    ),
]
QUERIES = [
    "tea",
    "TEA",
    "te",
    "t",
    "assam",
    "assam te",
    "tea assam",
    "crème",
    "CREME",
    "creme b",
    "strasse",
    "eclair",
]
QUERIES += [
    "brew",
    "brew co",
    "co brew",
    "black",
    "black-tea",
    "loose leaf sale",
    "tea-pots",
    "茶",
    "nothing",
    "tea nothing",
]
QUERIES += ["& !", ".*", "$where", "tea tea", "  tea  ", "_tea_", "assam traders tea", "\uffff", "ss"]


def ids(matching: list[Product]) -> list[str]:
    return [each.product_id for each in matching]


@pytest.fixture(scope="module", params=["motor", "pymongo"])
async def stocked(request: pytest.FixtureRequest, engines: Settings) -> AsyncIterator[ProductRepository]:
    """A repository that holds CATALOGUE, for tests that only read."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    async with mongo.open_database(engines.required()[0], name, request.param) as database:
        products = ProductRepository(database)
        await ensure_collection(database, PRODUCTS)
        await asyncio.gather(*map(products.add, random.Random(1).sample(CATALOGUE, len(CATALOGUE))))
        yield products
        await database.client.drop_database(name)


def active(matches: Callable[[Product], Any] = lambda p: True) -> list[Product]:
    return [each for each in CATALOGUE if each.status == "active" and matches(each)]


class TestList:
    ORDERS: ClassVar[dict[str, Callable[[Product], tuple[Any, ...]]]] = {
        "newest": lambda p: (p.created_at, p.product_id),
        "-price": lambda p: (p.price.amount, p.product_id),
        "price": lambda p: (p.price.amount, p.product_id),
        "-name": lambda p: (folded(p.name).encode(), p.product_id),
        "name": lambda p: (folded(p.name).encode(), p.product_id),
    }

    @pytest.mark.parametrize("limit", [1, 7, 100])
    @pytest.mark.parametrize("sort", ORDERS)
    async def test_every_sort_walks_every_product_once_in_order(self, stocked, sort, limit):
        expected = ids(sorted(active(), key=self.ORDERS[sort], reverse=sort in ("newest", "-price", "-name")))
        assert await walk(stocked, sort=sort, limit=limit) == expected

    @pytest.mark.parametrize("limit", [1, 7, 100])
    async def test_variants_are_in_their_order_then_in_that_of_creation(self, stocked, limit):
        def place(p: Product) -> tuple[Any, ...]:
            return p.position or 0, p.created_at, p.product_id

        expected = ids(sorted(active(lambda p: p.group == "assam"), key=place))
        assert await walk(stocked, group="assam", sort="position", limit=limit) == expected

    @pytest.mark.parametrize(("query", "matches"), FILTERS, ids=[str(query) for query, _ in FILTERS])
    async def test_a_filter_lists_and_counts_what_it_names(self, stocked, query, matches):
        expected = ids(sorted(active(matches), key=self.ORDERS["newest"], reverse=True))
        assert await walk(stocked, **query, limit=9) == expected
        assert await stocked.count(ProductFilter(**query)) == len(expected)

    @pytest.mark.parametrize("status", ["draft", "active", "archived"])
    async def test_one_status_at_a_time_is_listed(self, stocked, status):
        expected = {each.product_id for each in CATALOGUE if each.status == status}
        assert set(await walk(stocked, status=status)) == expected

    @pytest.mark.parametrize("q", QUERIES)
    async def test_words_find_name_then_brand_then_the_rest_each_newest_first(self, stocked, q):
        tiers: list[list[Product]] = [[], [], []]
        for each in active():
            if (number := tier(q, each)) is not None:
                tiers[number].append(each)
        expected = [found for each in tiers for found in ids(sorted(each, key=self.ORDERS["newest"], reverse=True))]
        for limit in (4, 100):
            assert await walk(stocked, q=q, sort="relevance", limit=limit) == expected
        assert await stocked.count(ProductFilter(q=q)) == len(expected)

    def test_the_queries_of_these_tests_find_something_in_every_tier(self):
        found = Counter(tier(q, each) for q in QUERIES for each in active())
        assert all(found[number] > 50 for number in (0, 1, 2, None))

    @pytest.mark.parametrize("sort", ORDERS)
    async def test_words_can_be_sorted_otherwise_and_filtered(self, stocked, sort):
        matching = active(lambda p: tier("te", p) is not None and p.stock > 0)
        expected = ids(sorted(matching, key=self.ORDERS[sort], reverse=sort in ("newest", "-price", "-name")))
        assert await walk(stocked, q="te", in_stock=True, sort=sort, limit=5) == expected

    async def test_any_filters_go_with_any_sort(self, stocked):
        choose = random.Random(7)
        for _ in range(25):
            chosen = choose.sample(FILTERS[:-1], 2)
            query = {name: value for filter_, _ in chosen for name, value in filter_.items()}
            checks = [matches for filter_, matches in chosen if filter_.items() <= query.items()]
            q = choose.choice([None, "te", "assam te", "t", "brew c"])
            matching = [
                p for p in active() if all(check(p) for check in checks) and (q is None or tier(q, p) is not None)
            ]
            sort = choose.choice(list(self.ORDERS))
            expected = ids(sorted(matching, key=self.ORDERS[sort], reverse=sort in ("newest", "-price", "-name")))
            assert await walk(stocked, **query, q=q, sort=sort, limit=6) == expected
            assert await stocked.count(ProductFilter(**query, q=q)) == len(expected)
            if q is not None:
                ranked = sorted(matching, key=self.ORDERS["newest"], reverse=True)
                ranked.sort(key=cast(Callable[[Product], int], partial(tier, q)))
                assert await walk(stocked, **query, q=q, sort="relevance", limit=6) == ids(ranked)

    async def test_an_empty_shop_is_one_empty_page(self, products):
        for sort in (*self.ORDERS, "relevance"):
            assert await products.list_page(ProductQuery(q="tea", sort=sort), None) == ([], None)

    @pytest.mark.parametrize("letter", ["z", "\uffee", "𝄞a", "\U0001e922", "𐐨"])
    async def test_a_word_may_go_on_with_any_letter(self, products, letter):
        await products.add(product(name=f"tea{letter}x", category=None, tags=[]))
        assert await walk(products, q="tea", sort="relevance") == ["tea"]

    async def test_long_words_are_found_by_themselves_and_by_their_beginning(self, products):
        word = "donaudampfschifffahrtselektrizitätenhauptbetriebswerk"
        await products.add(product(name=f"Modell {word}"))
        for q in (word, word[:20], word[:45], f"{word} modell"):
            assert await walk(products, q=q, sort="relevance") == ["tea"]

    async def test_products_that_come_and_go_meanwhile_move_nothing_else(self, products):
        for n in range(20):
            await products.add(product(f"p-{n:02}", created_at=NOW + timedelta(seconds=n)))
        page, after = await products.list_page(ProductQuery(limit=10), None)
        await products.add(product("newer", created_at=NOW + timedelta(seconds=99)))
        await products.remove(page[-1]["product_id"])
        rest, after = await products.list_page(ProductQuery(limit=100), after)
        assert [each["product_id"] for each in page + rest] == [f"p-{n:02}" for n in reversed(range(20))]
        assert after is None


class TestFacets:
    @staticmethod
    def expected(matching: list[Product]) -> dict[str, Any]:
        def counted(values: list[str]) -> list[dict[str, Any]]:
            ranked = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0].encode()))
            return [{"value": value, "count": count} for value, count in ranked]

        edges = [0, *(m * 10**e for e in range(3, 9) for m in (1, 2, 5))]
        bands = Counter((p.price.currency, max(edge for edge in edges if edge <= p.price.amount)) for p in matching)
        return {
            "total": len(matching),
            "categories": counted([p.category for p in matching if p.category]),
            "brands": counted([p.brand for p in matching if p.brand]),
            "tags": counted([tag for p in matching for tag in p.tags]),
            "options": TestFacets.options_of(matching),
            "price_bands": [
                {
                    "currency": currency,
                    "min": low,
                    "max": dict(pairwise(edges)).get(low),
                    "count": n,
                }
                for (currency, low), n in sorted(bands.items())
            ],
        }

    @staticmethod
    def options_of(matching: list[Product]) -> list[dict[str, Any]]:
        pairs = Counter((option.name, option.value) for p in matching for option in p.options)
        ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0][0].encode(), item[0][1].encode()))
        names = list(dict.fromkeys(name for (name, _), _ in ranked))
        return [
            {"name": one, "values": [{"value": value, "count": n} for (name, value), n in ranked if name == one]}
            for one in names
        ]

    @pytest.mark.parametrize(("query", "matches"), FILTERS, ids=[str(query) for query, _ in FILTERS])
    async def test_count_the_same_as_python_does(self, stocked, query, matches):
        assert (await stocked.facets(ProductFilter(**query))).model_dump() == self.expected(active(matches))

    @pytest.mark.parametrize("q", QUERIES)
    async def test_count_what_the_words_find(self, stocked, q):
        counted = await stocked.facets(ProductFilter(q=q))
        assert counted.model_dump() == self.expected(active(lambda p: tier(q, p) is not None))

    async def test_of_an_empty_shop_are_empty(self, products):
        assert (await products.facets(ProductFilter())).model_dump() == self.expected([])

    async def test_name_the_hundred_most_frequent(self, products):
        for n in range(105):
            await products.add(product(f"p-{n:03}", tags=[f"tag-{n:03}"] + ["common"] * (n < 2)))
        counted = await products.facets(ProductFilter())
        assert counted.total == 105
        assert [count.value for count in counted.tags] == ["common", *(f"tag-{n:03}" for n in range(99))]


class TestPrepare:
    async def test_again_keeps_every_product_and_index(self, products, database):
        await products.add(product())
        before = sorted(await database["products"].index_information())
        await asyncio.gather(ensure_collection(database, PRODUCTS), ensure_collection(database, PRODUCTS))
        assert sorted(await database["products"].index_information()) == before
        assert await products.get("tea") is not None
