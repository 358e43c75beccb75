"""`shop-api products import`, by what ends up in the catalogue and what is said about the rest."""

import asyncio
import csv
import getpass
import json
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import httpx
import pytest
from pymongo import MongoClient

from shop_api.audit.models import AuditContext, AuditQuery
from shop_api.cli.operator import operator
from shop_api.container import Services
from shop_api.features.products.list_models import ProductFilter
from shop_api.features.products.models import DEFAULTS, ProductIn, ProductPatch
from shop_api.features.products.repository import PRODUCTS, ProductRepository
from shop_api.features.products.transfer import importing, rows
from shop_api.features.products.transfer.importing import Importer
from shop_api.features.products.transfer.mapping import MappingError
from shop_api.features.products.transfer.recording import recorded
from shop_api.features.products.transfer.results import ImportResult, Rejected
from shop_api.features.products.transfer.row import UnreadableFile
from shop_api.features.products.transfer.targets import DryRunRepository
from shop_api.kernel.clock import utc_now
from shop_api.kernel.versions import ANY_VERSION
from shop_api.storage.mongo.collections import ensure_collection
from support.factories import a_product, changes
from support.pids import soon
from support.processes import SHOP_API, environment, started
from support.processes import run as run_command

pytestmark = pytest.mark.long

EXAMPLE = Path("examples/products.csv")


class Ran(NamedTuple):
    """What an import did; `counts` are created, updated, unchanged and rejected."""

    counts: tuple[int, int, int, int]
    rejected: list[tuple[int, str]]


async def run(
    catalogue: Any,
    file: Path,
    columns: Iterable[str] = (),
    constants: Iterable[str] = (),
    preset: importing.Preset | None = None,
) -> Ran:
    rejected: list[tuple[int, str]] = []
    done = await imported(
        catalogue, file, columns, constants, preset, lambda r: rejected.append((r.number, r.reason))
    )
    return Ran((done.created, done.updated, done.unchanged, done.rejected), rejected)


async def imported(
    catalogue: Any,
    file: Path,
    columns: Iterable[str] = (),
    constants: Iterable[str] = (),
    preset: importing.Preset | None = None,
    reject: Callable[[Rejected], None] = lambda _: None,
) -> ImportResult:
    with rows.open_rows(file, rows.format_of(file)) as source:
        plan = importing.plan(source, preset, [*columns], [*constants])
        importer = Importer(catalogue, plan.mapping, utc_now, reject)
        async for _ in importer.run(plan.rows):
            pass
    return importer.result


def written(folder: Path, name: str, content: str | bytes | list[Any]) -> Path:
    """A file; a list becomes its lines, or its elements when the name ends with .json."""
    file = folder / name
    if isinstance(content, list):
        texts = [line if isinstance(line, str) else json.dumps(line) for line in content]
        content = f"[{', '.join(texts)}]" if file.suffix == ".json" else "\n".join(texts) + "\n"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.fixture
def catalogue(shop: Services) -> ProductRepository:
    return ProductRepository(shop.database)


async def stored(catalogue: ProductRepository, product_id: str) -> dict[str, Any]:
    product = await catalogue.get(product_id)
    assert product is not None, f"there is no {product_id}"
    fields = product.model_dump(exclude={"created_at", "updated_at", "version"}) | {"changes": changes(product)}
    return {name: value for name, value in fields.items() if name not in DEFAULTS or value != DEFAULTS[name]}


