"""The errors of accounts that a client can see."""

from shop_api.kernel.errors import Conflict, Forbidden, NotFound


class WrongPassword(Forbidden):
    """The current password is not right. The token is: signing in again would not help."""

    code, title = "wrong_password", "The current password is not right"


class UserNotFound(NotFound):
    """There is no user of this name."""

    status, code, title = 404, "user_not_found", "No such user"


class DuplicateUsername(Conflict):
    """This username is taken. Names are folded to lower case, so `Ada` and `ada` are the same."""

    code, title = "duplicate_username", "The username is taken"


class LastAdmin(Conflict):
    """The last active admin cannot be deleted, demoted or disabled: nobody could manage the shop any more."""

    code, title = "last_admin", "The last active admin has to stay"
