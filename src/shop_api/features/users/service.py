"""Account rules: who may register which role, who may change which field, and that one active admin remains."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from shop_api.audit.models import Action, AuditContext
from shop_api.features.users import audit_events
from shop_api.features.users.authority import Authority
from shop_api.features.users.changes import AccountChanges
from shop_api.features.users.errors import (
    DuplicateUsername,
    RecentSignInRequired,
    UserNotFound,
    WrongPassword,
)
from shop_api.features.users.models import Registration, User, UserPatch, UserQuery, account_of
from shop_api.features.users.notices import Notices
from shop_api.features.users.password_service import PasswordService
from shop_api.features.users.permissions import USERS_READ, USERS_WRITE
from shop_api.features.users.repository import MAX_SESSIONS, UserRepository
from shop_api.kernel.clock import Clock
from shop_api.kernel.errors import Forbidden, VersionConflict
from shop_api.kernel.pagination import Cursors
from shop_api.kernel.permissions import Caller, Permission, Role
from shop_api.kernel.versions import ExpectedVersions, first_version
from shop_api.storage.mongo.attempts import Attempt, OnlyAttempt
from shop_api.storage.mongo.transactions import Session

# The interface to other features: the service and the errors it raises.
__all__ = ["MAX_SESSIONS", "DuplicateUsername", "UserNotFound", "UserService", "WrongPassword"]

_ADMIN_ONLY = {"role", "disabled"}
_SELF_ONLY = {"email", "full_name"}
# To delete one's own account, the sign-in must be younger: a stolen session or an unlocked computer is not enough.
RECENT_SIGN_IN = timedelta(minutes=5)

SignedInAt = Callable[[str], Awaitable[datetime | None]]
"""Returns when the session with this id began, or None if it has ended."""


class UserService:
    def __init__(
        self,
        users: UserRepository,
        changes: AccountChanges,
        authority: Authority,
        signed_in_at: SignedInAt,
        roles: Mapping[Role, frozenset[Permission]],
        passwords: PasswordService,
        notices: Notices,
        cursors: Cursors,
        clock: Clock,
    ) -> None:
        self._users = users
        self._changes = changes
        self._authority = authority
        self._signed_in_at = signed_in_at
        self._roles = roles
        self._passwords = passwords
        self._notices = notices
        self._cursors = cursors
        self._clock = clock

    async def register(
        self, body: Registration, caller: Caller | None, context: AuditContext, attempt: Attempt
    ) -> User:
        """Add a user on behalf of `caller`. All attempts at one request add one user, and return it as added.

        Raises Forbidden if a caller who is not an admin registers an admin, InvalidRequest if the password is weak,
        DuplicateUsername if the username is taken.
        """
        if body.role == "admin" and not (caller and caller.may(USERS_WRITE)):
            raise Forbidden("Only an admin can register an admin.")
        return await self._add(body, context, attempt, USERS_WRITE if body.role == "admin" else None)

    async def ensure_admin(self, body: Registration, context: AuditContext) -> bool:
        """Add the first admin unless the username exists. Return whether a user was added."""
        if await self._users.find(body.username) is not None:
            return False
        try:
            await self._add(body.model_copy(update={"role": "admin"}), context, OnlyAttempt())
        except DuplicateUsername:  # another instance, starting at the same time, added the user first
            return False
        return True

    async def has_admin(self) -> bool:
        return await self._users.has_admin()

    async def _add(
        self, body: Registration, context: AuditContext, attempt: Attempt, needs: Permission | None = None
    ) -> User:
        password = body.password.get_secret_value()
        password_hash = await self._passwords.first_hash(body.username, password, context.address)
        now = self._clock()
        user = User(
            id=attempt.new_id,
            username=body.username,
            password_hash=password_hash,
            role=body.role,
            disabled=False,
            email=body.email,
            full_name=body.full_name,
            version=first_version(now),
            created_at=now,
            updated_at=now,
        )
        return await self._changes.add(user, context, attempt, needs)

    async def active(self, user_id: str) -> User | None:
        """Return the stored user with this id, or None if deleted or disabled."""
        user = await self._users.get(user_id)
        return None if user is None or user.disabled else user

    async def get(self, username: str) -> User:
        user = await self._users.find(username)
        if user is None:
            raise UserNotFound
        return user

    async def visible(self, username: str, caller: Caller) -> User:
        """Return the user with this username, or the caller for `me`. Raises Forbidden for any other username,
        existing or not, if the caller lacks the permission `users:read`."""
        own = account_of(caller)
        if username in ("me", own.username):
            return own
        if not caller.may(USERS_READ):
            raise Forbidden("Only an admin can see other users.")
        return await self.get(username)

    async def _reread(self, user: User) -> User:
        """Return the current version of `user`. Looked up by id, as another user may have the username by now."""
        current = await self._users.get(user.id)
        if current is None:
            raise UserNotFound
        return current

    async def list_page(self, query: UserQuery) -> tuple[list[User], str | None]:
        """Return a page of users and the cursor of the next page."""
        scope = query.model_dump_json(exclude={"limit", "cursor", "include_total"})
        after = self._cursors.decode(scope, query.cursor) if query.cursor else None
        users, key = await self._users.list_page(query, after)
        return users, self._cursors.encode(scope, key) if key else None

    async def count(self, query: UserQuery) -> int:
        return await self._users.count(query)

    async def size(self) -> int:
        """Return the approximate number of users."""
        return await self._users.size()

    async def usernames(self, user_ids: Collection[str]) -> dict[str, str]:
        """Return usernames by user id, without ids that do not exist."""
        return await self._users.usernames(user_ids)

    async def open_session(self, user: User, session_id: str, session: Session) -> list[str] | None:
        """Add a session to `user`, in a transaction, and return all their sessions. Return None if the password has
        changed since it was verified, or the user has been deleted or disabled."""
        return await self._users.open_session(user, session_id, session)

    async def end_session(
        self, user_id: str, session_id: str, session: Session, caller: Caller | None = None
    ) -> bool:
        """End a session, in a transaction. Return False if it is not active. Raises InvalidToken if the session of
        `caller`, who asks for it, has ended."""
        await self._authority.check(caller, None, session)
        return await self._users.end_session(user_id, session_id, session)

    async def end_sessions(self, caller: Caller, session: Session) -> None:
        """End all sessions of the caller, in a transaction. Raises InvalidToken if the caller's own has ended."""
        await self._authority.check(caller, None, session)
        await self._users.end_sessions(caller.id, session)

    async def set_password(
        self, user: User, password_hash: str, context: AuditContext, action: Action, *, keep: str | None = None
    ) -> None:
        """Set a new password, end all sessions except `keep`, and notify the user by e-mail.

        Raises UserNotFound if the user has been deleted, WrongPassword if a concurrent request has changed the
        password.
        """
        changed = None
        while changed is None:
            kept = [session_id for session_id in user.sessions if session_id == keep]
            changes = {"password_hash": password_hash, "sessions": kept}
            changed = await self._changes.apply(user, changes, [audit_events.new_password(action, user)], context)
            if changed is None:
                now = await self._reread(user)
                if now.password_hash != user.password_hash:  # a concurrent request has changed it
                    raise WrongPassword
                user = now
        self._notices.password_changed(user)

    async def reachable_by(self, email: str) -> list[User]:
        """Return the active users with this verified address, ignoring case."""
        found = await self._users.find_by_email(email)
        return [user for user in found if user.email_verified and not user.disabled]

    async def verify_email(self, user: User, email: str, context: AuditContext) -> bool:
        """Mark `email` as verified. Return False if the user's address has changed or the user has been deleted."""
        now: User | None = user
        changes = {"email_verified": True}
        while now is not None and now.email == email:
            if now.email_verified or await self._changes.apply(
                now, changes, audit_events.changed(now, changes), context
            ):
                return True
            now = await self._users.get(user.id)
        return False

    async def patch(
        self, user: User, patch: UserPatch, caller: Caller, expected: ExpectedVersions, context: AuditContext
    ) -> User:
        """Apply `patch` to `user`. Only admins may change `role` and `disabled`, only the user the other fields.

        Changing the e-mail address requires the current password and notifies the previous address. Disabling or
        demoting a user ends all their sessions.
        """
        changes = patch.changes()
        if caller.id == user.id and changes.get("email", user.email) != user.email:
            await self._passwords.confirm(user, patch.current_password, context.address)
        _refuse_foreign_fields(changes, user, caller)
        needs = None if caller.id == user.id and not _ADMIN_ONLY & changes.keys() else USERS_WRITE
        changed = await self._patch(user, changes, expected, context, needs)
        if changed.email != user.email:
            self._notices.address_changed(user)
        return changed

    async def _patch(
        self,
        user: User,
        changes: dict[str, Any],
        expected: ExpectedVersions,
        context: AuditContext,
        needs: Permission | None,
    ) -> User:
        while True:
            _check(user, expected)
            differing = {name: value for name, value in changes.items() if getattr(user, name) != value}
            if not differing:
                return user
            events = audit_events.changed(user, differing)
            if differing.get("disabled") or self._loses_permissions(user, differing):
                differing["sessions"] = []
            if "email" in differing:
                differing["email_verified"] = False
            changed = await self._changes.apply(user, differing, events, context, needs)
            if changed is not None:
                return changed
            user = await self._reread(user)

    def _loses_permissions(self, user: User, changes: Mapping[str, Any]) -> bool:
        role: Role = changes.get("role", user.role)
        return not self._roles[user.role] <= self._roles[role]

    async def remove(self, user: User, caller: Caller, expected: ExpectedVersions, context: AuditContext) -> None:
        """Delete `user` and all data stored about them. Audit entries remain; they hold the id but no name. Raises
        RecentSignInRequired if users who delete themselves signed in too long ago."""
        if caller.id == user.id:
            await self._require_recent_sign_in(caller)
        elif not caller.may(USERS_WRITE):
            raise Forbidden("Only an admin can delete other users.")
        needs = None if caller.id == user.id else USERS_WRITE
        while True:
            _check(user, expected)
            if await self._changes.remove(user, context, needs):
                return
            user = await self._reread(user)

    async def _require_recent_sign_in(self, caller: Caller) -> None:
        signed_in_at = await self._signed_in_at(caller.session_id)
        if signed_in_at is None or signed_in_at <= self._clock() - RECENT_SIGN_IN:
            raise RecentSignInRequired


def _check(user: User, expected: ExpectedVersions) -> None:
    if not expected.allow(user.version):
        raise VersionConflict(user.version)


def _refuse_foreign_fields(changes: Mapping[str, Any], user: User, caller: Caller) -> None:
    for name in changes:
        if name in _ADMIN_ONLY and not caller.may(USERS_WRITE):
            raise Forbidden(f"Only an admin can change {name}.")
        if name in _SELF_ONLY and caller.id != user.id:
            raise Forbidden(f"Only the user can change {name}.")
