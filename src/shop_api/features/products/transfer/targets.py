"""Where an import stores products: the repository, or nowhere in a dry run."""

from collections.abc import Collection, Sequence
from typing import Protocol

from shop_api.features.products.models import Product
from shop_api.features.products.repository import ProductRepository


class Products(Protocol):
    """Storage of an import: the repository, or DryRunRepository in a dry run."""

    async def find_many(self, product_ids: Collection[str]) -> dict[str, Product]: ...

    async def find_variants(self, groups: Collection[str]) -> list[Product]: ...

    async def put_many(self, new: Sequence[Product], changed: Sequence[Product]) -> set[str]: ...


class DryRunRepository:
    """Reads the database, but stores nothing."""

    def __init__(self, products: ProductRepository) -> None:
        self._products = products

    async def find_many(self, product_ids: Collection[str]) -> dict[str, Product]:
        return await self._products.find_many(product_ids)

    async def find_variants(self, groups: Collection[str]) -> list[Product]:
        return await self._products.find_variants(groups)

    async def put_many(self, new: Sequence[Product], changed: Sequence[Product]) -> set[str]:
        return set()
