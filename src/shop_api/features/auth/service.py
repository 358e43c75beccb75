"""Sessions: sign-in, refresh token rotation and sign-out; and authentication of access tokens."""

from collections.abc import Mapping
from datetime import timedelta

import structlog
from pydantic import SecretStr
from uuid_utils import uuid7

from shop_api.audit.models import AuditContext
from shop_api.features.auth.errors import InvalidCredentials, InvalidRefreshToken, SessionNotFound
from shop_api.features.auth.metrics import SignIns
from shop_api.features.auth.models import ClientInfo, Session, Tokens
from shop_api.features.auth.refresh_tokens import RefreshToken, successor_key
from shop_api.features.auth.repository import SessionRepository
from shop_api.features.users.models import Registration, User
from shop_api.features.users.password_service import PasswordService
from shop_api.features.users.service import MAX_SESSIONS, UserService
from shop_api.kernel.clock import Clock
from shop_api.kernel.errors import InvalidToken
from shop_api.kernel.permissions import Caller, Permission, Role
from shop_api.security.rate_limits import RateLimits
from shop_api.security.tokens import LIFETIME, AccessTokens
from shop_api.storage.mongo.attempts import Attempt
from shop_api.storage.mongo.transactions import Session as Transaction
from shop_api.storage.mongo.transactions import Transactions

# These count failed and successful requests alike, because each computes a password hash.
SIGN_INS_PER_ADDRESS = "60 per minute"
REGISTRATIONS_PER_ADDRESS = "30 per minute"
REGISTRATIONS_PER_ACCOUNT = "10 per 5 minutes"
# Idle timeout and absolute lifetime of a session.
IDLE_TIMEOUT, ABSOLUTE_LIFETIME = timedelta(days=30), timedelta(days=180)
# Time after the first use of a refresh token in which the same client may use it again.
LEEWAY = timedelta(seconds=10)
log = structlog.get_logger()


