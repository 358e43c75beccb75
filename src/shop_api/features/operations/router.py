"""Whether this instance lives, whether it can serve, and its metrics."""

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
    """Says that the process answers; asks nothing else."""
    return Live(status="ok")


@router.get("/health/ready", responses=problems(NotReady))
async def get_readiness(health: HealthServiceDep, draining: DrainingDep) -> Ready:
    """Says whether requests can be served: 503 without the database or when stopping, 200 without Redis."""
    if draining.begun:
        raise NotReady("This instance is draining: it is about to stop.")
    engines = await health.check()
    if engines.mongo == "down":
        raise NotReady("The database does not answer.")
    return Ready(status="ready", mongo=engines.mongo, redis=engines.redis)


@router.get("/metrics", include_in_schema=False)
async def get_metrics(health: HealthServiceDep, draining: DrainingDep, metrics: MetricsDep) -> Response:
    """What Prometheus asks for. Not in the document, which is for clients of the API: this is not for the public."""
    engines = await health.check()
    found = metrics.health
    found.engines = {engine: state == "up" for engine, state in engines._asdict().items()}
    found.primary_known = health.knows_primary()
    found.draining, found.ready = draining.begun, engines.mongo == "up" and not draining.begun
    # In a thread, since nobody should have to wait for it.
    return Response(await asyncio.to_thread(metrics.text), media_type=CONTENT_TYPE)
