"""The caller's authority, read again in the transaction of a change: it may have ended since the request began."""

from collections.abc import Mapping

from shop_api.features.users.repository import UserRepository
from shop_api.kernel.errors import Forbidden, InvalidToken
from shop_api.kernel.permissions import Caller, Permission, Role
from shop_api.storage.mongo.transactions import Session


class Authority:
    def __init__(self, users: UserRepository, roles: Mapping[Role, frozenset[Permission]]) -> None:
        self._users = users
        self._roles = roles

    async def check(self, caller: Caller | None, needs: Permission | None, session: Session) -> None:
        """Raise InvalidToken if the caller has been disabled or deleted or their session has ended, and Forbidden if
        their role no longer holds `needs`. Without a caller, nothing is checked."""
        if caller is None:
            return
        user = await self._users.get(caller.id, session)
        if user is None or user.disabled or caller.session_id not in user.sessions:
            raise InvalidToken
        if needs is not None and needs not in self._roles[user.role]:
            raise Forbidden("Only an admin is allowed to do this.")