class TestUpsert:
    @pytest.fixture
    async def catalogue(self, database) -> ProductRepository:
        """Through each driver."""
        repository = ProductRepository(database)
        await ensure_collection(database, PRODUCTS)
        return repository

    async def test_adds_what_is_new(self, catalogue, tmp_path):
        file = written(tmp_path, "p.jsonl", [a_product(), a_product(product_id="other", name="Other")])
        assert (await run(catalogue, file)).counts == (2, 0, 0, 0)
        assert await stored(catalogue, "tea-assam-250") == a_product() | {"changes": 0}

    async def test_writes_nothing_for_what_is_unchanged(self, catalogue, tmp_path):
        file = written(tmp_path, "p.jsonl", [a_product()])
        await run(catalogue, file)
        before = await catalogue.get("tea-assam-250")
        assert (await run(catalogue, file)).counts == (0, 0, 1, 0)
        assert await catalogue.get("tea-assam-250") == before

    async def test_replaces_what_differs(self, catalogue, tmp_path):
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(), a_product(product_id="same")]))
        before = await catalogue.get("tea-assam-250")
        changed = a_product(name="$literal", description="$name", tags=[], attributes={}, brand=None)
        file = written(tmp_path, "p.jsonl", [changed, a_product(product_id="same")])
        assert (await run(catalogue, file)).counts == (0, 1, 1, 0)
        after = await catalogue.get("tea-assam-250")
        assert (after.name, after.description, after.brand, after.attributes) == ("$literal", "$name", None, {})
        assert (changes(after), after.created_at) == (1, before.created_at)
        assert after.updated_at > before.updated_at

    async def test_search_finds_the_new_words_only(self, catalogue, tmp_path, shop):
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(name="Kettle")]))
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(name="Samovar")]))
        assert await catalogue.count(ProductFilter(q="samovar")) == 1
        assert await catalogue.count(ProductFilter(q="kettle")) == 0

    async def test_a_boolean_is_not_the_number_1(self, catalogue, tmp_path):
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(attributes={"organic": 1})]))
        file = written(tmp_path, "p.jsonl", [a_product(attributes={"organic": True})])
        assert (await run(catalogue, file)).counts == (0, 1, 0, 0)

    async def test_what_a_row_does_not_say_stays(self, catalogue, tmp_path):
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(weight_g=250, status="archived")]))
        file = written(
            tmp_path, "p.csv", "product_id,stock,brand,attributes.organic,attributes.new\ntea-assam-250,7,,,1\n"
        )
        assert (await run(catalogue, file)).counts == (0, 1, 0, 0)
        expected = a_product(weight_g=250, status="archived", stock=7, brand=None)
        expected["attributes"] = {"weight_g": 250, "new": 1}
        assert await stored(catalogue, "tea-assam-250") == expected | {"changes": 1}
        file = written(tmp_path, "p.jsonl", [{"product_id": "tea-assam-250", "weight_g": None, "name": None}])
        assert (await run(catalogue, file)).counts == (0, 1, 0, 0)
        assert (await stored(catalogue, "tea-assam-250")).get("weight_g") is None

    async def test_more_attributes_than_fit_are_left_out_and_counted(self, catalogue, tmp_path):
        attributes = {f"a{n}": n for n in range(50)}
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(attributes=attributes)]))
        file = written(tmp_path, "p.csv", "product_id,attributes.a0,attributes.more\ntea-assam-250,7,1\n")
        result = await imported(catalogue, file)
        assert (result.updated, list(result.warnings)) == (1, ["attributes: cut after 50 attributes"])
        assert (await stored(catalogue, "tea-assam-250"))["attributes"] == attributes | {"a0": 7}

    async def test_what_a_new_product_must_have_is_said(self, catalogue, tmp_path):
        file = written(tmp_path, "p.csv", "product_id,stock\na,7\n")
        assert (await run(catalogue, file)).rejected == [(2, "price: is missing; name: is missing")]

    @pytest.mark.parametrize("place", [1, 1050, 2050])
    async def test_no_row_replaces_another_of_the_same_file(self, catalogue, tmp_path, place):
        """Within a batch, and across batches."""
        lines = [a_product(product_id=f"p-{n}") for n in range(2100)]
        lines[0] = a_product(name="First")
        lines[place] = a_product(name="Second")
        ran = await run(catalogue, written(tmp_path, "p.jsonl", lines))
        assert ran == Ran((2099, 0, 0, 1), [(place + 1, "the same product is in row 1")])
        assert (await stored(catalogue, "tea-assam-250"))["name"] == "First"

    async def test_more_than_a_batch(self, catalogue, tmp_path):
        lines = [a_product(product_id=f"p-{n}") for n in range(2500)]
        file = written(tmp_path, "p.jsonl", lines)
        assert (await run(catalogue, file)).counts == (2500, 0, 0, 0)
        lines[7]["stock"] = lines[2400]["stock"] = 1
        assert (await run(catalogue, written(tmp_path, "p.jsonl", lines))).counts == (0, 2, 2498, 0)

    async def test_one_without_id_gets_one(self, catalogue, tmp_path):
        file = written(tmp_path, "p.jsonl", [a_product(product_id=None), a_product(product_id=None)])
        assert (await run(catalogue, file)).counts == (2, 0, 0, 0)


class _Meddled:
    """The repository, with somebody who writes between the import's reading and its writing."""

    def __init__(self, catalogue: ProductRepository, meddle: Any, times: int) -> None:
        self._catalogue = catalogue
        self._meddle = meddle
        self._times = times

    async def find_many(self, product_ids: Any) -> Any:
        found = await self._catalogue.find_many(product_ids)
        if self._times:
            self._times -= 1
            await self._meddle()
        return found

    async def put_many(self, new: Any, changed: Any) -> Any:
        return await self._catalogue.put_many(new, changed)


class TestConcurrentWrites:
    @pytest.fixture
    async def catalogue(self, database) -> ProductRepository:
        """Through each driver."""
        repository = ProductRepository(database)
        await ensure_collection(database, PRODUCTS)
        return repository

    async def test_one_in_between_keeps_its_version(self, catalogue, tmp_path):
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(), a_product(product_id="calm")]))

        async def patch() -> None:
            await _change_stock(catalogue, 1)

        file = written(tmp_path, "p.jsonl", [a_product(stock=7), a_product(product_id="calm", stock=7)])
        assert (await run(_Meddled(catalogue, patch, 1), file)).counts == (0, 2, 0, 0)
        product = await catalogue.get("tea-assam-250")
        assert (product.stock, changes(product)) == (7, 2)
        assert changes(await catalogue.get("calm")) == 1

    async def test_one_added_in_between_is_updated(self, catalogue, tmp_path):
        async def add() -> None:
            await run(catalogue, written(tmp_path, "other.jsonl", [a_product(stock=1)]))

        file = written(tmp_path, "p.jsonl", [a_product(stock=7), a_product(product_id="calm")])
        assert (await run(_Meddled(catalogue, add, 1), file)).counts == (1, 1, 0, 0)
        assert changes(await catalogue.get("tea-assam-250")) == 1

    async def test_one_deleted_in_between_comes_back(self, catalogue, tmp_path):
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product()]))

        async def delete() -> None:
            await catalogue.remove("tea-assam-250")

        file = written(tmp_path, "p.jsonl", [a_product(stock=7)])
        assert (await run(_Meddled(catalogue, delete, 1), file)).counts == (1, 0, 0, 0)
        assert changes(await catalogue.get("tea-assam-250")) == 0

    async def test_one_that_never_rests_is_rejected(self, catalogue, tmp_path):
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product()]))
        stocks = iter(range(100, 200))

        async def patch() -> None:
            await _change_stock(catalogue, next(stocks))

        ran = await run(_Meddled(catalogue, patch, 9), written(tmp_path, "p.jsonl", [a_product(stock=7)]))
        assert ran.counts == (0, 0, 0, 1)
        assert "was changed by others" in ran.rejected[0][1]
        product = await catalogue.get("tea-assam-250")
        assert (product.stock, changes(product)) == (101, 2)


