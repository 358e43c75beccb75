"""Dependencies of the operations routers."""

from typing import Annotated

from fastapi import Depends, Request

from shop_api.features.operations.service import AuditService, HealthService
from shop_api.http.draining import Draining
from shop_api.observability.metrics import Metrics


async def _health(request: Request) -> HealthService:
    health: HealthService = request.app.state.services.health
    return health


async def _audit(request: Request) -> AuditService:
    audit: AuditService = request.app.state.services.audit_service
    return audit


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.services.metrics
    return metrics


async def _draining(request: Request) -> Draining:
    draining: Draining = request.app.state.draining
    return draining


HealthServiceDep = Annotated[HealthService, Depends(_health)]
AuditServiceDep = Annotated[AuditService, Depends(_audit)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
DrainingDep = Annotated[Draining, Depends(_draining)]
