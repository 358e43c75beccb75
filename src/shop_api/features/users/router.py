"""/users: accounts, for admins and for the users themselves."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from shop_api.features.users.dependencies import AddressedUserDep, UserServiceDep
from shop_api.features.users.errors import LastAdmin, UserNotFound, WrongPassword
from shop_api.features.users.models import User, UserOut, UserPage, UserPatch, UserQuery
from shop_api.features.users.permissions import USERS_READ
from shop_api.http.dependencies import AuditContextDep, CallerDep, ExpectedVersionsDep, Requires
from shop_api.http.etags import etag
from shop_api.http.openapi import ETAG, NOT_MODIFIED
from shop_api.http.problems import BODY, SIGNED_IN, problems
from shop_api.http.routing import MERGE_PATCH, StrictRoute
from shop_api.kernel.errors import Forbidden, RateLimited, VersionConflict
from shop_api.kernel.permissions import Caller

router = APIRouter(prefix="/users", tags=["Users"], route_class=StrictRoute)

_ACCESS = (*SIGNED_IN, Forbidden)


@router.get("", response_model_exclude_unset=True, responses=problems(*_ACCESS))
async def list_users(
    query: Annotated[UserQuery, Query()],
    caller: Annotated[Caller, Requires(USERS_READ)],
    users: UserServiceDep,
    response: Response,
) -> UserPage:
    """List users, one page at a time. Requires an admin."""
    found, next_cursor = await users.list_page(query)
    page = UserPage(items=[UserOut.of(user) for user in found], next_cursor=next_cursor)
    if query.include_total:
        page.total = await users.count(query)
    response.headers["Cache-Control"] = "no-store"
    return page


@router.get("/{username}", responses=problems(*_ACCESS, UserNotFound) | {200: ETAG, 304: NOT_MODIFIED})
async def get_user(user: AddressedUserDep, response: Response) -> UserOut:
    """Return a user. Users can see themselves; admins can see everyone."""
    return _answer(response, user)


@router.patch(
    "/{username}",
    responses=problems(*_ACCESS, *BODY, WrongPassword, UserNotFound, VersionConflict, LastAdmin, RateLimited)
    | {200: ETAG},
)
async def patch_user(
    user: AddressedUserDep,
    patch: Annotated[UserPatch, Body(media_type=MERGE_PATCH)],
    caller: CallerDep,
    expected: ExpectedVersionsDep,
    context: AuditContextDep,
    users: UserServiceDep,
    response: Response,
) -> UserOut:
    """Change a user (JSON Merge Patch, RFC 7396). Only admins can change `role` and `disabled`; only the user can
    change the other members. Changing `email` requires `current_password`."""
    return _answer(response, await users.patch(user, patch, caller, expected, context))


@router.delete(
    "/{username}",
    status_code=204,
    responses=problems(*_ACCESS, UserNotFound, VersionConflict, LastAdmin),
)
async def delete_user(
    user: AddressedUserDep,
    caller: CallerDep,
    expected: ExpectedVersionsDep,
    context: AuditContextDep,
    users: UserServiceDep,
) -> None:
    """Delete a user and all data stored about them. Users can delete themselves; admins can delete anyone. The
    user's tokens stop working immediately."""
    await users.remove(user, caller, expected, context)


def _answer(response: Response, user: User) -> UserOut:
    response.headers["ETag"] = etag(user.version)
    response.headers["Cache-Control"] = "no-store"
    return UserOut.of(user)
