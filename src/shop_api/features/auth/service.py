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
from shop_api.features.auth.refresh_tokens import RefreshToken
from shop_api.features.auth.repository import SessionRepository
from shop_api.features.users.models import Registration, User
from shop_api.features.users.service import UserService
from shop_api.kernel.clock import Clock
from shop_api.kernel.errors import InvalidToken
from shop_api.kernel.permissions import Caller, Permission, Role
from shop_api.security.rate_limits import RateLimits
from shop_api.security.sign_in_delays import SignInDelays
from shop_api.security.tokens import LIFETIME, AccessTokens

# These count failed and successful requests alike, because each computes a password hash.
SIGN_INS_PER_ADDRESS = "60 per minute"
REGISTRATIONS_PER_ADDRESS = "30 per minute"
REGISTRATIONS_PER_ACCOUNT = "10 per 5 minutes"
# Idle timeout and absolute lifetime of a session.
IDLE_TIMEOUT, ABSOLUTE_LIFETIME = timedelta(days=30), timedelta(days=180)
log = structlog.get_logger()


class AuthService:
    def __init__(
        self,
        users: UserService,
        sessions: SessionRepository,
        tokens: AccessTokens,
        limits: RateLimits,
        delays: SignInDelays,
        sign_ins: SignIns,
        roles: Mapping[Role, frozenset[Permission]],
        clock: Clock,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._tokens = tokens
        self._limits = limits
        self._delays = delays
        self._sign_ins = sign_ins
        self._roles = roles
        self._clock = clock

    async def sign_in(self, username: str, password: str, client: ClientInfo) -> Tokens:
        """Start a session and return its tokens. Raises RateLimited after too many attempts, and InvalidCredentials
        for every other failure."""
        return await self._sign_ins.counted(self._sign_in(username, password, client))

    async def _sign_in(self, username: str, password: str, client: ClientInfo) -> Tokens:
        await self._limits.hit(SIGN_INS_PER_ADDRESS, "sign-in address", client.address)
        await self._delays.attempt(username.lower(), client.address)
        user = await self._users.authenticate(username, password)
        if user is None:
            raise InvalidCredentials
        await self._delays.succeeded(user.username, client.address)
        token = RefreshToken.first(str(uuid7()))
        now = self._clock()
        # The details come first: a crash before the next write then leaves only a document of no active session.
        await self._sessions.add(
            Session(
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
        )
        if not await self._users.open_session(user, token.session_id):
            await self._sessions.remove([token.session_id])
            raise InvalidCredentials
        log.info("signed in", user_id=user.id, session_id=token.session_id)
        return self._granted(user.id, token)

    async def refresh(self, text: str, client: ClientInfo) -> Tokens:
        """Exchange a refresh token for the next one and an access token. Raises InvalidRefreshToken if it is invalid.

        Reuse of a refresh token ends the session, because either its owner or a thief used it second.
        """
        token = RefreshToken.read(text)
        session, now = await self._sessions.get(token.session_id), self._clock()
        if session is None or session.family_hash != token.family_hash or session.expires_at <= now:
            raise InvalidRefreshToken
        user = await self._users.active(session.user_id)
        if user is None or session.id not in user.sessions:
            raise InvalidRefreshToken
        following = token.successor()
        held = session.model_copy(update={"secret_hash": token.secret_hash, **client._asdict()})
        expires_at = min(now + IDLE_TIMEOUT, session.created_at + ABSOLUTE_LIFETIME)
        if not await self._sessions.rotate(held, following.secret_hash, now, expires_at):
            log.warning(
                "a refresh token was reused: its session has been ended", user_id=user.id, session_id=session.id
            )
            await self._end(user.id, session.id)
            raise InvalidRefreshToken
        return self._granted(user.id, following)

    def _granted(self, user_id: str, token: RefreshToken) -> Tokens:
        return Tokens(
            access_token=self._tokens.issue(user_id, token.session_id),
            token_type="bearer",  # noqa: S106  # nosec B106
            expires_in=int(LIFETIME.total_seconds()),
            refresh_token=str(token),
        )

    async def register(self, body: Registration, caller: Caller | None, context: AuditContext, new_id: str) -> User:
        """Add a user as `UserService.register` does. Raises RateLimited after too many requests from one address or
        for one username."""
        await self._limits.hit(REGISTRATIONS_PER_ADDRESS, "registration address", context.address)
        await self._limits.hit(REGISTRATIONS_PER_ACCOUNT, "registration account", body.username)
        return await self._users.register(body, caller, context, new_id)

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

    async def end_session(self, user: User, session_id: str) -> None:
        """End one session of `user`. Raises SessionNotFound if it is not active."""
        if not await self._end(user.id, session_id):
            raise SessionNotFound

    async def end_sessions(self, user: User) -> None:
        """End all sessions of `user`."""
        await self._users.end_sessions(user.id)
        await self._sessions.remove_others(user.id)

    async def change_password(
        self, user: User, session_id: str, current: SecretStr, new: str, context: AuditContext
    ) -> None:
        """Set a new password and end all sessions except `session_id`. Raises WrongPassword unless `current` is the
        current password."""
        await self._users.confirm_password(user, current, context)
        await self._users.set_password(user, new, context, "password_changed", keep=session_id)

    async def _end(self, user_id: str, session_id: str) -> bool:
        ended = await self._users.end_session(user_id, session_id)
        if ended:
            await self._sessions.remove([session_id])
        return ended
