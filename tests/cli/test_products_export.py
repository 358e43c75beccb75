"""`shop-api products export`: what it writes can be imported again, unchanged."""

import asyncio
import csv
import io
import json
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymongo import MongoClient

from shop_api.cli.import_report import rejections
from shop_api.features.products.models import DEFAULTS, Product, ProductIn
from shop_api.features.products.repository import PRODUCTS, ProductRepository
from shop_api.features.products.transfer import importing, rows
from shop_api.features.products.transfer.exporting import export, whole_file
from shop_api.features.products.transfer.formulas import escaped
from shop_api.features.products.transfer.importing import Importer
from shop_api.features.products.transfer.results import Rejected
from shop_api.kernel.clock import utc_now
from shop_api.storage.mongo.collections import ensure_collection
from support.factories import a_product
from support.processes import SHOP_API, environment

AWKWARD = [
    a_product(product_id="plain"),
    {"product_id": "bare", "name": "Bare", "price": {"amount": 0, "currency": "JPY"}, "status": "draft"},
    a_product(
        product_id="awkward",
        name='Tea, "strong"; 茶 ',
        description='first\nsecond\r\nthird\rfourth,"quoted"\t',
        status="archived",
        tags=["a", "a"],
        images=["https://i.example/a,b.jpg", "https://i.example/?x=1,https://j.example/"],
        attributes={"n": 1, "t": "1", "f": 1.5, "b": False, "e": "", "json": '{"a": 1}', "big": 1e300, "ü": "[1]"},
    ),
    a_product(
        product_id="variant",
        sku="A/1 (ä)",
        barcode="4006381333931",
        group="tea",
        options=[{"name": "Größe, cm", "value": '1"'}, {"name": "_x", "value": "=1"}],
        position=0,
        compare_at_price={"amount": 9900, "currency": "INR"},
        tax_class="reduced",
        weight_g=0,
        requires_shipping=False,
    ),
    a_product(product_id="commas", images=["https://i.example/a,b.jpg", "https://i.example/c.jpg"]),
]


@pytest.fixture
async def catalogue(database) -> ProductRepository:
    """Through each driver, with products of all kinds."""
    repository = ProductRepository(database)
    await ensure_collection(database, PRODUCTS)
    return repository


async def imported(catalogue: ProductRepository, file: Path) -> tuple[int, int, int, int]:
    with rows.open_rows(file, rows.format_of(file)) as source:
        plan = importing.plan(source, None, [], [])
        importer = Importer(catalogue, plan.mapping, utc_now, print)
        async for _ in importer.run(plan.rows):
            pass
    done = importer.result
    return done.created, done.updated, done.unchanged, done.rejected


@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
async def test_what_was_exported_is_unchanged_when_imported(catalogue, tmp_path, form):
    given = tmp_path / "given.json"
    given.write_text(json.dumps(AWKWARD))
    assert await imported(catalogue, given) == (5, 0, 0, 0)
    file = tmp_path / f"out.{form}"
    with whole_file(file) as out:
        assert await export(catalogue.each(), form, out) == 5
    assert await imported(catalogue, file) == (0, 0, 5, 0)
    again = tmp_path / f"again.{form}"
    with whole_file(again) as out:
        await export(catalogue.each(), form, out)
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
async def test_an_export_brings_everything_back(catalogue, database, tmp_path, form):
    given = tmp_path / "given.json"
    given.write_text(json.dumps(AWKWARD))
    await imported(catalogue, given)
    file, again = tmp_path / f"out.{form}", tmp_path / f"again.{form}"
    with whole_file(file) as out:
        await export(catalogue.each(), form, out)
    await database[PRODUCTS.name].delete_many({})
    assert await imported(catalogue, file) == (5, 0, 0, 0)
    with whole_file(again) as out:
        await export(catalogue.each(), form, out)
    assert again.read_bytes() == file.read_bytes()


async def test_has_the_fields_of_a_new_product_and_nothing_else(catalogue, tmp_path):
    given = tmp_path / "given.json"
    given.write_text(json.dumps([a_product()]))
    await imported(catalogue, given)
    out = io.StringIO()
    await export(catalogue.each(), "jsonl", out)
    assert json.loads(out.getvalue()) == {**DEFAULTS, **a_product()}


@pytest.mark.parametrize(("form", "text"), [("jsonl", ""), ("json", "[]\n")])
async def test_nothing_is_a_file_too(catalogue, form, text):
    out = io.StringIO()
    assert await export(catalogue.each(), form, out) == 0
    assert out.getvalue() == text


async def test_more_than_one_answer_of_the_database(catalogue, tmp_path):
    given = tmp_path / "given.jsonl"
    given.write_text("\n".join(json.dumps(a_product(product_id=f"p-{n:04}")) for n in range(1500)))
    await imported(catalogue, given)
    out = io.StringIO()
    assert await export(catalogue.each(), "csv", out) == 1500
    ids = [row["product_id"] for row in csv.DictReader(io.StringIO(out.getvalue(), newline=""))]
    assert ids == [f"p-{n:04}" for n in range(1500)]


ONE_LINE = str.maketrans("\t\r\n", "---")
FORMULAS = ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "＝1"]


async def each(*products: Product) -> AsyncIterator[Product]:
    for product in products:
        yield product


def stored(**fields: Any) -> Product:
    now = utc_now()
    product = ProductIn.model_validate(a_product(**fields))
    return Product.of(dict(product) | {"version": 1, "created_at": now, "updated_at": now})


def written(product: Product, *, raw: bool = False) -> str:
    """The product as CSV."""
    out = io.StringIO()
    asyncio.run(export(each(product), "csv", out, raw=raw))
    return out.getvalue()