class TestBesideTheService:
    async def test_every_write_of_the_service_counts(self, catalogue, shop, tmp_path):
        """Versions tell: each of the service's patches and of the import's updates is one more."""
        ids, context = [f"p-{n}" for n in range(50)], AuditContext("root", "127.0.0.1", "request")
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(product_id=id_) for id_ in ids]))

        async def patch() -> None:
            for stock in range(1000, 1004):
                change = ProductPatch(stock=stock)
                await asyncio.gather(*(shop.products.patch(id_, change, ANY_VERSION, context) for id_ in ids))

        async def import_again() -> int:
            updated = 0
            for stock in range(4):
                lines = [a_product(product_id=id_, stock=stock) for id_ in ids]
                updated += (await run(catalogue, written(tmp_path, f"{stock}.jsonl", lines))).counts[1]
            return updated

        _, updated = await asyncio.gather(patch(), import_again())
        assert sum([changes(await catalogue.get(id_)) for id_ in ids]) == 4 * 50 + updated


async def _change_stock(catalogue: ProductRepository, stock: int) -> None:
    before = await catalogue.get("tea-assam-250")
    assert before is not None
    assert await catalogue.replace(before.changed(ProductIn(**a_product(stock=stock)), utc_now()))


class TestAudit:
    async def test_an_import_that_fails_leaves_its_entry_too(self, shop):
        result = ImportResult(created=3)

        async def fail() -> None:
            async with recorded(result, "teas.csv", shop.audit, operator()):
                result.updated = 4
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await fail()
        [entry], _ = await shop.audit.list_page(AuditQuery(), None)
        counts = {"created": 3, "updated": 4, "unchanged": 0, "rejected": 0}
        assert entry.after == {"file": "teas.csv", **counts}

    def test_who_has_no_name_on_the_machine_is_a_number(self, monkeypatch):
        def nameless() -> str:
            raise KeyError("getpwuid(): uid not found")

        monkeypatch.setattr(getpass, "getuser", nameless)
        assert operator().actor_id == f"cli:{os.getuid()}"


class TestDryRun:
    async def test_stores_nothing(self, catalogue, tmp_path):
        await run(catalogue, written(tmp_path, "p.jsonl", [a_product(), a_product(product_id="same")]))
        file = written(
            tmp_path,
            "p.jsonl",
            [a_product(stock=1), a_product(product_id="same"), {**a_product(), "product_id": "new"}],
        )
        assert (await run(DryRunRepository(catalogue), file)).counts == (1, 1, 1, 0)
        assert (await catalogue.get("tea-assam-250")).stock == 40
        assert await catalogue.get("new") is None

    async def test_counts_repeated_ids_as_the_import_does(self, catalogue, tmp_path):
        file = written(tmp_path, "p.jsonl", [a_product(name=name) for name in ("One", "Two", "Two")])
        rehearsed = await run(DryRunRepository(catalogue), file)
        assert rehearsed == await run(catalogue, file)


