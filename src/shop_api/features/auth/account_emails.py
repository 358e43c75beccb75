"""E-mails that carry one-time tokens."""

from collections.abc import Sequence

from shop_api.email.queue import Email
from shop_api.features.users.models import User


class AccountEmails:
    """Composes e-mails for the shop at `public_url`, with links to `front_end_url` if one is set."""

    def __init__(self, public_url: str, front_end_url: str | None) -> None:
        self._api, self._pages = public_url.rstrip("/"), front_end_url

    def verification(self, user: User, token: str) -> Email:
        request = self._do("verify-email", token, "/auth/email/verification", "")
        text = (
            f"This address was entered for the account {user.username} at {self._api}.\n"
            "If it was not you, ignore this e-mail.\n\n"
            f"To confirm that the address is yours, within 24 hours {request}"
        )
        return Email(user.email or "", "Confirm your address", text)

    def reset(self, tokens: Sequence[tuple[User, str]]) -> Email:
        """Compose one e-mail for all accounts, at least one, with the same address."""
        accounts = [
            f"To choose a new password for the account {user.username} at {self._api}, within an hour "
            + self._do("reset-password", token, "/auth/password/reset/confirm", ', "new_password": "…"')
            for user, token in tokens
        ]
        text = (
            f"A password reset was requested at {self._api}.\n"
            "If it was not you, ignore this e-mail: your password stays the same.\n\n"
        )
        return Email(tokens[0][0].email or "", "Choose a new password", text + "\n".join(accounts))

    def _do(self, page: str, token: str, path: str, more: str) -> str:
        """Return the instruction to use `token`: a link if there is a front end, else an HTTP request.

        A link carries the token in its fragment, which browsers do not send, so no server logs it.
        """
        if self._pages:
            return f"open\n\n{self._pages.rstrip('/')}/{page}#token={token}\n"
        return f'send\n\nPOST {self._api}{path}\nContent-Type: application/json\n\n{{"token": "{token}"{more}}}\n'
