"""Whether this instance lives, and whether it can serve."""

import asyncio
from collections.abc import Awaitable
from typing import Literal, NamedTuple

from fastapi import APIRouter

from shop_api import mongo
from shop_api.dependencies import Shop, ShopDep
from shop_api.errors import NotReady
from shop_api.problems import problems
from shop_api.redis import RedisError
from shop_api.routing import StrictRoute
from shop_api.schema import Schema

router = APIRouter(prefix="/health", tags=["Operations"], route_class=StrictRoute)

State = Literal["up", "down"]


class Live(Schema):
    """The process answers."""

    status: Literal["ok"]


class Ready(Schema):
    """What the service stands on."""

    status: Literal["ready"]
    mongo: State
    redis: State
    """The service works without it, more slowly."""


class Engines(NamedTuple):
    mongo: State
    redis: State


@router.get("/live", responses=problems())
async def get_liveness() -> Live:
    """Says that the process answers; asks nothing else."""
    return Live(status="ok")


@router.get("/ready", responses=problems(NotReady))
async def get_readiness(shop: ShopDep) -> Ready:
    """Says whether requests can be served: 503 without the database, 200 without Redis."""
    engines = await check(shop)
    if engines.mongo == "down":
        raise NotReady("The database does not answer.")
    return Ready(status="ready", mongo=engines.mongo, redis=engines.redis)


async def check(shop: Shop) -> Engines:
    """Asks both engines whether they answer."""
    return Engines(*await asyncio.gather(_state(mongo.ping(shop.database)), _state(shop.redis.ping())))


async def _state(ping: Awaitable[object]) -> State:
    try:
        async with asyncio.timeout(2):
            await ping
    except (mongo.PyMongoError, RedisError, TimeoutError):
        return "down"
    return "up"
