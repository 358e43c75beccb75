"""Overview of the service for the home page."""

import asyncio
from collections.abc import Awaitable

from shop_api import __version__
from shop_api.features.home.models import Home, Links
from shop_api.features.operations.service import HealthService
from shop_api.features.products.service import ProductService
from shop_api.features.users.service import UserService
from shop_api.storage.mongo.client import PyMongoError

_PATIENCE = 2


class OverviewService:
    def __init__(self, health: HealthService, products: ProductService, users: UserService) -> None:
        self._health = health
        self._products = products
        self._users = users

    async def get(self) -> Home:
        """Return the overview within two seconds. Values that take longer are unknown or `down`."""
        (mongo, redis), products, users = await asyncio.gather(
            self._health.check(), _if_known(self._products.size()), _if_known(self._users.size())
        )
        return Home(
            name="shop_api",
            version=__version__,
            status="down" if mongo == "down" else "degraded" if redis == "down" else "up",
            mongo=mongo,
            redis=redis,
            products=products,
            users=users,
            links=Links(docs="/docs", openapi="/openapi.json", products="/products"),
        )


async def _if_known(count: Awaitable[int]) -> int | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await count
    except (PyMongoError, TimeoutError):
        return None
