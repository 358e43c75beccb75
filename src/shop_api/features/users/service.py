"""Account rules: who may register which role, who may change which field, and that one active admin remains."""

from collections.abc import Collection, Mapping
from typing import Any

import structlog
from pydantic import SecretStr
from uuid_utils import uuid7

from shop_api.audit.models import Action, AuditContext
from shop_api.features.users import audit_events
from shop_api.features.users.changes import AccountChanges
from shop_api.features.users.errors import DuplicateUsername, UserNotFound, WrongPassword
from shop_api.features.users.models import Registration, User, UserPatch, UserQuery, account_of
from shop_api.features.users.notices import Notices
from shop_api.features.users.permissions import USERS_READ, USERS_WRITE
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import Clock
from shop_api.kernel.errors import FieldError, Forbidden, InvalidRequest, VersionConflict
from shop_api.kernel.pagination import Cursors
from shop_api.kernel.permissions import Caller, Permission, Role
from shop_api.kernel.versions import ExpectedVersions, first_version
from shop_api.security.passwords import MAX_LENGTH, Passwords, normalised, weakness
from shop_api.security.sign_in_delays import SignInDelays

# The interface to other features: the service and the errors it raises.
__all__ = ["DuplicateUsername", "UserNotFound", "UserService", "WrongPassword"]

log = structlog.get_logger()

_ADMIN_ONLY = {"role", "disabled"}
_SELF_ONLY = {"email", "full_name"}


