"""Changes to accounts. One transaction reads the caller's authority again, and holds the change, its audit entries
and the deletion of ended sessions.

Every method raises InvalidToken or Forbidden if the caller of the context may no longer make the change; `needs` is
the permission that it takes.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from shop_api.audit.models import AuditContext, AuditEvent
from shop_api.audit.repository import AuditLog
from shop_api.features.users import audit_events
from shop_api.features.users.authority import Authority
from shop_api.features.users.errors import DuplicateUsername
from shop_api.features.users.models import User
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import Clock
from shop_api.kernel.permissions import Permission
from shop_api.storage.mongo.attempts import Attempt, create_once
from shop_api.storage.mongo.client import Document
from shop_api.storage.mongo.transactions import Session, Transactions

ForgetSessions = Callable[[str, Collection[str], Session], Awaitable[None]]
"""Deletes the session documents of a user, except those with the given ids."""


class AccountChanges:
    def __init__(
        self,
        users: UserRepository,
        authority: Authority,
        transactions: Transactions,
        audit: AuditLog,
        forget_sessions: ForgetSessions,
        clock: Clock,
    ) -> None:
        self._users = users
        self._authority = authority
        self._transactions = transactions
        self._audit = audit
        self._forget_sessions = forget_sessions
        self._clock = clock

    async def add(self, user: User, context: AuditContext, attempt: Attempt, needs: Permission | None = None) -> User:
        """Store a new user, once for all attempts at one request, and return the user as stored. Raises
        DuplicateUsername if the username is taken."""

        async def create(session: Session) -> Document:
            await self._authority.check(context.caller, needs, session)
            await self._users.add(user, session)
            await self._audit.record([audit_events.registered(user)], context, session)
            return user.model_dump() | {"password_hash": ""}  # nobody needs it there

        created = await create_once(attempt, self._transactions, create, DuplicateUsername)
        return User.model_validate(created)

    async def apply(
        self,
        user: User,
        changes: Mapping[str, Any],
        events: Sequence[AuditEvent],
        context: AuditContext,
        needs: Permission | None = None,
    ) -> User | None:
        """Apply `changes` to this version of `user`, record `events` and delete the documents of the sessions that
        the change ends. Return None, and write nothing, if this version is no longer current.

        Raises LastAdmin if no active admin would remain.
        """

        async def work(session: Session) -> User | None:
            await self._authority.check(context.caller, needs, session)
            changed = await self._users.change(user, changes, self._clock(), session)
            if changed is not None:
                await self._audit.record(events, context, session)
                if "sessions" in changes:
                    await self._forget_sessions(user.id, changes["sessions"], session)
            return changed

        return await self._transactions.run(work)

    async def remove(self, user: User, context: AuditContext, needs: Permission | None = None) -> bool:
        """Delete this version of `user` and all documents the user owns. Return False, and delete nothing, if this
        version is no longer current. Raises LastAdmin if no active admin would remain."""

        async def work(session: Session) -> bool:
            await self._authority.check(context.caller, needs, session)
            removed = await self._users.remove(user, session)
            if removed:
                await self._audit.record([audit_events.deleted(user)], context, session)
            return removed

        return await self._transactions.run(work)
