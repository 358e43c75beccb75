"""E-mail notices about changes to an account."""

from collections.abc import Sequence

from shop_api.email.queue import Email, MailQueue
from shop_api.features.users.models import User


class Notices:
    """Sends notices that name the shop at `public_url`, to verified addresses only."""

    def __init__(self, mail_queue: MailQueue, public_url: str) -> None:
        self._mail_queue = mail_queue
        self._api = public_url.rstrip("/")

    def password_changed(self, user: User) -> None:
        text = (
            f"The password of the account {user.username} at {self._api} was changed.\n"
            "All other sessions were ended.\n"
            "If it was not you, reset your password immediately.\n"
        )
        self._send(user, "Your password was changed", text)

    def address_changed(self, before: User) -> None:
        """Notify the previous address that the account now has another one."""
        text = (
            f"The e-mail address of the account {before.username} at {self._api} was changed.\n"
            "If it was not you, change your password immediately and contact the shop.\n"
        )
        self._send(before, "Your address was changed", text)

    def _send(self, user: User, subject: str, text: str) -> None:
        async def job() -> Sequence[Email]:
            return [Email(user.email or "", subject, text)]

        if user.email_verified:
            self._mail_queue.put(job)
