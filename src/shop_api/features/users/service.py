"""The rules of accounts: who may become what, who may change what, and that a shop keeps an admin."""

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

# What other features know of accounts: the service, and the errors that it raises.
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
        """Add a user on behalf of `caller`. Calls with the same `new_id` (a UUID) add one user.

        Raises Forbidden if anyone but an admin asks for an admin, InvalidRequest if the password is weak,
        DuplicateUsername if the name is taken.
        """
        if body.role == "admin" and not (caller and caller.may(USERS_WRITE)):
            raise Forbidden("Only an admin can register an admin.")
        return await self._add(body, context, new_id)

    async def ensure_admin(self, body: Registration, context: AuditContext) -> bool:
        """Add the first admin, unless there is a user of this name. Return whether it did."""
        if await self._users.find(body.username) is not None:
            return False
        try:
            await self._add(body.model_copy(update={"role": "admin"}), context)
        except DuplicateUsername:  # another instance that starts at the same time was faster
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
            if earlier is None:  # else it was added by an attempt before this one
                raise
            return earlier
        return user

    async def authenticate(self, username: str, password: str) -> User | None:
        """The user with this password; None whatever is wrong, after the same work, so that neither the answer nor
        its time tells whether the user exists."""
        if len(normalised(password)) > MAX_LENGTH:  # nobody has such a password, and hashing it would only cost
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
        """The user with this id as of now; None when gone or disabled."""
        user = await self._users.get(user_id)
        return None if user is None or user.disabled else user

    async def get(self, username: str) -> User:
        user = await self._users.find(username)
        if user is None:
            raise UserNotFound
        return user

    async def visible(self, username: str, caller: Caller) -> User:
        """Return the user of this name, or the caller for `me`. Raises Forbidden for others unless the caller may see
        them, whether or not they exist."""
        own = account_of(caller)
        if username in ("me", own.username):
            return own
        if not caller.may(USERS_READ):
            raise Forbidden("Only an admin can see other users.")
        return await self.get(username)

    async def _reread(self, user: User) -> User:
        """The account as it is now: by its id, since somebody else may have its name by now."""
        current = await self._users.get(user.id)
        if current is None:
            raise UserNotFound
        return current

    async def list_page(self, query: UserQuery) -> tuple[list[User], str | None]:
        """A page of users and the cursor of the next one."""
        scope = query.model_dump_json(exclude={"limit", "cursor", "include_total"})
        after = self._cursors.decode(scope, query.cursor) if query.cursor else None
        users, key = await self._users.list_page(query, after)
        return users, self._cursors.encode(scope, key) if key else None

    async def count(self, query: UserQuery) -> int:
        return await self._users.count(query)

    async def size(self) -> int:
        """About how many there are."""
        return await self._users.size()

    async def usernames(self, user_ids: Collection[str]) -> dict[str, str]:
        """The names of those that exist, by id."""
        return await self._users.usernames(user_ids)

    async def open_session(self, user: User, session_id: str) -> bool:
        """Adds a sign-in; False if the password that `user` was checked with is not right any more."""
        return await self._users.open_session(user, session_id)

    async def end_session(self, user_id: str, session_id: str) -> bool:
        """Ends a sign-in at once; False if there is none."""
        return await self._users.end_session(user_id, session_id)

    async def end_sessions(self, user_id: str) -> None:
        await self._users.end_sessions(user_id)

    async def _has_password(self, user: User, password: str) -> bool:
        """Whether that is `user`'s password."""
        return len(normalised(password)) <= MAX_LENGTH and await self._passwords.verify(password, user.password_hash)

    async def set_password(
        self, user: User, password: str, context: AuditContext, action: Action, *, keep: str | None = None
    ) -> None:
        """Give `user` a new password, end all sign-ins except the one with the id `keep`, and tell the user by mail.

        Raises InvalidRequest if it is weak, UserNotFound if the user has gone, WrongPassword if somebody else was
        faster.
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
                if now.password_hash != user.password_hash:  # somebody else was faster
                    raise WrongPassword
                user = now
        self._notices.password_changed(user)

    def refuse_weak(self, user: User, password: str) -> None:
        """InvalidRequest if that is too weak a new password for `user`."""
        _refuse_weak(password, user.username, "new_password")

    async def reachable_by(self, email: str) -> list[User]:
        """The active users whose verified address that is, in any case."""
        found = await self._users.find_by_email(email)
        return [user for user in found if user.email_verified and not user.disabled]

    async def verify_email(self, user: User, email: str, context: AuditContext) -> bool:
        """Record that `email` is `user`'s. Return False if they have another by now, or are gone."""
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
        """WrongPassword unless that is `user`'s; delayed as sign-ins are."""
        await self._delays.attempt(user.username, context.address)
        if password is None or not await self._has_password(user, password.get_secret_value()):
            raise WrongPassword
        await self._delays.succeeded(user.username, context.address)

    async def patch(
        self, user: User, patch: UserPatch, caller: Caller, expected: ExpectedVersions, context: AuditContext
    ) -> User:
        """Changes what `caller` may change about `user`: role and disabled as an admin, the rest as oneself; another
        address only with one's password, and the one before is told. Who is disabled or demoted is signed out
        everywhere."""
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
        """Delete `user` with all that is stored about them. What the audit log has about them is without a name."""
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
