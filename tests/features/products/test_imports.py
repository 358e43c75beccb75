"""Imports over HTTP, on the real engines."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shop_api.audit.models import AuditQuery
from shop_api.container import Services
from shop_api.features.products.imports.repository import BUCKET, IMPORTS
from shop_api.features.products.imports.router import MAX_FILE_BYTES
from shop_api.features.users.repository import USERS
from shop_api.storage.mongo.files import FileStore, file_collections
from shop_api.storage.mongo.leases import kept, try_acquire
from support.factories import a_product
from support.patience import PATIENCE

CSV = {"Content-Type": "text/csv"}
JSON = {"Content-Type": "application/json"}
JSONL = {"Content-Type": "application/x-ndjson"}
TEAS = b"product_id,name,price,stock\na,Assam,9.50,1\nb,Bad,oops,1\nc,Ceylon,8.00,2\n"


def lines(count: int, **fields: Any) -> bytes:
    products = (a_product(product_id=f"p-{n:05}", **fields) for n in range(count))
    return "\n".join(map(json.dumps, products)).encode()


async def over(client: httpx.AsyncClient, import_id: str) -> dict[str, Any]:
    """The job, once it is over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            response = await client.get(f"/imports/{import_id}")
            assert response.status_code == 200
            job: dict[str, Any] = response.json()
            if job["state"] not in ("queued", "running"):
                return job
            await asyncio.sleep(0.02)


async def imported(client: httpx.AsyncClient, content: bytes, headers: Any, **query: Any) -> dict[str, Any]:
    response = await client.post("/products/import", content=content, headers=headers, params=query)
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/imports/{job['import_id']}"
    return await over(client, job["import_id"])


def counts(job: dict[str, Any]) -> tuple[int, int, int, int]:
    return job["created"], job["updated"], job["unchanged"], job["rejected"]


async def files_of(shop: Services) -> list[int]:
    """How many documents the collections of files have."""
    return [await shop.database[spec.name].count_documents({}) for spec in file_collections(BUCKET)]


class Held:
    """While it is held, no instance runs imports."""

    def __init__(self, shop: Services) -> None:
        self._shop = shop

    async def __aenter__(self) -> None:
        lease = None
        while lease is None:
            lease = await try_acquire(self._shop.database, "imports", "a test")
        self._kept = kept(lease)
        await self._kept.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self._kept.__aexit__(None, None, None)
        self._shop.imports.added.set()


class TestImport:
    async def test_a_csv_file(self, admin, shop):
        job = await imported(admin, TEAS, CSV, set="price.currency=EUR", name="teas.csv")
        assert (job["state"], counts(job), job["error"]) == ("completed", (2, 0, 0, 1), None)
        assert (job["size_bytes"], job["position_bytes"], job["name"]) == (len(TEAS), len(TEAS), "teas.csv")
        [row] = job["rejected_rows"]
        assert (row["line"], row["product_id"]) == (3, "b")
        assert "is not a price" in row["reason"]
        assert (await admin.get("/products/a")).json()["price"] == {"amount": 950, "currency": "EUR"}
        [entry], _ = await shop.audit.list_page(AuditQuery(), None)
        assert entry.after == {"file": "teas.csv", "created": 2, "updated": 0, "unchanged": 0, "rejected": 1}
        assert (entry.action, entry.subject_id) == ("products_imported", job["import_id"])

    async def test_the_same_again_is_unchanged(self, admin):
        await imported(admin, lines(3), JSONL)
        assert counts(await imported(admin, lines(3), JSONL)) == (0, 0, 3, 0)

    async def test_a_json_array(self, admin):
        job = await imported(admin, json.dumps([a_product(), a_product(product_id="other")]).encode(), JSON)
        assert counts(job) == (2, 0, 0, 0)

    async def test_an_export_of_shopify_with_warnings(self, admin):
        text = "Handle,Title,Variant Price,Tags,Published\ntee,Tee,1.00,🔥,FAUX\n"
        job = await imported(admin, text.encode(), CSV, preset="shopify", set="price.currency=EUR")
        assert counts(job) == (1, 0, 0, 0)
        [notice] = job["warnings"]
        assert (notice["warning"], notice["count"], notice["line"]) == ("tags: left out what is not valid", 1, 2)
        assert (await admin.get("/products/tee")).json()["status"] == "draft"

    async def test_columns_can_be_mapped_more_than_once(self, admin):
        query = [
            ("map", "product_id=SKU"),
            ("map", "name=Titel"),
            ("map", "price=Preis"),
            ("set", "price.currency=EUR"),
        ]
        response = await admin.post(
            "/products/import", content=b"SKU;Titel;Preis\nA/1;Tee;1.00\n", headers=CSV, params=query
        )
        assert counts(await over(admin, response.json()["import_id"])) == (1, 0, 0, 0)

    async def test_a_dry_run_stores_nothing(self, admin, shop):
        job = await imported(admin, lines(3), JSONL, dry_run=True)
        assert (counts(job), job["dry_run"]) == ((3, 0, 0, 0), True)
        assert await shop.products.size() == 0
        entries, _ = await shop.audit.list_page(AuditQuery(), None)
        assert entries == []

    async def test_a_reader_sees_what_it_changed(self, admin, anyone):
        await imported(admin, lines(1), JSONL)
        assert (await anyone.get("/products/p-00000")).json()["stock"] == 40
        await imported(admin, lines(1, stock=7), JSONL)
        for _ in range(100):
            if (await anyone.get("/products/p-00000")).json()["stock"] == 7:
                return
            await asyncio.sleep(0.05)
        pytest.fail("the cache still has the old product")

    async def test_names_at_most_a_thousand_rejected_rows(self, admin):
        job = await imported(admin, b"oops\n" * 2500, JSONL)
        assert (job["rejected"], len(job["rejected_rows"])) == (2500, 1000)

    @pytest.mark.parametrize(
        ("content", "headers", "error"),
        [
            (b"{}", JSON, "holds no JSON array"),
            (b"product_id,naem\n", CSV, "naem is not a field"),
            (b"\n", CSV, "no first"),
        ],
    )
    async def test_a_file_that_cannot_be_read_fails(self, admin, content, headers, error):
        job = await imported(admin, content, headers)
        assert (job["state"], counts(job)) == ("failed", (0, 0, 0, 0))
        assert error in job["error"]
        assert "/tmp" not in job["error"]