class UserService:
    def __init__(
        self,
        users: UserRepository,
        changes: AccountChanges,
        roles: Mapping[Role, frozenset[Permission]],
        passwords: Passwords,
        delays: SignInDelays,
        notices: Notices,
        cursors: Cursors,
        clock: Clock,
    ) -> None:
        self._users = users
        self._changes = changes
        self._roles = roles
        self._passwords = passwords
        self._delays = delays
        self._notices = notices
        self._cursors = cursors
        self._clock = clock

    async def register(
        self, body: Registration, caller: Caller | None, context: AuditContext, new_id: str | None = None
    ) -> User:
        """Add a user on behalf of `caller`. Repeated calls with the same `new_id` (a UUID) add one user.

        Raises Forbidden if a caller who is not an admin registers an admin, InvalidRequest if the password is weak,
        DuplicateUsername if the username is taken.
        """
        if body.role == "admin" and not (caller and caller.may(USERS_WRITE)):
            raise Forbidden("Only an admin can register an admin.")
        return await self._add(body, context, new_id)

    async def ensure_admin(self, body: Registration, context: AuditContext) -> bool:
        """Add the first admin unless the username exists. Return whether a user was added."""
        if await self._users.find(body.username) is not None:
            return False
        try:
            await self._add(body.model_copy(update={"role": "admin"}), context)
        except DuplicateUsername:  # another instance, starting at the same time, added the user first
            return False
        return True

    async def has_admin(self) -> bool:
        return await self._users.has_admin()

    async def _add(self, body: Registration, context: AuditContext, new_id: str | None = None) -> User:
        password = body.password.get_secret_value()
        _refuse_weak(password, body.username, "password")
        now = self._clock()
        user = User(
            id=new_id or str(uuid7()),
            username=body.username,
            password_hash=await self._passwords.hash(password),
            role=body.role,
            disabled=False,
            email=body.email,
            full_name=body.full_name,
            version=first_version(now),
            created_at=now,
            updated_at=now,
        )

        try:
            await self._changes.add(user, context)
        except DuplicateUsername:
            earlier = await self._users.get(user.id)
            if earlier is None:  # otherwise an earlier attempt with this id added the user
                raise
            return earlier
        return user

    async def authenticate(self, username: str, password: str) -> User | None:
        """Return the user with these credentials, or None. An unknown username takes the same work as a wrong
        password, so neither the result nor its timing reveals whether the user exists."""
        if len(normalised(password)) > MAX_LENGTH:  # no stored password is that long, so hashing it is wasted work
            return None
        user = await self._users.find(username.lower())
        right = await self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not right or user.disabled:
            log.info(
                "a sign-in was refused", user_id=user.id if user else None, disabled=bool(user and user.disabled)
            )
            return None
        return user

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

    async def open_session(self, user: User, session_id: str) -> bool:
        """Add a session to `user`. Return False if the password has changed since it was verified, or the user has
        been deleted or disabled."""
        return await self._users.open_session(user, session_id)

    async def end_session(self, user_id: str, session_id: str) -> bool:
        """End a session immediately. Return False if it is not active."""
        return await self._users.end_session(user_id, session_id)

    async def end_sessions(self, user_id: str) -> None:
        await self._users.end_sessions(user_id)

    async def _has_password(self, user: User, password: str) -> bool:
        """Return whether `password` is the password of `user`."""
        return len(normalised(password)) <= MAX_LENGTH and await self._passwords.verify(password, user.password_hash)

    async def set_password(
        self, user: User, password: str, context: AuditContext, action: Action, *, keep: str | None = None
    ) -> None:
        """Set a new password, end all sessions except `keep`, and notify the user by e-mail.

        Raises InvalidRequest if the password is weak, UserNotFound if the user has been deleted, WrongPassword if a
        concurrent request has changed the password.
        """
        self.refuse_weak(user, password)
        password_hash = await self._passwords.hash(password)
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

    def refuse_weak(self, user: User, password: str) -> None:
        """Raise InvalidRequest if `password` is too weak for `user`."""
        _refuse_weak(password, user.username, "new_password")

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

    async def confirm_password(self, user: User, password: SecretStr | None, context: AuditContext) -> None:
        """Raise WrongPassword unless `password` is the password of `user`. Subject to the same delays as sign-ins."""
        await self._delays.attempt(user.username, context.address)
        if password is None or not await self._has_password(user, password.get_secret_value()):
            raise WrongPassword
        await self._delays.succeeded(user.username, context.address)

    async def patch(
        self, user: User, patch: UserPatch, caller: Caller, expected: ExpectedVersions, context: AuditContext
    ) -> User:
        """Apply `patch` to `user`. Only admins may change `role` and `disabled`, only the user the other fields.

        Changing the e-mail address requires the current password and notifies the previous address. Disabling or
        demoting a user ends all their sessions.
        """
        changes = patch.changes()
        if caller.id == user.id and changes.get("email", user.email) != user.email:
            await self.confirm_password(user, patch.current_password, context)
        _refuse_foreign_fields(changes, user, caller)
        changed = await self._patch(user, changes, expected, context)
        if changed.email != user.email:
            self._notices.address_changed(user)
        return changed

    async def _patch(
        self, user: User, changes: dict[str, Any], expected: ExpectedVersions, context: AuditContext
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
            changed = await self._changes.apply(user, differing, events, context)
            if changed is not None:
                return changed
            user = await self._reread(user)

    def _loses_permissions(self, user: User, changes: Mapping[str, Any]) -> bool:
        role: Role = changes.get("role", user.role)
        return not self._roles[user.role] <= self._roles[role]

    async def remove(self, user: User, caller: Caller, expected: ExpectedVersions, context: AuditContext) -> None:
        """Delete `user` and all data stored about them. Audit entries remain; they hold the id but no name."""
        if caller.id != user.id and not caller.may(USERS_WRITE):
            raise Forbidden("Only an admin can delete other users.")
        while True:
            _check(user, expected)
            if await self._changes.remove(user, context):
                return
            user = await self._reread(user)


def _refuse_weak(password: str, username: str, field: str) -> None:
    if reason := weakness(password, username):
        raise InvalidRequest([FieldError(("body", field), "weak_password", f"The password {reason}")])


def _check(user: User, expected: ExpectedVersions) -> None:
    if not expected.allow(user.version):
        raise VersionConflict(user.version)


def _refuse_foreign_fields(changes: Mapping[str, Any], user: User, caller: Caller) -> None:
    for name in changes:
        if name in _ADMIN_ONLY and not caller.may(USERS_WRITE):
            raise Forbidden(f"Only an admin can change {name}.")
        if name in _SELF_ONLY and caller.id != user.id:
            raise Forbidden(f"Only the user can change {name}.")
