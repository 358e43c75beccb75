"""Account errors that clients receive."""

from shop_api.kernel.errors import Conflict, Forbidden, NotFound


class WrongPassword(Forbidden):
    """The current password is wrong. The access token is valid, so signing in again does not help."""

    code, title = "wrong_password", "The current password is wrong"


class RecentSignInRequired(Forbidden):
    """This cannot be undone, so it requires a sign-in that is less than five minutes old. Sign in again, and send the
    request with the new token."""

    code, title = "recent_sign_in_required", "Sign in again first"


class UserNotFound(NotFound):
    """No user has this username."""

    status, code, title = 404, "user_not_found", "No such user"


class DuplicateUsername(Conflict):
    """The username is taken. Usernames are folded to lower case, so `Ada` and `ada` are the same."""

    code, title = "duplicate_username", "The username is taken"


class LastAdmin(Conflict):
    """The last active admin cannot be deleted, demoted or disabled, because no one could then manage the shop."""

    code, title = "last_admin", "The last active admin must remain"
