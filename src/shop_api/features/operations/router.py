"""Liveness, readiness and metrics of this instance."""

import asyncio

from fastapi import APIRouter, Response

from shop_api.features.operations.dependencies import DrainingDep, HealthServiceDep, MetricsDep
from shop_api.features.operations.models import Live, Ready
from shop_api.http.problems import problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.errors import NotReady
from shop_api.observability.metrics import CONTENT_TYPE

router = APIRouter(tags=["Operations"], route_class=StrictRoute)


@router.get("/health/live", responses=problems())
async def get_liveness() -> Live:
    """Report that the process responds. Does not check any dependency."""
    return Live(status="ok")


@router.get("/health/ready", responses=problems(NotReady))
async def get_readiness(health: HealthServiceDep, draining: DrainingDep) -> Ready:
    """Report whether the instance can serve requests: 503 without the database or while draining, else 200, also
    without Redis."""
    if draining.begun:
        raise NotReady("This instance is draining: it is about to stop.")
    engines = await health.check()
    if engines.mongo == "down":
        raise NotReady("The database does not answer, or stores nothing.")
    offset = health.clock_offset_seconds
    return Ready(status="ready", mongo=engines.mongo, redis=engines.redis, clock_offset_seconds=offset)


@router.get("/metrics", include_in_schema=False)
async def get_metrics(health: HealthServiceDep, draining: DrainingDep, metrics: MetricsDep) -> Response:
    """Return metrics for Prometheus. Not in the OpenAPI document, because the endpoint is not for API clients."""
    engines = await health.check()
    found = metrics.health
    found.engines = {engine: state == "up" for engine, state in engines._asdict().items()}
    found.primary_known = health.knows_primary()
    found.draining, found.ready = draining.begun, engines.mongo == "up" and not draining.begun
    # Rendered in a thread, so that it does not block the event loop.
    return Response(await asyncio.to_thread(metrics.text), media_type=CONTENT_TYPE)
