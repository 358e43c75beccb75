"""Authorization: permissions, the roles that hold them, and the caller of a request."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "admin"]
ROLES: tuple[Role, ...] = ("user", "admin")


@dataclass(frozen=True, slots=True)
class Permission:
    """The right to do one kind of thing."""

    name: str
    """`resource:action`, unique in the service."""
    description: str
    roles: frozenset[Role] = frozenset({"admin"})
    """The roles that hold it."""


def permissions_of_roles(permissions: Iterable[Permission]) -> Mapping[Role, frozenset[Permission]]:
    """Return the permissions of each role."""
    known = frozenset(permissions)
    return {role: frozenset(one for one in known if role in one.roles) for role in ROLES}


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated user of a request, as currently stored."""

    id: str
    permissions: frozenset[Permission]
    session_id: str
    """The session that the access token belongs to."""
    account: object
    """The stored user; opaque below the features."""

    def may(self, permission: Permission) -> bool:
        """Return whether the caller's role holds `permission`."""
        return permission in self.permissions


Authenticate = Callable[[str], Awaitable[Caller]]
"""Returns the caller of an access token. Raises InvalidToken if its session is not active."""

CallerLookup = Callable[[], Awaitable[Caller | None]]
"""Returns the caller, or None if no token was sent. Raises InvalidToken for an invalid token."""
