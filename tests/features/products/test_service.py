"""The rules of the catalogue, where several change one product at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from shop_api.audit.models import AuditContext, AuditEntry, AuditEvent, AuditQuery
from shop_api.audit.repository import AuditLog
from shop_api.container import Services
from shop_api.features.products.errors import ProductNotFound
from shop_api.features.products.models import MoneyPatch, ProductIn, ProductPatch
from shop_api.features.products.repository import ProductRepository
from shop_api.features.products.service import ProductService
from shop_api.kernel.clock import utc_now
from shop_api.kernel.errors import VersionConflict
from shop_api.kernel.versions import ANY_VERSION, ExpectedVersions
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.transactions import Session, Transactions
from support.factories import a_product, changes
from support.patience import PATIENCE

ROOT = AuditContext("root", "127.0.0.1", "request")


def given(**fields: object) -> ProductIn:
    return ProductIn.model_validate(a_product(**fields))


class TestReplace:
    async def test_of_fifty_editors_of_one_version_one_wins(self, shop):
        added = await shop.products.add(given())
        only = ExpectedVersions(frozenset({added.version}))
        rivals = [shop.products.replace("tea-assam-250", given(stock=1000 + n), only, ROOT) for n in range(50)]
        outcomes = await asyncio.gather(*rivals, return_exceptions=True)
        [winner] = [each for each in outcomes if not isinstance(each, BaseException)]
        refused = [each for each in outcomes if isinstance(each, VersionConflict)]
        assert (len(refused), changes(winner)) == (49, 1)
        assert await shop.products.get("tea-assam-250", None) == winner.model_dump()

    async def test_fifty_editors_of_any_version_all_count(self, shop):
        await shop.products.add(given())
        rivals = [shop.products.replace("tea-assam-250", given(stock=1000 + n), ANY_VERSION, ROOT) for n in range(50)]
        outcomes = await asyncio.gather(*rivals)
        assert sorted(map(changes, outcomes)) == list(range(1, 51))
        assert sorted(each.stock for each in outcomes) == list(range(1000, 1050))
        newest = max(outcomes, key=lambda each: each.version)
        assert await shop.products.get("tea-assam-250", None) == newest.model_dump()

    async def test_of_many_who_say_the_same_one_changes_something(self, shop):
        await shop.products.add(given())
        rivals = [shop.products.replace("tea-assam-250", given(stock=7), ANY_VERSION, ROOT) for _ in range(20)]
        assert {changes(each) for each in await asyncio.gather(*rivals)} == {1}

    async def test_what_was_removed_meanwhile_does_not_come_back(self, shop):
        for n in range(10):
            await shop.products.add(given(product_id=f"p-{n}"))
            change = shop.products.replace(f"p-{n}", given(product_id=None, stock=7), ANY_VERSION, ROOT)
            removal = shop.products.remove(f"p-{n}", ANY_VERSION, ROOT)
            outcomes: Any = await asyncio.gather(change, removal, return_exceptions=True)
            changed, removed = outcomes
            assert removed is None
            assert isinstance(changed, ProductNotFound) or changes(changed) == 1
            with pytest.raises(ProductNotFound):
                await shop.products.remove(f"p-{n}", ANY_VERSION, ROOT)


class TestRemove:
    async def test_a_change_and_a_removal_of_one_version_do_not_both_happen(self, shop):
        for n in range(10):
            added = await shop.products.add(given(product_id=f"p-{n}"))
            only = ExpectedVersions(frozenset({added.version}))
            change = shop.products.replace(f"p-{n}", given(product_id=None, stock=7), only, ROOT)
            removal = shop.products.remove(f"p-{n}", only, ROOT)
            outcomes = await asyncio.gather(change, removal, return_exceptions=True)
            failures = [each for each in outcomes if isinstance(each, VersionConflict | ProductNotFound)]
            assert len(failures) == 1


class Counted(Transactions):
    """Counts how many are opened."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.opened = 0

    async def run(self, work: Callable[[Session], Awaitable[Any]]) -> Any:
        self.opened += 1
        return await super().run(work)


class BrokenLog(AuditLog):
    """Fails after it has written."""

    async def record(self, events: Iterable[AuditEvent], context: AuditContext, session: Session | None) -> None:
        await super().record(events, context, session)
        raise RuntimeError("the audit log is broken")


