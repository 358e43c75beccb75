"""The rules of the catalogue, where several change one product at once."""

import asyncio
from typing import Any

import pytest

from shop_api.features.products.errors import ProductNotFound
from shop_api.features.products.models import ProductIn
from shop_api.kernel.errors import VersionConflict
from support.factories import a_product


def given(**fields: object) -> ProductIn:
    return ProductIn.model_validate(a_product(**fields))


class TestReplace:
    async def test_of_fifty_editors_of_one_version_one_wins(self, shop):
        await shop.products.add(given())
        rivals = [shop.products.replace("tea-assam-250", given(stock=1000 + n), frozenset({1})) for n in range(50)]
        outcomes = await asyncio.gather(*rivals, return_exceptions=True)
        [winner] = [each for each in outcomes if not isinstance(each, BaseException)]
        refused = [each for each in outcomes if isinstance(each, VersionConflict)]
        assert (len(refused), winner.version) == (49, 2)
        assert await shop.products.get("tea-assam-250", None) == winner

    async def test_fifty_editors_of_any_version_all_count(self, shop):
        await shop.products.add(given())
        rivals = [shop.products.replace("tea-assam-250", given(stock=1000 + n), None) for n in range(50)]
        outcomes = await asyncio.gather(*rivals)
        assert sorted(each.version for each in outcomes) == list(range(2, 52))
        assert sorted(each.stock for each in outcomes) == list(range(1000, 1050))
        assert await shop.products.get("tea-assam-250", None) == max(outcomes, key=lambda each: each.version)

    async def test_of_many_who_say_the_same_one_changes_something(self, shop):
        await shop.products.add(given())
        rivals = [shop.products.replace("tea-assam-250", given(stock=7), None) for _ in range(20)]
        assert {each.version for each in await asyncio.gather(*rivals)} == {2}

    async def test_what_was_removed_meanwhile_does_not_come_back(self, shop):
        for n in range(10):
            await shop.products.add(given(product_id=f"p-{n}"))
            change = shop.products.replace(f"p-{n}", given(product_id=None, stock=7), None)
            removal = shop.products.remove(f"p-{n}", None)
            outcomes: Any = await asyncio.gather(change, removal, return_exceptions=True)
            changed, removed = outcomes
            assert removed is None
            assert isinstance(changed, ProductNotFound) or changed.version == 2
            with pytest.raises(ProductNotFound):
                await shop.products.remove(f"p-{n}", None)


class TestRemove:
    async def test_a_change_and_a_removal_of_one_version_do_not_both_happen(self, shop):
        for n in range(10):
            await shop.products.add(given(product_id=f"p-{n}"))
            change = shop.products.replace(f"p-{n}", given(product_id=None, stock=7), frozenset({1}))
            removal = shop.products.remove(f"p-{n}", frozenset({1}))
            outcomes = await asyncio.gather(change, removal, return_exceptions=True)
            failures = [each for each in outcomes if isinstance(each, VersionConflict | ProductNotFound)]
            assert len(failures) == 1