class TestMapping:
    ROW: ClassVar = {
        "sku": "A-1",
        "title": "Mug",
        "price": 9.99,
        "vendor": {"name": "Clay & Co"},
        "weight": 350.5,
        "category": "Kitchen & Dining",
        "tags": ["Men's Gifts", "mens gifts", "Für Tee"],
        "images": "https://images.example/mug.jpg",
        "reviews": [{"rating": 5}],
    }
    MAPS = ("product_id=sku", "name=title", "brand=vendor.name", "attributes.weight_g=weight")

    async def test_takes_fields_from_where_they_are(self, catalogue, tmp_path):
        file = written(tmp_path, "p.json", [self.ROW])
        await run(catalogue, file, self.MAPS, ["price.currency=USD", "status=draft", "attributes.origin=Wales"])
        assert await stored(catalogue, "A-1") == {
            "product_id": "A-1",
            "sku": "A-1",
            "name": "Mug",
            "description": "",
            "price": {"amount": 999, "currency": "USD"},
            "stock": 0,
            "category": "kitchen-dining",
            "brand": "Clay & Co",
            "tags": ["mens-gifts", "fur-tee"],
            "images": ["https://images.example/mug.jpg"],
            "attributes": {"weight_g": 350.5, "origin": "Wales"},
            "status": "draft",
            "changes": 0,
        }

    async def test_text_becomes_what_its_field_needs(self, catalogue, tmp_path):
        text = (
            "sku;title;price;stock;Tags;pics;weight;code;fresh;status;unused\n"
            'A-1;Mug;9.99;"12";"Green Tea, b";https://a.example/1,2.jpg, https://a.example/3.jpg;250;007;TRUE;Active;x\n'
        )
        file = written(tmp_path, "p.csv", b"\xef\xbb\xbf" + text.encode())
        maps = ["product_id=sku", "name=title", "tags=Tags", "images=pics"]
        maps += [f"attributes.{name}={name}" for name in ("weight", "code", "fresh")]
        assert (await run(catalogue, file, maps, ["price.currency=EUR"])).rejected == []
        product = await stored(catalogue, "A-1")
        assert product["stock"] == 12
        assert product["tags"] == ["green-tea", "b"]
        assert product["images"] == ["https://a.example/1,2.jpg", "https://a.example/3.jpg"]
        assert product["attributes"] == {"weight": 250, "code": "007", "fresh": True}
        assert product["status"] == "active"

    @pytest.mark.parametrize(
        ("price", "currency", "amount"),
        [
            ("9.99", "USD", 999),
            ("1.1", "USD", 110),
            ("0.07", "EUR", 7),
            ("4.350", "EUR", 435),
            ("300", "JPY", 300),
            ("1.250", "KWD", 1250),
            ("1e2", "USD", 10000),
            ("9007199254.74", "USD", 900719925474),
        ],
    )
    async def test_prices_are_exact(self, catalogue, tmp_path, price, currency, amount):
        file = written(tmp_path, "p.jsonl", f'{{"product_id": "a", "name": "A", "price": {price}}}')
        assert (await run(catalogue, file, (), [f"price.currency={currency}"])).rejected == []
        assert (await stored(catalogue, "a"))["price"] == {"amount": amount, "currency": currency}

    @pytest.mark.parametrize(
        ("price", "reason"),
        [
            ('"1,299.00"', "is ambiguous"),
            ('"9 USD"', "is not a price"),
            ("9.9999", "more decimal places than USD"),
            ("9.999", "is ambiguous"),
            ('"1.500"', "is ambiguous: write it with 2 decimal places"),
            ("-1", "is not a price"),
            ("1e-999999", "is not a price"),
            ("1e400", "is not a price"),
            ("9" * 40, "is not a price"),
            ("true", "is not a decimal"),
            ('""', "price: is missing"),
            ("null", "price: is missing"),
        ],
    )
    async def test_doubtful_prices_are_rejected(self, catalogue, tmp_path, price, reason):
        file = written(tmp_path, "p.jsonl", f'{{"product_id": "a", "name": "A", "price": {price}}}')
        ran = await run(catalogue, file, (), ["price.currency=USD"])
        assert ran.counts == (0, 0, 0, 1)
        assert reason in ran.rejected[0][1]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"price": 5}, "price: has no currency; if it is always the same, give --set price.currency"),
            ({"price": {"amount": 9.99, "currency": "USD"}}, "price: '9.99' is not a whole number"),
            ({"price": {"amount": 1, "currency": "usd"}}, "price.currency: Give an ISO 4217 currency code"),
            ({"price": {"amount": 1, "currency": "USD", "tax": 1}}, "price.tax: is not a field"),
            ({"stock": -1}, "stock: Input should be greater than or equal to 0, not -1"),
            ({"stock": "many"}, "stock: 'many' is not a whole number"),
            ({"product_id": "new", "name": ""}, "name: is missing"),
            ({"name": "Two\nlines"}, "name: Give one line of text"),
            ({"product_id": "a b"}, "product_id: Use letters"),
            ({"status": "gone"}, "status: Input should be 'draft', 'active' or 'archived'"),
            ({"colour": "red"}, "colour is not a field of a product"),
            ({"descripton": "red"}, "did you mean description?"),
        ],
    )
    async def test_reasons_are_clear(self, catalogue, tmp_path, change, reason):
        lines = [a_product(product_id="good"), a_product(**change), a_product(product_id="fine")]
        ran = await run(catalogue, written(tmp_path, "p.jsonl", lines))
        assert ran.counts == (2, 0, 0, 1)
        assert ran.rejected[0][0] == 2
        assert reason in ran.rejected[0][1]

    @pytest.mark.parametrize(
        ("change", "kept", "warning"),
        [
            ({"category": "!!!"}, {"category": None}, "has no letter or digit"),
            ({"brand": "a" * 201}, {"brand": None}, "String should have at most 200"),
            (
                {"images": ["http://plain.example/", "https://a.example/b c.jpg", "//cdn.example/d.jpg"]},
                {"images": ["https://a.example/b%20c.jpg", "https://cdn.example/d.jpg"]},
                "images: left out what is not valid: Give an https address",
            ),
            ({"images": [f"https://a.example/{n}" for n in range(21)]}, {}, "images: cut after 20 images"),
            ({"tags": ["new", "🔥"]}, {"tags": ["new"]}, "tags: left out what is not valid"),
            ({"tags": [f"t{n}" for n in range(251)]}, {}, "tags: cut after 250 tags"),
            ({"attributes": {"a": {}, "b": 1}}, {"attributes": {"b": 1}}, "attributes: left out what is not valid"),
            ({"attributes": {"a": 10**30}}, {"attributes": {}}, "attributes: left out what is not valid"),
            ({"attributes": [1]}, {"attributes": {}}, "is not a JSON object"),
            ({"attributes.a": [1]}, {}, "a: must be text"),
            ({"description": "a\0b"}, {"description": ""}, "Leave out NUL"),
            ({"description": "\ud800"}, {"description": ""}, "Input should be a valid string"),
            (
                {"description": "x" * 10_001},
                {"description": "x" * 10_000},
                "description: cut after 10,000 characters",
            ),
            ({"weight_g": "heavy"}, {}, "'heavy' is not a whole number"),
            ({"weight_g": -1}, {}, "Input should be greater"),
            ({"barcode": "1\n2"}, {}, "Give one line"),
            ({"compare_at_price": {"amount": 1, "currency": "INR"}}, {}, "what is not above the price"),
            (
                {"options": [{"name": "", "value": "M"}, {"name": "Size", "value": "M"}]},
                {"options": [{"name": "Size", "value": "M"}]},
                "options: left out what is not valid",
            ),
            ({"options": [{"name": "a", "value": "M"}] * 2}, {}, "Two options have the same name"),
        ],
    )
    async def test_what_is_optional_never_rejects_a_row(self, catalogue, tmp_path, change, kept, warning):
        lines = [a_product(product_id="good"), a_product(**change)]
        importer = await imported(catalogue, written(tmp_path, "p.jsonl", lines))
        assert (importer.created, importer.rejected) == (2, 0)
        [(said, one)] = importer.warnings.items()
        assert warning in f"{said}: {one.detail}"
        assert (one.count, one.number) == (1, 2)
        product = await stored(catalogue, "tea-assam-250")
        assert {name: product[name] for name in kept} == kept

    async def test_a_row_without_the_mapped_id_is_rejected(self, catalogue, tmp_path):
        file = written(tmp_path, "p.csv", "sku,name,price.amount,price.currency\n,Mug,1,USD\n")
        assert (await run(catalogue, file, ["product_id=sku"])).rejected == [(2, "product_id: sku is missing")]

    @pytest.mark.parametrize(
        ("columns", "constants", "message"),
        [
            (["nmae=title"], [], "nmae is not a field of a product; did you mean name?"),
            (["name=titel"], [], "no column titel; did you mean title?"),
            (["name"], [], "'name' is not of the form field=value"),
            (["name=title", "name=sku"], [], "name is given twice"),
            (["name=title"], ["name=Mug"], "name: either comes from a column or is set"),
            (["price=sku", "price.amount=sku"], [], "give either price"),
            (["attributes.a.b=sku"], [], "attributes.a.b is not a field"),
            ([], ["status=gone"], "status: Input should be"),
            ([], ["price.currency=EURO"], "an ISO 4217"),
            ([], ["weight_g=heavy"], "weight_g: left out"),
            ([], [], "title is not a field of a product"),
        ],
    )
    def test_a_mapping_without_sense_is_refused(self, tmp_path, columns, constants, message):
        file = written(tmp_path, "p.csv", "sku,title\nA-1,Mug\n")
        with rows.open_rows(file, "csv") as source, pytest.raises(MappingError, match=message.replace("?", r"\?")):
            importing.plan(source, None, columns, constants)

    async def test_takes_what_the_api_answers(self, catalogue, tmp_path, admin):
        await admin.post("/products", json=a_product())
        items = (await admin.get("/products")).json()["items"]
        assert (await run(catalogue, written(tmp_path, "p.json", items))).counts == (0, 0, 1, 0)


