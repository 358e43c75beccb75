"""Checks and new values of passwords, with the delays between attempts to guess one."""

import structlog
from pydantic import SecretStr

from shop_api.features.users.errors import WrongPassword
from shop_api.features.users.models import User
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.errors import FieldError, InvalidRequest
from shop_api.security.passwords import MAX_LENGTH, Passwords, normalised, weakness
from shop_api.security.sign_in_delays import SignInDelays

log = structlog.get_logger()


class PasswordService:
    """All methods raise RateLimited if the client at `address` has to wait: after failures, or for a hash."""

    def __init__(self, users: UserRepository, passwords: Passwords, delays: SignInDelays) -> None:
        self._users = users
        self._passwords = passwords
        self._delays = delays

    async def authenticate(self, username: str, password: str, address: str) -> User | None:
        """Return the user with these credentials, or None. An unknown username takes the same work as a wrong
        password, so neither the result nor its timing reveals whether the user exists."""
        name = username.strip().lower()  # keyboards of phones add a space
        return await self._delays.guarded(name, address, lambda: self._found(name, password, address))

    async def _found(self, username: str, password: str, address: str) -> User | None:
        if len(normalised(password)) > MAX_LENGTH:  # no stored password is that long, so hashing it is wasted work
            return None
        user = await self._users.find(username)
        right = await self._passwords.verify(password, user.password_hash if user else None, address)
        if user is None or not right or user.disabled:
            log.info(
                "a sign-in was refused", user_id=user.id if user else None, disabled=bool(user and user.disabled)
            )
            return None
        return user

    async def confirm(self, user: User, password: SecretStr | None, address: str) -> None:
        """Raise WrongPassword unless `password` is the password of `user`. Subject to the same delays as sign-ins."""
        if not await self._delays.guarded(user.username, address, lambda: self._is_right(user, password, address)):
            raise WrongPassword

    async def _is_right(self, user: User, password: SecretStr | None, address: str) -> bool:
        if password is None or len(normalised(password.get_secret_value())) > MAX_LENGTH:
            return False
        return await self._passwords.verify(password.get_secret_value(), user.password_hash, address)

    async def new_hash(self, user: User, password: str, address: str) -> str:
        """Return the hash of a new password of `user`. Raises InvalidRequest if it is weak."""
        _refuse_weak(password, user.username, "new_password")
        return await self._passwords.hash(password, address)

    async def first_hash(self, username: str, password: str, address: str) -> str:
        """Return the hash of the password of a new user. Raises InvalidRequest if it is weak."""
        _refuse_weak(password, username, "password")
        return await self._passwords.hash(password, address)

    async def trust(self, user: User, address: str) -> None:
        """Take `address` for one that the owner of the account uses: they have just shown it in another way."""
        await self._delays.trust(user.username, address)


def _refuse_weak(password: str, username: str, field: str) -> None:
    """Raise InvalidRequest, naming the member `field` of the body, if `password` is too weak for this username."""
    if reason := weakness(password, username):
        raise InvalidRequest([FieldError(("body", field), "weak_password", f"The password {reason}")])
