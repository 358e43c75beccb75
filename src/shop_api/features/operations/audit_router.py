"""GET /audit: what was done to accounts, for admins."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from shop_api.audit.models import AuditEntryOut, AuditPage, AuditQuery
from shop_api.http.dependencies import AdminDep, ShopDep
from shop_api.http.problems import SIGNED_IN, problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.errors import Forbidden

router = APIRouter(prefix="/audit", tags=["Users"], route_class=StrictRoute)


@router.get("", response_model_exclude_unset=True, responses=problems(*SIGNED_IN, Forbidden))
async def list_audit(
    query: Annotated[AuditQuery, Query()], admin: AdminDep, shop: ShopDep, response: Response
) -> AuditPage:
    """Lists changes to accounts, the newest first: who, what, when, from where. For admins."""
    scope = query.model_dump_json(exclude={"limit", "cursor"})
    after = shop.cursors.decode(scope, query.cursor) if query.cursor else None
    entries, key = await shop.audit.list_page(query, after)
    people = {user_id for entry in entries for user_id in (entry.subject_id, entry.actor_id)}
    usernames = await shop.users.usernames(people)
    response.headers["Cache-Control"] = "no-store"
    return AuditPage(
        items=[AuditEntryOut.of(entry, usernames) for entry in entries],
        next_cursor=shop.cursors.encode(scope, key) if key else None,
    )
