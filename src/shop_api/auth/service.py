"""Sign-in, and what an access token is worth at this moment."""

from uuid_utils import uuid7

from shop_api.errors import InvalidToken
from shop_api.rate_limits import RateLimits
from shop_api.tokens import AccessTokens
from shop_api.users.models import User
from shop_api.users.service import UserService

# The limits of both public operations that cost a password hash.
SIGN_INS_PER_ACCOUNT = "10 per 5 minutes"
SIGN_INS_PER_ADDRESS = "60 per minute"
REGISTRATIONS_PER_ACCOUNT = "10 per 5 minutes"
REGISTRATIONS_PER_ADDRESS = "30 per minute"


class AuthService:
    def __init__(self, users: UserService, tokens: AccessTokens, limits: RateLimits) -> None:
        self._users = users
        self._tokens = tokens
        self._limits = limits

    async def sign_in(self, username: str, password: str, address: str) -> str:
        """An access token; RateLimited after too many attempts, InvalidCredentials whatever else is wrong."""
        await self._limits.hit(SIGN_INS_PER_ADDRESS, "sign-in address", address)
        await self._limits.hit(SIGN_INS_PER_ACCOUNT, "sign-in account", username.lower())
        user = await self._users.authenticate(username, password)
        return self._tokens.issue(user.id, session_id=str(uuid7()))

    async def limit_registration(self, username: str, address: str) -> None:
        await self._limits.hit(REGISTRATIONS_PER_ADDRESS, "registration address", address)
        await self._limits.hit(REGISTRATIONS_PER_ACCOUNT, "registration account", username)

    def is_signed_in(self, token: str) -> bool:
        """Whether that is an access token in force; whose it is, and whether they still exist, is not looked up."""
        try:
            self._tokens.verify(token)
        except InvalidToken:
            return False
        return True

    async def user_of(self, token: str) -> User:
        """The stored user behind an access token, as of now; InvalidToken when gone or disabled."""
        user = await self._users.active(self._tokens.verify(token).user_id)
        if user is None:
            raise InvalidToken
        return user