class AuthService:
    def __init__(
        self,
        users: UserService,
        passwords: PasswordService,
        sessions: SessionRepository,
        tokens: AccessTokens,
        limits: RateLimits,
        transactions: Transactions,
        sign_ins: SignIns,
        roles: Mapping[Role, frozenset[Permission]],
        clock: Clock,
        secret: bytes,
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._sessions = sessions
        self._tokens = tokens
        self._limits = limits
        self._transactions = transactions
        self._sign_ins = sign_ins
        self._roles = roles
        self._clock = clock
        self._refresh_key = successor_key(secret)

    async def sign_in(self, username: str, password: str, client: ClientInfo) -> Tokens:
        """Start a session and return its tokens. Raises RateLimited after too many attempts, and InvalidCredentials
        for every other failure."""
        return await self._sign_ins.counted(self._sign_in(username, password, client))

    async def _sign_in(self, username: str, password: str, client: ClientInfo) -> Tokens:
        await self._limits.hit(SIGN_INS_PER_ADDRESS, "sign-in address", client.address)
        user = await self._passwords.authenticate(username, password, client.address)
        if user is None:
            raise InvalidCredentials
        token = RefreshToken.first(str(uuid7()))
        now = self._clock()
        session = Session(
            id=token.session_id,
            user_id=user.id,
            family_hash=token.family_hash,
            secret_hash=token.secret_hash,
            created_at=now,
            last_used_at=now,
            expires_at=now + IDLE_TIMEOUT,
            address=client.address,
            user_agent=client.user_agent,
        )
        if not await self._open(user, session):
            raise InvalidCredentials
        log.info("signed in", user_id=user.id, session_id=token.session_id)
        return self._granted(user.id, token)

    async def _open(self, user: User, session: Session) -> bool:
        """Store a new session. Return False, and store nothing, if the user must not sign in any more."""

        async def work(transaction: Transaction) -> bool:
            active = await self._users.open_session(user, session.id, transaction)
            if active is None:
                return False
            await self._sessions.add(session, transaction)
            if len(active) == MAX_SESSIONS:  # the oldest has ended
                await self._sessions.remove_others(user.id, active, transaction)
            return True

        return await self._transactions.run(work)

    async def refresh(self, text: str, client: ClientInfo) -> Tokens:
        """Exchange a refresh token for the next one and an access token. Raises InvalidRefreshToken if it is invalid.

        Reuse of a refresh token ends the session, because either its owner or a thief used it second. But two tabs of
        one browser may use it at once: for LEEWAY after its first use, the same client gets the same successor.
        """
        token = RefreshToken.read(text)
        session, now = await self._sessions.get(token.session_id), self._clock()
        if session is None or session.family_hash != token.family_hash or session.expires_at <= now:
            raise InvalidRefreshToken
        user = await self._users.active(session.user_id)
        if user is None or session.id not in user.sessions:
            raise InvalidRefreshToken
        following = token.successor(self._refresh_key)
        held = session.model_copy(update={"secret_hash": token.secret_hash, **client._asdict()})
        expires_at = min(now + IDLE_TIMEOUT, session.created_at + ABSOLUTE_LIFETIME)
        if await self._sessions.rotate(held, following.secret_hash, now, expires_at):
            return self._granted(user.id, following)
        current = await self._sessions.get(session.id)
        if current is None or not current.was_rotated(token.secret_hash, client, now - LEEWAY):
            await self._end_reused(session)
        elif current.secret_hash == following.secret_hash:
            return self._granted(user.id, following)
        # Otherwise an instance with another secret derived another successor; the session goes on.
        raise InvalidRefreshToken

    async def _end_reused(self, session: Session) -> None:
        if await self._end(session.user_id, session.id):
            log.warning(
                "a refresh token was reused: its session has been ended",
                user_id=session.user_id,
                session_id=session.id,
            )

    def _granted(self, user_id: str, token: RefreshToken) -> Tokens:
        return Tokens(
            access_token=self._tokens.issue(user_id, token.session_id),
            token_type="bearer",  # noqa: S106  # nosec B106
            expires_in=int(LIFETIME.total_seconds()),
            refresh_token=str(token),
        )

    async def register(
        self, body: Registration, caller: Caller | None, context: AuditContext, attempt: Attempt
    ) -> User:
        """Add a user as `UserService.register` does. Raises RateLimited after too many requests from one address or
        for one username."""
        await self._limits.hit(REGISTRATIONS_PER_ADDRESS, "registration address", context.address)
        await self._limits.hit(REGISTRATIONS_PER_ACCOUNT, "registration account", body.username)
        return await self._users.register(body, caller, context, attempt)

    def is_genuine(self, token: str) -> bool:
        """Return whether an access token has a valid signature and is not expired. Does not look up its session."""
        try:
            self._tokens.verify(token)
        except InvalidToken:
            return False
        return True

    def session_of(self, token: str) -> str:
        """Return the session id of an access token. Raises InvalidToken if the token is invalid or expired."""
        return self._tokens.verify(token).session_id

    async def caller_of(self, token: str) -> Caller:
        """Return the caller of an access token, with their stored role. Raises InvalidToken if the token is
        invalid, its session has ended or the user is disabled."""
        claims = self._tokens.verify(token)
        user = await self._users.active(claims.user_id)
        if user is None or claims.session_id not in user.sessions:
            raise InvalidToken
        return Caller(user.id, self._roles[user.role], claims.session_id, user)

    async def sign_out(self, token: str) -> None:
        """End the session of an access token, if active. Raises InvalidToken if the token is invalid or expired."""
        claims = self._tokens.verify(token)
        await self._end(claims.user_id, claims.session_id)

    async def sessions(self, user: User) -> list[Session]:
        """Return the active sessions of `user`, newest first."""
        now = self._clock()
        found = await self._sessions.find_many(user.sessions)
        return [session for session in found if session.expires_at > now]

    async def end_session(self, caller: Caller, session_id: str) -> None:
        """End one session of the caller. Raises SessionNotFound if it is not active."""
        if not await self._end(caller.id, session_id, caller):
            raise SessionNotFound

    async def end_sessions(self, caller: Caller) -> None:
        """End all sessions of the caller."""

        async def work(transaction: Transaction) -> None:
            await self._users.end_sessions(caller, transaction)
            await self._sessions.remove_others(caller.id, session=transaction)

        await self._transactions.run(work)

    async def change_password(
        self, user: User, session_id: str, current: SecretStr, new: str, context: AuditContext
    ) -> None:
        """Set a new password and end all sessions except `session_id`. Raises WrongPassword unless `current` is the
        current password."""
        await self._passwords.confirm(user, current, context.address)
        password_hash = await self._passwords.new_hash(user, new, context.address)
        await self._users.set_password(user, password_hash, context, "password_changed", keep=session_id)

    async def _end(self, user_id: str, session_id: str, caller: Caller | None = None) -> bool:
        """End a session, with its document. Return False if it is not active. `caller` is the user who ends it,
        or None if a token of the session itself does."""

        async def work(transaction: Transaction) -> bool:
            ended = await self._users.end_session(user_id, session_id, transaction, caller)
            if ended:
                await self._sessions.remove([session_id], transaction)
            return ended

        return await self._transactions.run(work)
