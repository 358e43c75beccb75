"""Errors of sign-ins, sessions and one-time tokens that clients receive."""

from shop_api.kernel.errors import Conflict, NotFound, ShopError, Unauthenticated


class InvalidOneTimeToken(ShopError):
    """The one-time token is invalid: it is used, expired or replaced by a newer one, or the account's e-mail address
    or password has changed since it was sent. Request a new one."""

    status, code, title = 400, "invalid_one_time_token", "The one-time token is invalid"


class InvalidCredentials(ShopError):
    """Sign-in failed. The response is the same for a wrong password, an unknown username and a disabled user."""

    status, code, title = 401, "invalid_credentials", "Wrong username or password"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class InvalidRefreshToken(Unauthenticated):
    """The refresh token is invalid: it is used, expired or unknown, or its session has ended. Sign in again. Reusing
    a refresh token ends its session, because one of the two clients that hold it has stolen it."""

    status, code, title = 401, "invalid_refresh_token", "The refresh token is invalid"


class SessionNotFound(NotFound):
    """You have no active session with this id."""

    status, code, title = 404, "session_not_found", "No such session"


class NoEmail(Conflict):
    """The account has no e-mail address. Set one with `PATCH /users/me`."""

    code, title = "no_email", "The account has no e-mail address"
