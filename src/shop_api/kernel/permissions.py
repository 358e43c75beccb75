"""Who may do what: permissions, the roles that hold them, and the caller who has a role."""

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
    """Those that hold it."""


def permissions_of_roles(permissions: Iterable[Permission]) -> Mapping[Role, frozenset[Permission]]:
    """Return what each role holds."""
    known = frozenset(permissions)
    return {role: frozenset(one for one in known if role in one.roles) for role in ROLES}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, as stored at this moment."""

    id: str
    permissions: frozenset[Permission]
    session_id: str
    """The sign-in that the request belongs to."""
    account: object
    """The stored user, for the features that know what that is."""

    def may(self, permission: Permission) -> bool:
        """Return whether the caller's role holds `permission`."""
        return permission in self.permissions


Authenticate = Callable[[str], Awaitable[Caller]]
"""Looks up who has an access token; InvalidToken if its session is not in force."""

CallerLookup = Callable[[], Awaitable[Caller | None]]
"""Looks up who asks: None without a token, InvalidToken with one that is not good."""