class TestBrokenFiles:
    async def test_a_broken_line_is_one_rejected_row(self, catalogue, tmp_path):
        lines: list[Any] = [a_product(product_id="a"), '{"product_id": "b", ', "[]", "", "NaN", "[" * 100_000]
        lines += ["9" * 5_000, a_product(product_id="z")]
        ran = await run(catalogue, written(tmp_path, "p.jsonl", lines))
        assert ran.counts == (2, 0, 0, 5)
        assert [number for number, _ in ran.rejected] == [2, 3, 5, 6, 7]
        assert "not JSON" in ran.rejected[0][1]

    async def test_lines_that_are_not_utf8_or_endless_are_rejected(self, catalogue, tmp_path):
        good = json.dumps(a_product()).encode()
        file = written(tmp_path, "p.jsonl", b"\n".join([b'{"name": "\xff"}', b'"' + b"x" * (3 << 20) + b'"', good]))
        assert await run(catalogue, file) == Ran((1, 0, 0, 2), [(1, "not UTF-8"), (2, "longer than 1 MiB")])

    async def test_a_quotation_mark_too_many_costs_one_row(self, catalogue, tmp_path):
        text = "product_id,name,price.amount,price.currency\n" + "".join(f"p-{n},Mug {n},1,USD\n" for n in range(5))
        text = text.replace("Mug 1", '"Mug 1').replace("Mug 3", '"Mug, 3"')
        ran = await run(
            catalogue, written(tmp_path, "p.csv", text + 'p-5,"two\nlines",1,USD\np-6,Mug,1,USD,7\n,,,\n')
        )
        assert ran.counts == (4, 0, 0, 3)
        assert [number for number, _ in ran.rejected] == [3, 7, 9]
        assert "it has 5 cells, the first line 4" in ran.rejected[2][1]
        assert (await catalogue.get("p-3")).name == "Mug, 3"

    @pytest.mark.parametrize(
        "text",
        [
            "product_id,name,price,price.currency\np-1,Mug,1.00,EUR,,,\n",
            "sep=;\r\nproduct_id;name;price;price.currency\r\np-1;Mug;1.00;EUR\r\n",
            "SEP=|\nproduct_id|name|price|price.currency\np-1|Mug|1.00|EUR\n",
            "\n,,,\n\r\nproduct_id,name,price,price.currency\np-1,Mug,1.00,EUR\n",
            '\n"sep=\t"\n\nproduct_id\tname\tprice\tprice.currency\np-1\tMug\t1.00\tEUR\n',
        ],
        ids=["surplus cells", "sep=", "any sep=", "blank first lines", "both"],
    )
    async def test_what_spreadsheets_add_means_nothing(self, catalogue, tmp_path, text):
        assert await run(catalogue, written(tmp_path, "p.csv", text)) == Ran((1, 0, 0, 0), [])
        assert (await catalogue.get("p-1")).name == "Mug"

    async def test_what_separates_is_counted_outside_quotes(self, catalogue, tmp_path):
        text = 'Code;"EAN, UPC, GTIN, or none";Cost\np-1;4006381333931;1.00\n'
        maps = ["product_id=Code", "name=Code", "price=Cost"]
        ran = await run(catalogue, written(tmp_path, "p.csv", text), maps, ["price.currency=EUR"])
        assert ran == Ran((1, 0, 0, 0), [])

    async def test_a_surplus_cell_with_something_in_it_is_not_lost(self, catalogue, tmp_path):
        text = "product_id,name,price,price.currency\np-1,Mug,1.00,EUR,,blue\n"
        assert (await run(catalogue, written(tmp_path, "p.csv", text))).counts == (0, 0, 0, 1)

    @pytest.mark.parametrize(
        ("end", "reason"),
        [
            ("", "a comma or ] is missing after it, not the end of the file"),
            (", oops]", "not JSON"),
            ("] trailing", "there is more after the end"),
            (', {"a": ' + "9" * 5000 + "}]", "cannot be read"),
            (', {"a": ' + "[" * 100_000 + "]", "too many levels"),
            (",", "not JSON"),
        ],
    )
    async def test_a_broken_array_counts_up_to_there(self, catalogue, tmp_path, end, reason):
        text = f"[{json.dumps(a_product(product_id='a'))},\n {json.dumps(a_product(product_id='b'))}{end}"
        ran = await run(catalogue, written(tmp_path, "p.json", text))
        assert ran.counts == (2, 0, 0, 1)
        assert ran.rejected[0][0] == 3
        assert reason in ran.rejected[0][1]

    async def test_an_array_is_read_in_pieces(self, catalogue, tmp_path):
        lines = [a_product(product_id=f"p-{n}", description="Crème brûlée 🍵" * 400) for n in range(200)]
        text = json.dumps(lines, indent=3, ensure_ascii=False)
        assert len(text.encode()) > 1 << 20  # so that many a piece ends within a character
        ran = await run(catalogue, written(tmp_path, "p.json", f" \n{text}\n "))
        assert ran.counts == (200, 0, 0, 0)
        assert (await catalogue.get("p-199")).description == lines[199]["description"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("p.json", '{"products": []}', "holds no JSON array"),
            ("p.json", "", "holds no JSON array"),
            ("p.csv", "", "no first line"),
            ("p.csv", "name,name\n", "more than one column name"),
            ("p.xlsx", "", "no known format"),
        ],
    )
    def test_what_is_no_such_file_is_refused(self, tmp_path, name, content, message):
        file = written(tmp_path, name, content)
        with pytest.raises(UnreadableFile, match=message), rows.open_rows(file, rows.format_of(file)):
            pass

    async def test_empty_files_have_no_rows(self, catalogue, tmp_path):
        for name, content in (("p.json", "[ ]"), ("p.jsonl", ""), ("p.csv", "product_id,name\n")):
            assert (await run(catalogue, written(tmp_path, name, content))).counts == (0, 0, 0, 0)


