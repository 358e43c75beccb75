"""Imports of Shopify's exports: every variant is stored or rejected, and none replaces another one."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shop_api.features.products.models import Product, ProductIn
from shop_api.features.products.repository import ProductRepository
from shop_api.features.products.transfer import importing, rows, shopify, spill
from shop_api.features.products.transfer.html_text import html_of, text_of
from shop_api.features.products.transfer.identity import Variant, id_of
from shop_api.features.products.transfer.importing import Importer
from shop_api.features.products.transfer.matching import match
from shop_api.features.products.transfer.results import ImportResult, Rejected
from shop_api.features.products.transfer.shopify_columns import status_of
from shop_api.features.products.transfer.shopify_export import TEMPLATE, SeveralCurrencies, export_shopify
from shop_api.kernel.clock import utc_now
from support.factories import a_product

HEAD = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price"


@pytest.fixture
def catalogue(shop) -> ProductRepository:
    return ProductRepository(shop.database)


class Memory:
    """Stores products as the repository does, for many imports in a short time."""

    def __init__(self) -> None:
        self.products: dict[str, Product] = {}

    async def find_many(self, product_ids: Any) -> dict[str, Product]:
        return {id_: self.products[id_] for id_ in product_ids if id_ in self.products}

    async def find_variants(self, groups: Any) -> list[Product]:
        return [product for product in self.products.values() if product.group in groups]

    async def put_many(self, new: Any, changed: Any) -> set[str]:
        assert not self.products.keys() & {product.product_id for product in new}
        self.products |= {product.product_id: Product.of(product.model_dump()) for product in (*new, *changed)}
        return set()

    async def each(self) -> Any:
        for id_ in sorted(self.products):
            yield self.products[id_]


async def run(target: Any, folder: Path, text: str, currency: str = "EUR") -> tuple[ImportResult, list[Rejected]]:
    file, rejected = folder / "export.csv", list[Rejected]()
    file.write_text(text, newline="")
    with rows.open_rows(file, "csv") as source:
        plan = importing.plan(source, "shopify", [], [f"price.currency={currency}"])
        importer = Importer(target, plan.mapping, utc_now, rejected.append)
        async for _ in importer.run(plan.rows):
            pass
    return importer.result, rejected


def counts(result: ImportResult) -> tuple[int, int, int, int]:
    return result.created, result.updated, result.unchanged, result.rejected


def table(*lines: str, head: str = HEAD) -> str:
    return "\n".join([head, *lines]) + "\n"


class TestIdentity:
    @pytest.mark.parametrize("sku", ["A-1", "a.b_c", "x" * 64])
    def test_a_text_that_is_an_id_stays_as_it_is(self, sku):
        assert id_of(sku) == sku

    def test_different_texts_have_different_ids(self):
        texts = [
            "A/1",
            "A-1",
            "A 1",
            "a/1",
            "facets",
            "x" * 65,
            "x" * 66,
            "é",
            "e\u0301",
            "茶",
            "",
            "🔥",
            ".",
            "A/1 ",
        ]
        ids = [id_of(text) for text in texts]
        assert len(set(ids)) == len(ids)
        assert all(ProductIn(**a_product(product_id=id_)) for id_ in ids)

    @pytest.mark.parametrize(
        "lines",
        [
            ["tee,Tee,Colour,Red,K1,1", "tee,,,Blue,K1,2"],
            ["tee,Tee,Colour,Red,,1", "tee,,,Blue,,2", "tee-2,Other,,,,3"],
            ["tee,Tee,,,A/1,1", "cap,Cap,,,A-1,2", "mug,Mug,,,A 1,3"],
            ["tee,Tee,,,K1,1", "cap,Cap,,,K1,2", "K1,Handle,,,,3"],
            ["tee,Tee,Size,S,,1", "cap,Cap,,,,5", "tee,,,M,,2"],
        ],
    )
    async def test_no_variant_replaces_another(self, catalogue, tmp_path, lines):
        result, rejected = await run(catalogue, tmp_path, table(*lines))
        assert (counts(result), rejected) == ((len(lines), 0, 0, 0), [])
        prices = sorted([product.price.amount async for product in catalogue.each()])
        assert prices == sorted(100 * int(line.rpartition(",")[2]) for line in lines)
        for again in (lines, lines[1:], lines[:1], list(reversed(lines))):  # also without one of them, and reordered
            again = [line for line in again if line.split(",")[1] or len(again) > 1]
            result, _ = await run(catalogue, tmp_path, table(*again))
            assert (result.created, result.rejected) == (0, 0)

    async def test_the_same_variant_twice_is_rejected_with_the_other_line(self, catalogue, tmp_path):
        result, rejected = await run(
            catalogue, tmp_path, table("tee,Tee,Size,S,K1,1", "cap,Cap,,,,5", "tee,,,S,K1,2")
        )
        assert counts(result) == (2, 0, 0, 1)
        assert rejected == [Rejected(4, "", "the same variant is in line 2: same handle, SKU and option values")]

    async def test_a_rejected_variant_is_not_taken_for_another_one(self, catalogue, tmp_path):
        """Of two with one SKU the first is rejected: the second one must not replace what is stored of the first."""
        await run(catalogue, tmp_path, table("tee,Tee,Colour,Red,K1,1"))
        result, _ = await run(catalogue, tmp_path, table("tee,Tee,Colour,Red,K1,oops", "tee,,,Blue,K1,2"))
        assert counts(result) == (1, 0, 0, 1)
        assert sorted([product.name async for product in catalogue.each()]) == ["Tee - Blue", "Tee - Red"]

    async def test_nor_is_one_that_is_rejected_for_its_status(self, tmp_path):
        head = f"{HEAD},Published"
        memory = Memory()
        await run(memory, tmp_path, table("tee,Tee,Colour,Red,K1,1,TRUE", head=head))
        lines = ("tee,Tee,Colour,Red,K1,1,perhaps", "tee,,,Blue,K1,2,TRUE")
        result, rejected = await run(memory, tmp_path, table(*lines, head=head))
        assert (counts(result), [row.number for row in rejected]) == ((1, 0, 0, 1), [2])
        assert sorted(product.name for product in memory.products.values()) == ["Tee - Blue", "Tee - Red"]

    async def test_a_variant_stays_itself_when_its_sku_or_its_options_change(self, catalogue, tmp_path):
        await run(catalogue, tmp_path, table("tee,Tee,Size,S,A,1", "tee,,,M,B,2"))
        result, _ = await run(catalogue, tmp_path, table("tee,Tee,Size,S,A2,1", "tee,,,Medium,B,2"))
        assert counts(result) == (0, 2, 0, 0)

    @pytest.mark.parametrize("value", ["x" * 300, "\u200b", "a\x07b"])
    async def test_a_variant_stays_itself_when_an_option_cannot_be_stored(self, tmp_path, value):
        for lines in ([f"tee,Tee,Size,{value},,1"], [f"tee,Tee,Size,{value},,1", "tee,,,M,,2"]):
            memory = Memory()
            result, _ = await run(memory, tmp_path, table(*lines))
            assert counts(result) == (len(lines), 0, 0, 0)
            again, _ = await run(memory, tmp_path, table(*lines))
            assert counts(again) == (0, 0, len(lines), 0)

    async def test_another_article_of_the_handle_is_not_taken_for_its_only_one(self, tmp_path):
        memory = Memory()
        await run(memory, tmp_path, table("tee,Tee,Colour,Red,,1"))
        result, _ = await run(memory, tmp_path, table("tee,Tee,Colour,Blue,,2"))
        assert (counts(result), len(memory.products)) == ((1, 0, 0, 0), 2)

    async def test_another_shops_handle_does_not_take_a_sku_over(self, catalogue, tmp_path):
        await run(catalogue, tmp_path, table("tee,Tee,,,K1,1"))
        result, _ = await run(catalogue, tmp_path, table("cap,Cap,,,K1,2"))
        assert counts(result) == (1, 0, 0, 0)

    async def test_what_an_earlier_version_stored_is_found(self, catalogue, tmp_path, shop):
        for id_, name in (("tee", "Tee"), ("K1", "Cap")):
            body = a_product(product_id=id_, name=name, attributes={"handle": name.lower()}, price=EURO)
            await shop.products.add(ProductIn(**body))
        result, _ = await run(catalogue, tmp_path, table("tee,Tee,,,,1", "cap,Cap,,,K1,1"))
        assert (result.created, result.updated + result.unchanged) == (0, 2)

    def test_matching_prefers_what_is_exactly_the_same(self):
        variants = [Variant("tee", "K", ("S",), 1, False, False), Variant("tee", None, ("S",), 2, False, True)]
        times = {"version": 1, "created_at": utc_now(), "updated_at": utc_now()}
        option = {"group": "tee", "options": [{"name": "Size", "value": "S"}]}
        stored = [
            Product.of(a_product(product_id=id_, sku=sku, **option) | times) for id_, sku in (("b", None), ("a", "K"))
        ]
        assert [found.product_id for found in match(variants, stored)] == ["a", "b"]


EURO = {"amount": 100, "currency": "EUR"}


class TestColumns:
    async def test_both_generations_of_names_say_the_same(self, tmp_path):
        old = (
            "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Status,Option1 Name,Option1 Value,Variant SKU,"
            "Variant Grams,Variant Inventory Qty,Variant Price,Variant Compare At Price,Variant Requires Shipping,"
            "Variant Barcode,Image Src,Variant Image"
        )
        new = (
            "URL handle,title,Description,vendor,TYPE,Tags,Published on online store,Status,Option1 name,"
            "Option1 value,SKU,Weight value (grams),Inventory quantity,Price,Compare-at price,Requires shipping,"
            "Barcode,Product image URL,Variant image URL"
        )
        row = (
            'tee,Tee,<p>Nice</p>,V,Shirts,"a, b",TRUE,active,Size,S,K 1,250,3,1.99,2.99,FALSE,0042,'
            "https://i.example/1.jpg,https://i.example/2.jpg"
        )
        stored = []
        for head in (old, new):
            memory = Memory()
            result, rejected = await run(memory, tmp_path, table(row, head=head))
            assert (counts(result), rejected) == ((1, 0, 0, 0), [])
            stored += [product.content() for product in memory.products.values()]
        assert stored[0] == stored[1]
        assert (stored[0]["weight_g"], stored[0]["compare_at_price"]) == (250, {"amount": 299, "currency": "EUR"})
        assert (stored[0]["requires_shipping"], stored[0]["barcode"], stored[0]["stock"]) == (False, "0042", 3)

    async def test_a_column_that_is_not_there_says_nothing(self, catalogue, tmp_path, shop):
        body = a_product(product_id="tee", name="Tee", price=EURO, weight_g=7, requires_shipping=False, tax_class="x")
        await shop.products.add(ProductIn(**body))
        result, _ = await run(catalogue, tmp_path, table("tee,Tee,,,,1.00"))
        assert counts(result) == (0, 0, 1, 0)

    @pytest.mark.parametrize(
        ("tracker", "quantity", "stock", "warned"),
        [
            ("shopify", "5", 5, False),
            ("", "", 40, True),
            ("", "0", 40, True),
            ("", "7", 7, False),
            ("shopify", "", 40, False),
        ],
    )
    async def test_inventory_that_is_not_tracked_is_not_changed_and_said(
        self, catalogue, tmp_path, shop, tracker, quantity, stock, warned
    ):
        await shop.products.add(ProductIn(**a_product(product_id="tee", price=EURO)))
        head = f"{HEAD},Variant Inventory Tracker,Variant Inventory Qty"
        result, _ = await run(catalogue, tmp_path, table(f"tee,Tee,,,,1.00,{tracker},{quantity}", head=head))
        assert (await catalogue.get("tee")).stock == stock
        assert any("does not track" in kind for kind in result.warnings) == warned

    @pytest.mark.parametrize(
        ("weight", "unit", "grams"),
        [("1.5", "kg", 1500), ("1", "lb", 454), ("2", "oz", 57), ("3", "", 3), ("1", "stone", None)],
    )
    async def test_a_weight_has_its_unit(self, tmp_path, weight, unit, grams):
        memory = Memory()
        head = f"{HEAD},Variant Weight,Variant Weight Unit"
        result, _ = await run(memory, tmp_path, table(f"tee,Tee,,,,1.00,{weight},{unit}", head=head))
        assert (memory.products["tee"].weight_g, len(result.warnings)) == (grams, int(grams is None))

    async def test_a_name_is_not_too_long_for_its_options(self, tmp_path):
        memory = Memory()
        result, _ = await run(memory, tmp_path, table(f"tee,{'T' * 200},Size,{'S' * 100},,1"))
        assert counts(result) == (1, 0, 0, 0)
        [product] = memory.products.values()
        assert (product.name, product.options[0].value) == ("T" * 200, "S" * 100)
        assert ["without the option values" in kind for kind in result.warnings] == [True]

    async def test_a_title_may_have_line_breaks(self, tmp_path):
        memory = Memory()
        await run(memory, tmp_path, table('tee,"Tee\n  in two lines",,,,1'))
        assert memory.products["tee"].name == "Tee in two lines"

    async def test_options_of_any_kind(self, tmp_path):
        memory = Memory()
        head = f"{HEAD},Option2 Name,Option2 Value,Option3 Name,Option3 Value"
        result, _ = await run(memory, tmp_path, table("tee,Tee,_size.$,38 / 5,,1,_size.$,x,,y", head=head))
        assert counts(result) == (1, 0, 0, 0)
        options = memory.products["tee"].content()["options"]
        assert options == [
            {"name": "_size.$", "value": "38 / 5"},
            {"name": "_size.$ 2", "value": "x"},
            {"name": "Option 3", "value": "y"},
        ]

    async def test_rows_belong_to_their_handle_wherever_they_stand(self, tmp_path):
        memory = Memory()
        head = f"{HEAD},Body (HTML),Image Src"
        lines = (
            "tee,,,,,,,https://i.example/2.jpg",  # sorted in Excel: an image, then a variant without title
            "tee,,,M,,2,,",
            "cap,Cap,,,,5,,",
            "tee,Tee,Size,S,,1,<p>Nice</p>,https://i.example/1.jpg",
            "board,Board,handle,Oak,,3,,",
        )
        result, rejected = await run(memory, tmp_path, table(*lines, head=head))
        assert (counts(result), rejected) == ((4, 0, 0, 0), [])
        found = {product.name: product for product in memory.products.values()}
        assert sorted(found) == ["Board - Oak", "Cap", "Tee - M", "Tee - S"]
        assert {found[name].description for name in ("Tee - M", "Tee - S")} == {"Nice"}
        assert found["Tee - M"].images == ["https://i.example/2.jpg", "https://i.example/1.jpg"]
        assert (found["Board - Oak"].group, found["Board - Oak"].options[0].name) == ("board", "handle")

    async def test_a_handle_with_too_many_rows_loses_none_unsaid(self, tmp_path, monkeypatch):
        for module in (spill, shopify):
            monkeypatch.setattr(module, "MAX_ROWS", 50)
        lines = [f"tee,Tee,Size,{n},,1" for n in range(53)]
        result, rejected = await run(Memory(), tmp_path, table(*lines))
        assert counts(result) == (50, 0, 0, 3)
        assert {row.reason for row in rejected} == {"the handle has more than 50 rows"}

    @pytest.mark.parametrize(
        ("status", "published", "expected"),
        [
            ("Active", "TRUE", "active"),
            ("active", "FAUX", "draft"),
            ("Aktiv", None, "active"),
            ("Entwurf", "WAHR", "draft"),
            ("アーカイブ済み", None, "archived"),
            ("archived", "FALSE", "archived"),
            ("unlisted", "TRUE", "draft"),
            (None, "FALSE", "draft"),
            (None, "TRUE", "active"),
            (None, None, None),
        ],
    )
    def test_status_words(self, status, published, expected):
        assert status_of(status, published) == expected

    @pytest.mark.parametrize(
        ("status", "published"), [("publik", None), ("active", "perhaps"), (None, "2"), ("true", "TRUE")]
    )
    def test_any_other_word_is_refused(self, status, published):
        with pytest.raises(ValueError, match="is n"):
            status_of(status, published)


# Few values, so that they repeat; hostile ones among them.
HANDLES = st.sampled_from(["tee", "tee-2", "Tee", "K1", "x" * 80, "a b", "'q", "facets", "é", "e\u0301", ""])
SKUS = st.sampled_from(["", "", "K1", "K-1", "K/1", "tee", "'K1", "k" * 70, "k" * 71, "facets", "🔥", "=1", "K1 "])
VALUES = st.sampled_from(["", "Default Title", "S", "M", " S", "a/b", "é", "e\u0301", "x" * 300])
PRICES = st.sampled_from(["1.00", "1.00", "2", "", "oops", "1.500", "-1", "1,5"])
WORDS = st.sampled_from(["", "TRUE", "FAUX", "perhaps", "0"])
ROWS = st.tuples(
    HANDLES, st.sampled_from(["T", "", "x" * 256]), VALUES, SKUS, PRICES, WORDS, st.sampled_from(["", "🔥, a", "a"])
)
COLUMNS = ["Handle", "Title", "Option1 Value", "Variant SKU", "Variant Price", "Published", "Tags"]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(ROWS, max_size=12),
    missing=st.sets(st.sampled_from(["Variant SKU", "Published", "Tags", "Option1 Value"])),
    first=st.integers(0, 12),
)
async def test_variants_in_are_products_stored_and_rows_rejected(tmp_path, table, missing, first):
    """The rules of every import: nothing is lost, nothing is public that the file does not call public in a known
    word, and a second import changes nothing."""
    keep = [n for n, column in enumerate(COLUMNS) if column not in missing]
    out = io.StringIO(newline="")
    csv.writer(out).writerows([[row[n] for n in keep] for row in (COLUMNS, *table)])
    memory = Memory()
    if first < len(table):  # a part of the file was imported before
        part = io.StringIO(newline="")
        csv.writer(part).writerows([[row[n] for n in keep] for row in (COLUMNS, *table[:first])])
        await run(memory, tmp_path, part.getvalue())
    before = len(memory.products)
    result, rejected = await run(memory, tmp_path, out.getvalue())
    assert result.rejected == len(rejected) == len({row.number for row in rejected})
    assert len(memory.products) == before + result.created
    # Rows without any cell of a variant are images, or the only variant of a handle.
    cells = [dict(zip(COLUMNS, row, strict=True)) for row in table]
    own = {"Option1 Value", "Variant SKU", "Variant Price"} - missing
    assert result.rows >= sum(any(row[column].strip() for column in own) for row in cells)
    if "Published" not in missing and not any(row["Published"] in ("", "TRUE") for row in cells):
        assert {product.status for product in memory.products.values()} <= {"draft"}
    again, _ = await run(memory, tmp_path, out.getvalue())
    assert counts(again) == (0, 0, result.created + result.updated + result.unchanged, result.rejected)


class TestExport:
    async def exported(self, products: Any, file: Path) -> tuple[int, dict[str, int]]:
        with file.open("w", newline="") as out:
            count, different = await export_shopify(products.each(), out)
        return count, dict(different)

    async def test_what_was_imported_is_unchanged_by_its_export(self, catalogue, tmp_path, shop):
        head = (
            "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Variant SKU,"
            "Variant Price,Variant Compare At Price,Variant Inventory Qty,Image Src,Variant Image"
        )
        lines = [
            'tee,Tee,"<p>a &amp; b</p><ul><li>c</li></ul>",V,Shirts,"a, b",TRUE,Size,S,K1,1.99,2.99,3,https://i.example/1,https://i.example/s',
            "tee,,,,,,,,M,K1,1.99,,4,https://i.example/2,https://i.example/m",
            "tee,,,,,,,,,,,,,https://i.example/3,",
            "cap,Cap,,,,,FALSE,,,,5.00,,,,",
            "mug,Mug,,,,,,Size,1\u00a0l,'0042,5.00,,,,",
        ]
        await run(catalogue, tmp_path, table(*lines, head=head))
        await shop.products.add(ProductIn(**a_product(price=EURO, description="a  b\n\n  c", sku="A/1", weight_g=0)))
        await shop.products.add(ProductIn(**a_product(product_id="archived", price=EURO, status="archived")))
        file = tmp_path / "out.csv"
        assert await self.exported(catalogue, file) == (6, {})
        assert file.read_text().splitlines()[0] == ",".join(TEMPLATE)
        assert counts((await run(catalogue, tmp_path, file.read_text()))[0]) == (0, 0, 6, 0)
        again = tmp_path / "again.csv"
        await self.exported(catalogue, again)
        assert again.read_bytes() == file.read_bytes()

    async def test_what_the_template_cannot_say_is_counted_as_an_import_would_change_it(
        self, catalogue, tmp_path, shop
    ):
        options = [{"name": str(n), "value": "x"} for n in range(4)]
        bodies = [
            a_product(product_id="a", price=EURO, group="g", options=options, name="A - x / x / x / x"),
            a_product(product_id="b", price=EURO, group="g", options=[{"name": "n", "value": "v"}], name="B"),
            a_product(
                product_id="c", price=EURO, group="g", options=[{"name": "n", "value": "w"}], name="C - w", brand=None
            ),
        ]
        for body in bodies:
            await shop.products.add(ProductIn(**body))
        file = tmp_path / "out.csv"
        count, different = await self.exported(catalogue, file)
        assert (count, different) == (3, {"options": 1, "name": 2, "brand": 1})
        assert counts((await run(catalogue, tmp_path, file.read_text()))[0]) == (1, 2, 0, 0)

    async def test_several_currencies_are_refused(self, catalogue, tmp_path, shop):
        for id_, currency in (("a", "EUR"), ("b", "USD")):
            await shop.products.add(ProductIn(**a_product(product_id=id_, price={"amount": 1, "currency": currency})))
        with pytest.raises(SeveralCurrencies):
            await self.exported(catalogue, tmp_path / "out.csv")


class TestHtml:
    @given(st.text("ab<>&- \n\t\r\"'\u00a0é", max_size=30).map(str.strip))
    def test_text_comes_back(self, text):
        assert text_of(html_of(text)) == text