class TestUpload:
    async def test_needs_an_admin_before_the_body_is_read(self, anyone, user, shop):
        async def body() -> AsyncIterator[bytes]:
            pytest.fail("the body was read")
            yield b""

        for client, status in ((anyone, 401), (user, 403)):
            response = await client.post("/products/import", content=body(), headers=CSV)
            assert response.status_code == status
        assert await files_of(shop) == [0, 0]

    async def test_of_an_admin_who_is_disabled_meanwhile_is_refused(self, admin, shop):
        async def body() -> AsyncIterator[bytes]:
            yield TEAS
            await shop.database[USERS.name].update_many({}, {"$set": {"disabled": True}})

        response = await admin.post(
            "/products/import", content=body(), headers=CSV, params={"set": "price.currency=EUR"}
        )
        assert response.status_code == 401
        assert await files_of(shop) == [0, 0]
        assert await shop.database[IMPORTS.name].count_documents({}) == 0

    @pytest.mark.parametrize(
        ("headers", "query", "content", "status", "code"),
        [
            ({"Content-Type": "text/plain"}, {}, TEAS, 415, "unsupported_media_type"),
            (CSV, {"map": "naem=x"}, TEAS, 422, "invalid_request"),
            (CSV, {"set": "price.currency=EURO"}, TEAS, 422, "invalid_request"),
            (JSONL, {"preset": "shopify"}, TEAS, 422, "invalid_request"),
            (CSV, {"dry_run": ["true", "false"]}, TEAS, 422, "invalid_request"),
            (CSV, {"unknown": "1"}, TEAS, 422, "invalid_request"),
            (CSV, {}, b"", 422, "invalid_request"),
            (CSV | {"Idempotency-Key": "ä"}, {}, TEAS, 422, "invalid_request"),
        ],
    )
    async def test_what_is_wrong_is_said(self, admin, shop, headers, query, content, status, code):
        headers = {name: value.encode("latin-1") for name, value in headers.items()}
        response = await admin.post("/products/import", content=content, headers=headers, params=query)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert await files_of(shop) == [0, 0]

    async def test_more_than_the_limit_is_413(self, admin, shop):
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(MAX_FILE_BYTES // 2**20 + 1):
                yield bytes(2**20)

        response = await admin.post("/products/import", content=endless(), headers=CSV)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert await files_of(shop) == [0, 0]

    async def test_is_stored_in_pieces_and_read_back(self, database):
        for spec in file_collections("bucket"):
            assert spec.name.startswith("bucket.")
        store, content = FileStore(database, "bucket"), bytes(range(256)) * 12_345

        async def parts() -> AsyncIterator[bytes]:
            for start in range(0, len(content), 70_001):
                yield content[start : start + 70_001]

        file_id, size = await store.write(parts())
        assert size == len(content)
        assert b"".join([part async for part in store.read(file_id)]) == content
        await store.remove_older(datetime.now(UTC) - timedelta(minutes=1), None)
        assert await database["bucket.chunks"].count_documents({}) > 1
        await store.remove_older(datetime.now(UTC) + timedelta(minutes=1), file_id)
        assert await database["bucket.chunks"].count_documents({}) > 1
        await store.remove_older(datetime.now(UTC) + timedelta(minutes=1), None)
        assert await database["bucket.chunks"].count_documents({}) == 0
        assert await database["bucket.files"].count_documents({}) == 0


class TestOneAtATime:
    async def test_another_one_is_409(self, admin, shop):
        async with Held(shop):
            first = (await admin.post("/products/import", content=lines(1), headers=JSONL)).json()
            second = await admin.post("/products/import", content=lines(1), headers=JSONL)
            assert (second.status_code, second.json()["code"]) == (409, "import_running")
            assert second.json()["import_id"] == first["import_id"]
        assert (await over(admin, first["import_id"]))["state"] == "completed"
        assert counts(await imported(admin, lines(1), JSONL)) == (0, 0, 1, 0)

    async def test_of_ten_at_once_one_is_added(self, admin, shop):
        async with Held(shop):
            uploads = [admin.post("/products/import", content=lines(50), headers=JSONL) for _ in range(10)]
            answers = await asyncio.gather(*uploads)
            assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9
            assert (await files_of(shop))[0] == 1
        [job] = [answer.json() for answer in answers if answer.status_code == 202]
        await over(admin, job["import_id"])


class TestIdempotency:
    async def test_the_same_key_is_the_same_import(self, admin, shop):
        keyed = JSONL | {"Idempotency-Key": "k-1"}
        async with Held(shop):
            first = await admin.post("/products/import", content=lines(2), headers=keyed)
            again = await admin.post("/products/import", content=lines(2), headers=keyed)
            assert (first.status_code, again.status_code) == (202, 202)
            assert again.headers["idempotent-replayed"] == "true"
            assert again.json() == first.json()
            assert (await files_of(shop))[0] == 1
        await over(admin, first.json()["import_id"])

    async def test_for_something_else_is_422(self, admin, shop):
        keyed = JSONL | {"Idempotency-Key": "k-2"}
        job = (await admin.post("/products/import", content=lines(2), headers=keyed)).json()
        for content, query in ((lines(3), {}), (lines(2), {"dry_run": "true"})):
            response = await admin.post("/products/import", content=content, headers=keyed, params=query)
            assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
        await over(admin, job["import_id"])
        assert (await files_of(shop))[0] == 1


class TestCancel:
    async def test_a_queued_one_never_runs(self, admin, shop):
        async with Held(shop):
            job = (await admin.post("/products/import", content=lines(1), headers=JSONL)).json()
            cancelled = (await admin.delete(f"/imports/{job['import_id']}")).json()
            assert cancelled["state"] == "cancelled"
        assert (await admin.delete(f"/imports/{job['import_id']}")).json() == cancelled
        assert await shop.products.size() == 0

    async def test_a_running_one_stops(self, admin, shop):
        job = (await admin.post("/products/import", content=lines(20_000), headers=JSONL)).json()
        while await shop.products.size() == 0:
            await asyncio.sleep(0.01)
        cancelled = (await admin.delete(f"/imports/{job['import_id']}")).json()
        assert cancelled["state"] == "cancelled"
        assert counts(await imported(admin, lines(1), JSONL)) == (0, 0, 1, 0)  # after it has stopped
        stored = await shop.products.size()
        await asyncio.sleep(0.5)
        assert await shop.products.size() == stored < 20_000
        entries, _ = await shop.audit.list_page(AuditQuery(), None)
        assert [entry.subject_id for entry in entries].count(job["import_id"]) == 1

    async def test_one_that_is_over_does_not_change(self, admin):
        job = await imported(admin, lines(1), JSONL)
        assert (await admin.delete(f"/imports/{job['import_id']}")).json() == job

    async def test_an_unknown_one_is_404(self, admin):
        for response in (await admin.get(f"/imports/{'0' * 36}"), await admin.delete(f"/imports/{'0' * 36}")):
            assert (response.status_code, response.json()["code"]) == (404, "import_not_found")


class TestInterrupted:
    async def test_goes_on_after_the_last_recorded_batch_with_the_same_counts(self, admin, shop):
        """As after kill -9 between a batch and its record: the batch is stored, and counted by the next instance."""
        content = lines(2_500) + b"\noops\n" + lines(1)
        job = await imported(admin, content, JSONL)
        assert counts(job) == (2500, 0, 0, 2)
        before = await shop.database["products"].find_one({"_id": "p-00000"})
        unfinished = {
            "$set": {"state": "running", "created": 1000, "rejected": 0, "rejected_rows": []},
            "$unset": {"expires_at": ""},
        }
        await shop.database[IMPORTS.name].update_one({"_id": job["import_id"]}, unfinished)
        await shop.database[IMPORTS.name].insert_one({"_id": "active", "import_id": job["import_id"]})
        shop.imports.added.set()
        again = await over(admin, job["import_id"])
        # What was stored after the start of the import counts as created by it, in the batch that was not recorded.
        assert (again["created"] + again["unchanged"], again["rejected"]) == (2500, 2)
        assert (again["created"], [row["line"] for row in again["rejected_rows"]]) == (2000, [2501, 2502])
        assert await shop.database["products"].find_one({"_id": "p-00000"}) == before

    async def test_files_go_after_a_day(self, admin, shop):
        await imported(admin, lines(1), JSONL)
        await shop.import_runner.remove_old_files()
        assert await files_of(shop) == [1, 1]
        await FileStore(shop.database, BUCKET).remove_older(datetime.now(UTC) + timedelta(seconds=1), None)
        assert await files_of(shop) == [0, 0]