class TestShopify:
    EXPORT = (
        "Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,"
        "Option2 Name,Option2 Value,Variant SKU,Variant Grams,Variant Inventory Qty,Variant Price,Image Src,"
        "Variant Image,Status\n"
        'assam,Assam,"<p>Strong &amp; malty.</p><ul><li>takes <b>milk</b></li></ul><script>x()</script>",Brew & Co,'
        'Food > Drinks > Tea,,"Black tea, Loose",true,Size,100,'
        "Pack,Tin,AS-1,100,-3,9.50,https://i.example/1.jpg,,active\n"
        "assam,,,,,,,,,250,,Bag,'0042,250,7,19.00,https://i.example/2.jpg,https://i.example/v.jpg,\n"
        "assam,,,,,,,,,500,,Bag,,500,1,30.00,,,\n"
        "assam,,,,,,,,,,,,,,,,https://i.example/3.jpg,,\n"
        "mug,Mug,,Clay,,Ware,,false,Title,Default Title,,,,350,2,12.00,,,active\n"
        "lost,Lost,,,,,,true,Title,Default Title,,,,1,1,oops,,,archived\n"
    )

    @pytest.fixture
    async def ran(self, catalogue, tmp_path) -> Ran:
        file = written(tmp_path, "export.csv", self.EXPORT)
        maps = ["attributes.weight_g=Variant Grams"]
        return await run(catalogue, file, maps, ["price.currency=EUR"], "shopify")

    async def test_every_variant_is_a_product(self, ran, catalogue):
        assert ran.counts == (4, 0, 0, 1)
        assert await stored(catalogue, "AS-1") == {
            "product_id": "AS-1",
            "sku": "AS-1",
            "group": "assam",
            "options": [{"name": "Size", "value": "100"}, {"name": "Pack", "value": "Tin"}],
            "position": 1,
            "name": "Assam - 100 / Tin",
            "description": "Strong & malty.\n- takes milk",
            "price": {"amount": 950, "currency": "EUR"},
            "stock": 0,
            "category": "tea",
            "brand": "Brew & Co",
            "tags": ["black-tea", "loose"],
            "images": [f"https://i.example/{n}.jpg" for n in (1, 2, 3)],
            "attributes": {"weight_g": 100},
            "weight_g": 100,
            "status": "active",
            "changes": 0,
        }

    async def test_variants_inherit_from_the_first_row(self, ran, catalogue):
        second = await stored(catalogue, "0042")
        assert (second["name"], second["brand"], second["stock"]) == ("Assam - 250 / Bag", "Brew & Co", 7)
        assert second["images"] == [f"https://i.example/{n}.jpg" for n in ("v", 1, 2, 3)]
        [third] = [product for product in await catalogue.find_variants(["assam"]) if product.sku is None]
        assert (third.price.amount, third.position) == (3000, 3)

    async def test_unpublished_is_a_draft(self, ran, catalogue):
        mug = await stored(catalogue, "mug")
        assert (mug["name"], mug["status"], mug["category"]) == ("Mug", "draft", "ware")

    async def of_one(self, catalogue, tmp_path, published: str = "true", html: str = "") -> Ran:
        head = "Handle,Title,Body (HTML),Published,Variant SKU,Variant Price,Status\n"
        text = f'{head}cup,Cup,"{html}",{published},CUP-1,1.00,active\ncup,,,,CUP-2,1.00,\n'
        return await run(catalogue, written(tmp_path, "p.csv", text), [], ["price.currency=EUR"], "shopify")

    @pytest.mark.parametrize(
        "word", ["FALSE", "no", "0", "FAUX", "FALSCH", "Epätosi", "YANLIŞ", "HAYIR", "ЛОЖЬ", "否"]
    )
    async def test_what_excel_calls_false_is_a_draft(self, catalogue, tmp_path, word):
        assert (await self.of_one(catalogue, tmp_path, word)).counts == (2, 0, 0, 0)
        assert {(await stored(catalogue, sku))["status"] for sku in ("CUP-1", "CUP-2")} == {"draft"}

    @pytest.mark.parametrize("word", ["TRUE", "Yes", "1", "VRAI", "WAHR", "Doğru", "ИСТИНА", " vero "])
    async def test_what_excel_calls_true_is_active(self, catalogue, tmp_path, word):
        assert (await self.of_one(catalogue, tmp_path, word)).counts == (2, 0, 0, 0)
        assert (await stored(catalogue, "CUP-1"))["status"] == "active"

    @pytest.mark.parametrize("word", ["perhaps", "x", "draft", "2", "falso?", "-"])
    async def test_any_other_word_is_rejected_and_nothing_is_public(self, catalogue, tmp_path, word):
        ran = await self.of_one(catalogue, tmp_path, word)
        assert ran.counts == (0, 0, 0, 2)
        assert ran.rejected == [(n, f"Published: {word!r} is neither true nor false") for n in (2, 3)]

    @pytest.mark.parametrize(
        ("html", "text"),
        [
            (
                "<table><tr><th>Size</th><td>38</td></tr><tr><td>Fit</td><td>slim</td></tr></table>",
                "Size 38\nFit slim",
            ),
            ("<dl><dt>Weight</dt><dd>3 kg</dd></dl>", "Weight\n3 kg"),
            ("<section>One</section><article>Two</article>", "One\nTwo"),
            ("One<hr>Two<br/>Three", "One\nTwo\nThree"),
            ("<ul><li><p>one</p></li><li><div>two</div></li></ul>", "- one\n- two"),
            ("a <b>bold</b>er <span>word</span>", "a bolder word"),
        ],
    )
    async def test_a_description_is_text_by_block(self, catalogue, tmp_path, html, text):
        await self.of_one(catalogue, tmp_path, html=html)
        assert (await stored(catalogue, "CUP-1"))["description"] == text

    async def test_rejections_name_the_line(self, ran):
        assert ran.rejected == [(7, "price: 'oops' is not a price such as '9.99'")]

    def test_other_files_are_refused(self, tmp_path):
        file = written(tmp_path, "p.csv", "product_id,name\n")
        with rows.open_rows(file, "csv") as source, pytest.raises(MappingError, match="no column Handle"):
            importing.plan(source, "shopify", [], [])