def read_again(text: str, file: Path, *, raw: bool = False) -> Product:
    """The only product of a CSV file with this text."""
    file.write_bytes(text.encode())
    with rows.open_rows(file, "csv") as source:
        plan = importing.plan(source, None, [], [], raw=raw)
        [row] = plan.rows
        return plan.mapping.changes(row.values).new_product("tea", None, utc_now())


def cell_of(text: str, column: str) -> str:
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    return row[column]


class TestFormulas:
    """Spreadsheets run a cell as a formula if it begins with one of a few characters (OWASP, CSV Injection)."""

    @pytest.mark.parametrize("text", [text for text in FORMULAS if text == text.strip()])
    @pytest.mark.parametrize("apostrophes", ["", "'", "''"])
    def test_are_escaped_with_one_apostrophe(self, text, apostrophes):
        csv_text = written(stored(description=apostrophes + text))
        assert cell_of(csv_text, "description") == f"'{apostrophes}{text}"

    @pytest.mark.parametrize("column", ["name", "brand", "description"])
    def test_are_escaped_in_every_column_with_text(self, column):
        assert cell_of(written(stored(**{column: "=1"})), column) == "'=1"

    @pytest.mark.parametrize("text", FORMULAS)
    def test_are_escaped_in_any_cell(self, text):
        assert escaped(text) == f"'{text}"

    @pytest.mark.parametrize("text", ["a=1", "'quoted'", "''", "3-4"])
    def test_nothing_else_is(self, text):
        assert cell_of(written(stored(description=text)), "description") == text

    def test_raw_writes_texts_as_they_are(self, tmp_path):
        text = written(stored(description="'=1"), raw=True)
        assert cell_of(text, "description") == "'=1"
        assert read_again(text, tmp_path / "raw.csv", raw=True).description == "'=1"

    @pytest.mark.parametrize("raw", [False, True])
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(start=st.text("'=+-@\t\r\n＝ "), rest=st.text("=,'\";\r\n\t-ax1", min_size=1))
    def test_every_text_comes_back(self, tmp_path, raw, start, rest):
        fields = {"name": f"{start.translate(ONE_LINE)}x", "description": start + rest, "brand": f"'={rest}"}
        try:
            product = stored(**fields)
        except ValidationError:
            reject()
        again = read_again(written(product, raw=raw), tmp_path / "out.csv", raw=raw)
        assert again.content() == product.content()

    @pytest.mark.parametrize("field", ["stock", "price"])
    def test_no_number_is_negative(self, field):
        with pytest.raises(ValidationError):
            stored(**{field: {"amount": -1, "currency": "USD"} if field == "price" else -1})

    def test_the_list_of_rejected_rows_is_escaped_too(self, tmp_path):
        file = tmp_path / "given.json"
        file.write_text("[]")
        listing = tmp_path / "rejected.csv"
        with rows.open_rows(file, "json") as source, rejections(listing, source) as reject_row:
            reject_row(Rejected(1, "=1", "@x is not a field"))
        assert listing.read_text().splitlines()[1] == "1,'=1,'@x is not a field"

    def test_files_of_shopify_are_read_as_they_are(self, tmp_path):
        file = tmp_path / "shopify.csv"
        file.write_text("Handle,Title,Variant Price\ntea,'-10 %,1.00\n")
        with rows.open_rows(file, "csv") as source:
            [row] = importing.plan(source, "shopify", [], ["price.currency=USD"]).rows
        assert row.values["name"] == "'-10 %"


class TestFile:
    def test_appears_only_when_it_is_whole(self, tmp_path):
        file = tmp_path / "out.jsonl"
        file.write_text("before")
        with pytest.raises(UnicodeEncodeError), whole_file(file) as out:
            out.write("half, \ud800")
        assert file.read_text() == "before"
        assert list(tmp_path.iterdir()) == [file]

    def test_a_device_is_written_as_it_is(self):
        with whole_file(Path("/dev/null")) as out:
            out.write("gone")
        assert not Path("/dev/null").is_file()


class TestCommand:
    @pytest.fixture
    def env(self, engines):
        name = f"test-{uuid.uuid4().hex[:12]}"
        settings = engines.model_copy(update={"mongo_db": name})
        yield environment(settings) | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        with MongoClient[dict](settings.required()[0]) as client:
            client.drop_database(name)

    @staticmethod
    def shop_api(env, folder, *arguments: Any) -> subprocess.CompletedProcess[bytes]:
        command = [SHOP_API, "products", *arguments]
        return subprocess.run(command, env=env, cwd=folder, capture_output=True, timeout=60, check=False)

    def test_writes_utf8_to_a_file_or_standard_output(self, env, tmp_path):
        (tmp_path / "given.json").write_text(json.dumps(AWKWARD))
        assert self.shop_api(env, tmp_path, "import", "given.json").returncode == 0
        printed = self.shop_api(env, tmp_path, "export")
        assert printed.returncode == 0, printed.stderr
        assert len(printed.stdout.decode().splitlines()) == 5
        assert "茶" in printed.stdout.decode()
        assert self.shop_api(env, tmp_path, "export", "out.csv").returncode == 0
        assert (tmp_path / "out.csv").read_bytes().startswith(b"product_id,sku,")

    def test_misuse_is_said_and_exits_with_2(self, env, tmp_path):
        for file, message in (("out.xml", b"no known format"), ("no/such/out.csv", b"No such file or directory")):
            done = self.shop_api(env, tmp_path, "export", file)
            assert done.returncode == 2
            assert message in done.stderr
            assert b"Traceback" not in done.stderr