def service(
    shop: Services, transactions: Transactions | None = None, audit: AuditLog | None = None
) -> ProductService:
    return ProductService(
        ProductRepository(shop.database),
        transactions or Transactions(shop.database),
        audit or shop.audit,
        shop.cursors,
        shop.cache,
        utc_now,
    )


async def entries(shop: Services) -> list[AuditEntry]:
    """All entries of the audit log, the oldest first."""
    found, _ = await shop.audit.list_page(AuditQuery(limit=100), None)
    return found[::-1]


TEA = "tea-assam-250"
CHEAP = {"amount": 100, "currency": "INR"}


async def remove_one_version(products: Any) -> None:
    current = await products.get(TEA, None)
    await products.remove(TEA, ExpectedVersions(frozenset({current["version"]})), ROOT)


AUDITED = {
    "a price by PUT": lambda products: products.replace(TEA, given(price=CHEAP), ANY_VERSION, ROOT),
    "a status by PATCH": lambda products: products.patch(TEA, ProductPatch(status="draft"), ANY_VERSION, ROOT),
    "a deletion": lambda products: products.remove(TEA, ANY_VERSION, ROOT),
    "a deletion of one version": remove_one_version,
}


class TestAudit:
    @pytest.mark.parametrize("how", AUDITED)
    async def test_without_its_entry_nothing_is_changed(self, shop, how):
        product = await shop.products.add(given())
        with pytest.raises(RuntimeError):
            await AUDITED[how](service(shop, audit=BrokenLog(shop.database, utc_now)))
        assert await ProductRepository(shop.database).get(TEA) == product
        assert await entries(shop) == []

    @pytest.mark.parametrize("how", AUDITED)
    async def test_a_price_a_status_and_a_deletion_take_one_transaction(self, shop, how):
        await shop.products.add(given())
        transactions = Counted(shop.database)
        await AUDITED[how](service(shop, transactions))
        assert (transactions.opened, len(await entries(shop))) == (1, 1)

    async def test_anything_else_takes_none_and_leaves_no_entry(self, shop):
        await shop.products.add(given())
        transactions = Counted(shop.database)
        products = service(shop, transactions)
        await products.replace(TEA, given(stock=7, name="Other tea"), ANY_VERSION, ROOT)
        await products.patch(TEA, ProductPatch(stock=8), ANY_VERSION, ROOT)
        await products.replace(TEA, given(stock=8, name="Other tea"), ANY_VERSION, ROOT)
        assert (transactions.opened, await entries(shop)) == (0, [])

    async def test_of_fifty_editors_of_a_price_each_has_an_entry_and_none_another(self, shop):
        await shop.products.add(given())
        products = service(shop, Transactions(shop.database, PATIENCE))
        prices = [MoneyPatch(amount=10_000 + n) for n in range(50)]
        changed = await asyncio.gather(
            *(products.patch(TEA, ProductPatch(price=price), ANY_VERSION, ROOT) for price in prices)
        )
        assert sorted(map(changes, changed)) == list(range(1, 51))
        told = await entries(shop)
        after = {entry.after["price_amount"]: entry.before["price_amount"] for entry in told}
        chain: list[str | int] = [max(changed, key=lambda each: each.version).price.amount]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        assert (len(told), len(chain), chain[-1]) == (50, 51, 2500)  # each begins with what the one before it left

    async def test_of_fifty_editors_of_one_version_one_leaves_an_entry(self, shop):
        added = await shop.products.add(given())
        only = ExpectedVersions(frozenset({added.version}))
        rivals = [given(price={"amount": n, "currency": "INR"}) for n in range(50)]
        products = service(shop, Transactions(shop.database, PATIENCE))
        outcomes: Any = await asyncio.gather(
            *(products.replace(TEA, rival, only, ROOT) for rival in rivals), return_exceptions=True
        )
        [winner] = [each for each in outcomes if not isinstance(each, VersionConflict)]
        [entry] = await entries(shop)
        assert entry.after["price_amount"] == winner.price.amount

    async def test_of_many_removals_at_once_one_leaves_an_entry(self, shop):
        await shop.products.add(given())
        products = service(shop, Transactions(shop.database, PATIENCE))
        outcomes = await asyncio.gather(
            *(products.remove(TEA, ANY_VERSION, ROOT) for _ in range(10)), return_exceptions=True
        )
        assert outcomes.count(None) == 1
        assert sum(isinstance(each, ProductNotFound) for each in outcomes) == 9
        [entry] = await entries(shop)
        assert entry.before == {"price_amount": 2500, "price_currency": "INR", "status": "active"}
