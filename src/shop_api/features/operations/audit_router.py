"""GET /audit: the audit log, for admins."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from shop_api.audit.models import AuditPage, AuditQuery
from shop_api.features.operations.dependencies import AuditServiceDep
from shop_api.features.operations.permissions import AUDIT_READ
from shop_api.http.dependencies import Requires
from shop_api.http.problems import SIGNED_IN, problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.errors import Forbidden
from shop_api.kernel.permissions import Caller

router = APIRouter(prefix="/audit", tags=["Users"], route_class=StrictRoute)


@router.get("", response_model_exclude_unset=True, responses=problems(*SIGNED_IN, Forbidden))
async def list_audit(
    query: Annotated[AuditQuery, Query()],
    caller: Annotated[Caller, Requires(AUDIT_READ)],
    audit: AuditServiceDep,
    response: Response,
) -> AuditPage:
    """List changes to accounts and the catalogue, newest first, with actor, time and address. Requires an admin."""
    response.headers["Cache-Control"] = "no-store"
    return await audit.list_page(query)