class TestCommand:
    @pytest.fixture
    def env(self, engines, tmp_path):
        """The engines of this run, and a database that is gone afterwards."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        settings = engines.model_copy(update={"mongo_db": name})
        yield environment(settings)
        with MongoClient[dict](settings.required()[0]) as client:
            client.drop_database(name)

    @staticmethod
    def shop_api(env, folder, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run_command(env, *arguments, cwd=folder)

    @staticmethod
    def audited(env) -> list[dict[str, Any]]:
        with MongoClient[dict[str, Any]](env["SHOP_MONGO_URL"]) as client:
            return list(client[env["SHOP_MONGO_DB"]]["audit"].find())

    def test_lists_rejected_rows_in_a_file_and_exits_with_1(self, env, tmp_path):
        file = written(tmp_path, "teas.jsonl", [a_product(), a_product(stock=-1), "oops", {"product_id": "\ud800"}])
        done = self.shop_api(env, tmp_path, "products", "import", file, "--map", "brand=brnd")
        assert done.returncode == 1, done.stderr
        assert "no row has brnd, which --map names" in done.stderr
        assert "teas.rejected.csv says which rows" in done.stderr
        assert [line.split()[1::2] for line in done.stdout.splitlines() if "│" in line] == [
            ["created", "1"],
            ["updated", "0"],
            ["unchanged", "0"],
            ["rejected", "3"],
        ]
        [entry] = self.audited(env)
        assert (entry["action"], entry["subject_type"]) == ("products_imported", "import")
        counts = {"created": 1, "updated": 0, "unchanged": 0, "rejected": 3}
        assert (entry["before"], entry["after"]) == ({}, {"file": "teas.jsonl", **counts})
        assert entry["actor_id"].startswith("cli:")
        with (tmp_path / "teas.rejected.csv").open(newline="") as listing:
            found = list(csv.DictReader(listing))
        assert [(row["line"], row["product_id"]) for row in found] == [
            ("2", "tea-assam-250"),
            ("3", ""),
            ("4", "\\ud800"),
        ]
        assert "stock" in found[0]["reason"]

        written(tmp_path, "teas.jsonl", [a_product(product_id=None)])
        done = self.shop_api(env, tmp_path, "products", "import", file, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "dry run" in done.stdout
        assert self.audited(env) == [entry]
        assert "1 rows have no product_id" in done.stderr
        assert not (tmp_path / "teas.rejected.csv").exists()  # it would be about another import

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere.csv"], "nowhere.csv: No such file or directory"),
            (["teas.xml"], "teas.xml is in no known format"),
            (["teas.csv", "--map", "titel=name"], "titel is not a field of a product"),
            (["teas.csv", "--rejected", "teas.csv"], "cannot be the input and the list"),
            (["teas.csv", "--rejected", "no/such/folder.csv"], "no/such/folder.csv: No such file or directory"),
        ],
    )
    def test_misuse_is_said_and_exits_with_2(self, env, tmp_path, arguments, message):
        written(tmp_path, "teas.csv", "product_id,name\n")
        written(tmp_path, "teas.xml", "")
        done = self.shop_api(env, tmp_path, "products", "import", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr

    def test_killed_half_way_it_can_be_run_again(self, env, tmp_path):
        with MongoClient[dict](env["SHOP_MONGO_URL"]) as client:
            products, count = client[env["SHOP_MONGO_DB"]]["products"], 4000
            while True:
                file = written(tmp_path, "many.jsonl", [a_product(product_id=f"p-{n}") for n in range(count)])
                process = subprocess.Popen([SHOP_API, "products", "import", file], env=env, cwd=tmp_path)
                assert soon(lambda: products.estimated_document_count() >= 1000)
                process.send_signal(signal.SIGKILL)
                process.wait()
                if products.count_documents({}) < count:
                    break
                products.delete_many({})  # it was quicker than the signal, which shows nothing
                count *= 2
            done = self.shop_api(env, tmp_path, "products", "import", file)
            assert done.returncode == 0, done.stderr
            assert sum(one["updated_at"] == one["created_at"] for one in products.find()) == count

    def test_beside_a_running_service(self, tmp_path, repository_root):
        env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
        env |= {"SHOP_DATA_DIR": str(tmp_path / "data"), "SHOP_PORT": "0"}
        with started(env, tmp_path / "serve.log") as (_, url):
            done = self.shop_api(env, tmp_path, "products", "import", repository_root / EXAMPLE)
            assert done.returncode == 0, done.stderr
            answer = httpx.get(f"{url}/products", params={"include_total": True}).json()
            assert answer["total"] == 11  # the twelfth is a draft
            assert httpx.get(f"{url}/products/assam-250").json()["price"] == {"amount": 950, "currency": "EUR"}
        done = self.shop_api(env, tmp_path, "products", "import", repository_root / EXAMPLE)
        assert [line.split()[3] for line in done.stdout.splitlines() if "│" in line] == ["0", "0", "12", "0"]
