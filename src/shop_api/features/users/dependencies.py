"""What the routers of users ask for."""

from typing import Annotated

from fastapi import Depends, Path, Request

from shop_api.features.users.models import User, account_of
from shop_api.features.users.permissions import USERS_READ
from shop_api.features.users.service import UserService
from shop_api.http.dependencies import CallerDep
from shop_api.kernel.errors import Forbidden


async def _users(request: Request) -> UserService:
    users: UserService = request.app.state.services.users
    return users


UserServiceDep = Annotated[UserService, Depends(_users)]


async def _addressed_user(
    username: Annotated[
        str,
        Path(
            description="A username, or `me`.",
            pattern="^([A-Za-z0-9][A-Za-z0-9._-]{1,30}[A-Za-z0-9]|me)$",
            examples=["ada"],
        ),
    ],
    caller: CallerDep,
    users: UserServiceDep,
) -> User:
    name, own = username.lower(), account_of(caller)
    if name in ("me", own.username):
        return own
    if not caller.may(USERS_READ):  # before looking, so that the answer does not tell who exists
        raise Forbidden("Only an admin can see other users.")
    return await users.get(name)


AddressedUserDep = Annotated[User, Depends(_addressed_user)]
"""The user that the path names, if the caller may see that one."""
