"""Changes to accounts. One transaction holds the change, its audit entries and the deletion of ended sessions."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from shop_api.audit.models import AuditContext, AuditEvent
from shop_api.audit.repository import AuditLog
from shop_api.features.users import audit_events
from shop_api.features.users.models import User
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import Clock
from shop_api.storage.mongo.transactions import Session, Transactions

ForgetSessions = Callable[[str, Collection[str], Session], Awaitable[None]]
"""Deletes the session documents of a user, except those with the given ids."""


class AccountChanges:
    def __init__(
        self,
        users: UserRepository,
        transactions: Transactions,
        audit: AuditLog,
        forget_sessions: ForgetSessions,
        clock: Clock,
    ) -> None:
        self._users = users
        self._transactions = transactions
        self._audit = audit
        self._forget_sessions = forget_sessions
        self._clock = clock

    async def add(self, user: User, context: AuditContext) -> None:
        """Store a new user. Raises DuplicateUsername if the username is taken."""

        async def work(session: Session) -> None:
            await self._users.add(user, session)
            await self._audit.record([audit_events.registered(user)], context, session)

        await self._transactions.run(work)

    async def apply(
        self, user: User, changes: Mapping[str, Any], events: Sequence[AuditEvent], context: AuditContext
    ) -> User | None:
        """Apply `changes` to this version of `user`, record `events` and delete the documents of the sessions that
        the change ends. Return None, and write nothing, if this version is no longer current.

        Raises LastAdmin if no active admin would remain.
        """
        if not events:
            return await self._users.change(user, changes, self._clock())

        async def work(session: Session) -> User | None:
            changed = await self._users.change(user, changes, self._clock(), session)
            if changed is not None:
                await self._audit.record(events, context, session)
                if "sessions" in changes:
                    await self._forget_sessions(user.id, changes["sessions"], session)
            return changed

        return await self._transactions.run(work)

    async def remove(self, user: User, context: AuditContext) -> bool:
        """Delete this version of `user` and all documents the user owns. Return False, and delete nothing, if this
        version is no longer current. Raises LastAdmin if no active admin would remain."""

        async def work(session: Session) -> bool:
            removed = await self._users.remove(user, session)
            if removed:
                await self._audit.record([audit_events.deleted(user)], context, session)
            return removed

        return await self._transactions.run(work)
