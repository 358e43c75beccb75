"""Parses `SHOP_SMTP_URL` and the sender of email."""

import re
from email.utils import getaddresses
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

TO_LOG = "log:"
SCHEMES = ("smtp://", "smtps://", TO_LOG)
_FORM = "smtp://user:password@host:587, with characters of the password other than letters and digits as %XX"


class Address(NamedTuple):
    host: str
    port: int
    user: str | None
    """Present if and only if `password` is."""
    password: str | None
    encrypted: bool
    """Whether TLS starts with the connection (smtps). Otherwise it starts in plain text and STARTTLS encrypts it."""


def parse(url: str) -> Address:
    """Parse an SMTP URL. Raise ValueError if malformed; the message omits the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        host, port, user, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError:  # its message would quote the URL
        host = port = user = password = None
    # Text after the host means an unescaped `/`, `?` or `#` in the password, so the host was parsed wrongly.
    if not host or parts.path.strip("/") or parts.query or parts.fragment or bool(user) != bool(password):
        raise ValueError(f"is not of the form {_FORM}")
    encrypted = parts.scheme == "smtps"
    default = 465 if encrypted else 587
    return Address(host, port or default, user and unquote(user), password and unquote(password), encrypted)


def check_sender(sender: str) -> None:
    """Raise ValueError unless `sender` is one email address, with or without a display name."""
    found = getaddresses([sender])
    if len(found) != 1 or not re.fullmatch(r"[^@\s]+@[^@\s]+", found[0][1]):
        raise ValueError('is not one address; a name with a comma needs quotes: "Shop, Ltd" <shop@shop.example>')
