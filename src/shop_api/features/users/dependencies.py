"""Dependencies of the users router."""

from typing import Annotated

from fastapi import Depends, Path, Request

from shop_api.features.users.models import NAMES, User
from shop_api.features.users.service import UserService
from shop_api.http.dependencies import CallerDep
from shop_api.kernel.messages import allowed


async def _users(request: Request) -> UserService:
    users: UserService = request.app.state.services.users
    return users


UserServiceDep = Annotated[UserService, Depends(_users)]


async def _addressed_user(
    username: Annotated[
        str,
        Path(
            description="A username, or `me`.",
            pattern=allowed("^([A-Za-z0-9][A-Za-z0-9._-]{1,30}[A-Za-z0-9]|me)$", NAMES),
            examples=["ada"],
        ),
    ],
    caller: CallerDep,
    users: UserServiceDep,
) -> User:
    return await users.visible(username.lower(), caller)


AddressedUserDep = Annotated[User, Depends(_addressed_user)]
"""The user named in the path, if the caller is allowed to see that user."""
