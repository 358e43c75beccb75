"""E-mail verification and password reset."""

from collections.abc import Sequence

import structlog

from shop_api.audit.models import AuditContext
from shop_api.email.queue import Email, MailQueue
from shop_api.features.auth.account_emails import AccountEmails
from shop_api.features.auth.errors import InvalidOneTimeToken, NoEmail
from shop_api.features.auth.one_time_tokens import OneTimeToken, OneTimeTokens, Purpose
from shop_api.features.users.models import User
from shop_api.features.users.password_service import PasswordService
from shop_api.features.users.service import UserNotFound, UserService, WrongPassword
from shop_api.security.rate_limits import RateLimits

VERIFICATIONS_PER_USER = "3 per hour"
# Counts all requested mail to an address, regardless of requester, account and purpose, so that nobody can flood a
# stranger. Notices of changes are not counted.
MAILS_PER_EMAIL = "3 per hour"
VERIFICATIONS_OF_VERIFIED = "1 per hour"
RESETS_PER_ADDRESS = "20 per hour"
TOKENS_PER_ADDRESS = "30 per minute"
log = structlog.get_logger()


class EmailService:
    def __init__(
        self,
        users: UserService,
        passwords: PasswordService,
        tokens: OneTimeTokens,
        mail_queue: MailQueue,
        emails: AccountEmails,
        limits: RateLimits,
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._tokens = tokens
        self._mail_queue = mail_queue
        self._emails = emails
        self._limits = limits

    async def ask_verification(self, user: User) -> None:
        """Queue a verification e-mail to `user`, unless the address is verified. Raises NoEmail if there is none."""
        if user.email is None:
            raise NoEmail
        if user.email_verified:
            return
        await self._limits.hit(VERIFICATIONS_PER_USER, "verification", user.id)

        async def job() -> Sequence[Email]:
            if not await self._may_verify(user.email):
                return []
            return [self._emails.verification(user, await self._tokens.make("verify", user))]

        self._mail_queue.put(job)

    async def verify(self, text: str, address: str, request_id: str) -> None:
        """Mark the user's address as verified. Raises InvalidOneTimeToken if the address has changed since."""
        token, user = await self._found("verify", text, address)
        context = AuditContext(user.id, address, request_id)
        if not await self._tokens.spend(token) or not await self._users.verify_email(user, token.email, context):
            raise InvalidOneTimeToken

    async def ask_reset(self, email: str, address: str) -> None:
        """Queue one reset e-mail with a token for each user with this verified address.

        Beyond the limits nothing is sent, and nothing is said: neither the response nor its time reveals whether a
        user exists or who else has asked. The lookup runs in the queue.
        """

        async def job() -> Sequence[Email]:
            users = await self._users.reachable_by(email)
            # By the exact address: ignoring case, ß is ss, and a token must go to nobody else's mailbox.
            addresses = {user.email: [other for other in users if other.email == user.email] for user in users}
            return [await self._reset_of(group) for to, group in addresses.items() if await self._may_write_to(to)]

        if await self._limits.allow(RESETS_PER_ADDRESS, "reset address", address):
            self._mail_queue.put(job)

    async def _reset_of(self, users: Sequence[User]) -> Email:
        """Compose the e-mail for users with the same address."""
        return self._emails.reset([(user, await self._tokens.make("reset", user)) for user in users])

    async def _may_verify(self, email: str | None) -> bool:
        """Return whether a verification may be sent. To an address that another account has verified, fewer go, so
        that a stranger who enters it leaves resets to its owner."""
        if await self._users.reachable_by(email or ""):
            limit, key = VERIFICATIONS_OF_VERIFIED, (email or "").casefold()
            if not await self._limits.allow(limit, "verification of a verified address", key):
                return False
        return await self._may_write_to(email)

    async def _may_write_to(self, email: str | None) -> bool:
        allowed = await self._limits.allow(MAILS_PER_EMAIL, "mail", (email or "").casefold())
        if not allowed:
            log.info("an email was not sent: its address has had as many as it may in an hour")
        return allowed

    async def reset(self, text: str, password: str, address: str, request_id: str) -> None:
        """Set a new password and end all sessions. Raises InvalidRequest, without consuming the token, if the
        password is weak."""
        token, user = await self._found("reset", text, address)
        if not user.email_verified:  # the address was changed and changed back
            raise InvalidOneTimeToken
        # Hash first: the password may be weak, or hashing may have to wait, and then the token must remain unused.
        password_hash = await self._passwords.new_hash(user, password, address)
        if not await self._tokens.spend(token):
            raise InvalidOneTimeToken
        try:
            context = AuditContext(user.id, address, request_id)
            await self._users.set_password(user, password_hash, context, "password_reset")
        except (UserNotFound, WrongPassword):  # a concurrent request deleted the user or changed the password
            raise InvalidOneTimeToken from None
        await self._passwords.trust(user, address)

    async def _found(self, purpose: Purpose, text: str, address: str) -> tuple[OneTimeToken, User]:
        await self._limits.hit(TOKENS_PER_ADDRESS, "one-time tokens", address)
        token = await self._tokens.find(purpose, text)
        user = await self._users.active(token.user_id) if token else None
        if token is None or user is None or not token.fits(user):
            raise InvalidOneTimeToken
        return token, user
