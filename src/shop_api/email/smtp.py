"""Email delivery: over SMTP, or to the log during development."""

import ssl
from email.message import EmailMessage

import aiosmtplib
import structlog

from shop_api.email.queue import Email, Mailer
from shop_api.settings import Settings, smtp_url

log = structlog.get_logger()

# Seconds for one delivery attempt.
_TIMEOUT = 10


class SmtpMailer:
    """Sends through the server at `smtp://user:password@host:587` or `smtps://host:465`. With a password the
    connection must be encrypted; without one it is encrypted if the server supports STARTTLS."""

    def __init__(self, url: str, sender: str, tls: ssl.SSLContext | None = None) -> None:
        self._server, self._sender, self._tls = smtp_url.parse(url), sender, tls

    async def send(self, email: Email) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, email.to, email.subject
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses automatic replies
        message.set_content(email.text)
        server = self._server
        await aiosmtplib.send(
            message,
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.encrypted,
            start_tls=True if server.user and not server.encrypted else None,
            tls_context=self._tls,
            timeout=_TIMEOUT,
        )


class LogMailer:
    """Writes emails to the log, including the tokens in them."""

    async def send(self, email: Email) -> None:
        # On one line, since the log escapes line ends and the escape would become part of a link.
        text = " ".join(email.text.split())
        log.info("an email was logged instead of sent", to=email.to, subject=email.subject, text=text)


class NoMailer:
    """Logs that an email was not sent, without its address and text."""

    async def send(self, email: Email) -> None:
        log.warning("an email was not sent: set SHOP_SMTP_URL", subject=email.subject)


def mailer(settings: Settings) -> Mailer:
    """Return the mailer for `settings`."""
    if settings.smtp_url is None:
        return NoMailer()
    url = settings.smtp_url.get_secret_value()
    return LogMailer() if url == smtp_url.TO_LOG else SmtpMailer(url, settings.mail_from or "")
