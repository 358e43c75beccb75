"""The errors of sign-ins, sessions and tokens from mails that a client can see."""

from shop_api.kernel.errors import Conflict, NotFound, ShopError, Unauthenticated


class InvalidOneTimeToken(ShopError):
    """The token from the mail is not valid: spent, expired, replaced by a newer one, or the account's address or
    password has changed since it was sent. Ask for another."""

    status, code, title = 400, "invalid_one_time_token", "The token from the mail is not valid"


class InvalidCredentials(ShopError):
    """Sign-in failed. The answer is the same for a wrong password, an unknown name and a disabled user."""

    status, code, title = 401, "invalid_credentials", "Wrong username or password"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class InvalidRefreshToken(Unauthenticated):
    """The refresh token is not valid: spent, expired, invented, or of a session that has ended. Sign in again. A
    token that is used a second time ends its session, since one of the two users has stolen it."""

    status, code, title = 401, "invalid_refresh_token", "The refresh token is not valid"


class SessionNotFound(NotFound):
    """You have no session with this id, or not any more."""

    status, code, title = 404, "session_not_found", "No such session"


class NoEmail(Conflict):
    """The account has no e-mail address to write to; set one with `PATCH /users/me`."""

    code, title = "no_email", "The account has no e-mail address"
