"""Checks of `shop-api serve` that the shop has an admin."""

import structlog

from shop_api.cli.terminal import fail
from shop_api.features.users.models import Registration, User
from shop_api.features.users.repository import UserRepository
from shop_api.settings import PREFIX, Settings
from shop_api.storage.mongo.client import Database

_NAME, _PASSWORD = f"{PREFIX}ADMIN_USERNAME", f"{PREFIX}ADMIN_PASSWORD"

log = structlog.get_logger()


async def check_admins(database: Database, settings: Settings, *, required: bool) -> None:
    """Warn if the first admin's username belongs to somebody who is not an active admin. If `required`, exit if there
    is no active admin and the start makes none.

    Reads only, so instances may start at once: the lifespan of each then creates the admin unless another one has.
    """
    users = UserRepository(database)
    if settings.admin_username and settings.admin_password:
        first = Registration(username=settings.admin_username, password=settings.admin_password)
        user = await users.find(first.username)
        if user is None:
            return
        _warn_unless_active_admin(user)
    if required and not await users.has_admin():
        fail(
            f"the database {settings.mongo_db} has no active admin: run shop-api admin create NAME, or set"
            f" {_NAME} and {_PASSWORD} to create one at the next start"
        )


def _warn_unless_active_admin(user: User) -> None:
    if user.role != "admin" or user.disabled:
        log.warning(
            f"{_NAME} names {user.username}, a user who is not an active admin, and has no effect;"
            " name another one, or run shop-api admin create NAME"
        )
