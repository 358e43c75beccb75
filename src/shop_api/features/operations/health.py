"""Whether this instance lives, and whether it can serve."""

import asyncio
from collections.abc import Awaitable
from typing import Literal, NamedTuple

from fastapi import APIRouter, Request, Response

from shop_api.container import Shop
from shop_api.http.dependencies import ShopDep
from shop_api.http.problems import problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.errors import NotReady
from shop_api.kernel.schema import Schema
from shop_api.observability.metrics import CONTENT_TYPE
from shop_api.storage.mongo import client as mongo
from shop_api.storage.redis.client import RedisError

router = APIRouter(tags=["Operations"], route_class=StrictRoute)

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


@router.get("/health/live", responses=problems())
async def get_liveness() -> Live:
    """Says that the process answers; asks nothing else."""
    return Live(status="ok")


@router.get("/health/ready", responses=problems(NotReady))
async def get_readiness(request: Request, shop: ShopDep) -> Ready:
    """Says whether requests can be served: 503 without the database or when stopping, 200 without Redis."""
    if request.app.state.draining.begun:
        raise NotReady("This instance is draining: it is about to stop.")
    engines = await check(shop)
    if engines.mongo == "down":
        raise NotReady("The database does not answer.")
    return Ready(status="ready", mongo=engines.mongo, redis=engines.redis)


@router.get("/metrics", include_in_schema=False)
async def get_metrics(request: Request, shop: ShopDep) -> Response:
    """What Prometheus asks for. Not in the document, which is for clients of the API: this is not for the public."""
    engines, draining = await check(shop), request.app.state.draining.begun
    health = shop.metrics.health
    health.engines = {engine: state == "up" for engine, state in engines._asdict().items()}
    health.primary_known = mongo.has_primary(shop.database)
    health.draining, health.ready = draining, engines.mongo == "up" and not draining
    # In a thread, since nobody should have to wait for it.
    return Response(await asyncio.to_thread(shop.metrics.text), media_type=CONTENT_TYPE)


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
