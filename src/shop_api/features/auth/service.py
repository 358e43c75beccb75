"""Sign-ins: how one begins, goes on by refresh tokens, and ends; and what an access token is worth at this moment."""

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

# However they end: each costs a password hash.
SIGN_INS_PER_ADDRESS = "60 per minute"
REGISTRATIONS_PER_ADDRESS = "30 per minute"
REGISTRATIONS_PER_ACCOUNT = "10 per 5 minutes"
# A session ends when it was not used so long, and at the latest so long after the sign-in.
IDLE, LONGEST = timedelta(days=30), timedelta(days=180)
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
        """A new session; RateLimited after too many attempts, InvalidCredentials whatever else is wrong."""
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
        # First what says more about it: killed in between, this leaves a session that nobody can use.
        await self._sessions.add(
            Session(
                id=token.session_id,
                user_id=user.id,
                family_hash=token.family_hash,
                secret_hash=token.secret_hash,
                created_at=now,
                last_used_at=now,
                expires_at=now + IDLE,
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
        """Spends a refresh token for the next one and an access token; InvalidRefreshToken if it is not good. One
        that was spent before ends the session: either its owner or a thief has come second."""
        token = RefreshToken.read(text)
        session, now = await self._sessions.get(token.session_id), self._clock()
        if session is None or session.family_hash != token.family_hash or session.expires_at <= now:
            raise InvalidRefreshToken
        user = await self._users.active(session.user_id)
        if user is None or session.id not in user.sessions:
            raise InvalidRefreshToken
        following = token.successor()
        held = session.model_copy(update={"secret_hash": token.secret_hash, **client._asdict()})
        expires_at = min(now + IDLE, session.created_at + LONGEST)
        if not await self._sessions.rotate(held, following.secret_hash, now, expires_at):
            log.warning(
                "a spent refresh token was used: the session is ended", user_id=user.id, session_id=session.id
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
        """Add a user as `UserService.register` does. Raises RateLimited after too many from one address or for one
        name."""
        await self._limits.hit(REGISTRATIONS_PER_ADDRESS, "registration address", context.address)
        await self._limits.hit(REGISTRATIONS_PER_ACCOUNT, "registration account", body.username)
        return await self._users.register(body, caller, context, new_id)

    def is_genuine(self, token: str) -> bool:
        """Whether that is an access token of ours, not expired; whether its session is in force is not looked up."""
        try:
            self._tokens.verify(token)
        except InvalidToken:
            return False
        return True

    def session_of(self, token: str) -> str:
        """The id of the session that an access token belongs to; InvalidToken when it is not ours or expired."""
        return self._tokens.verify(token).session_id

    async def caller_of(self, token: str) -> Caller:
        """Who has an access token, as stored now; InvalidToken when its session is not in force."""
        claims = self._tokens.verify(token)
        user = await self._users.active(claims.user_id)
        if user is None or claims.session_id not in user.sessions:
            raise InvalidToken
        return Caller(user.id, self._roles[user.role], claims.session_id, user)

    async def sign_out(self, token: str) -> None:
        """Ends the session of an access token, unless it has ended; InvalidToken when it is not ours or expired."""
        claims = self._tokens.verify(token)
        await self._end(claims.user_id, claims.session_id)

    async def sessions(self, user: User) -> list[Session]:
        """The sign-ins of `user` that are in force, the newest first."""
        now = self._clock()
        found = await self._sessions.find_many(user.sessions)
        return [session for session in found if session.expires_at > now]

    async def end_session(self, user: User, session_id: str) -> None:
        """Ends one sign-in of `user`'s; SessionNotFound if there is none."""
        if not await self._end(user.id, session_id):
            raise SessionNotFound

    async def end_sessions(self, user: User) -> None:
        """Ends all sign-ins of `user`'s."""
        await self._users.end_sessions(user.id)
        await self._sessions.remove_others(user.id)

    async def change_password(
        self, user: User, session_id: str, current: SecretStr, new: str, context: AuditContext
    ) -> None:
        """Gives `user` a new password and ends all other sessions; WrongPassword unless `current` is the old one."""
        await self._users.confirm_password(user, current, context)
        await self._users.set_password(user, new, context, "password_changed", keep=session_id)

    async def _end(self, user_id: str, session_id: str) -> bool:
        ended = await self._users.end_session(user_id, session_id)
        if ended:
            await self._sessions.remove([session_id])
        return ended
