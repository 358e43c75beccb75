"""Where mail goes through, as `SHOP_SMTP_URL` says it, and whom it is from."""

import re
from email.utils import getaddresses
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

TO_LOG = "log:"
SCHEMES = ("smtp://", "smtps://", TO_LOG)
_FORM = "smtp://user:password@host:587, with what is not a letter or digit in the password as %XX"


class Address(NamedTuple):
    host: str
    port: int
    user: str | None
    """With it there is a password."""
    password: str | None
    encrypted: bool
    """From its first byte. Else the connection begins in the clear, and STARTTLS encrypts it."""


def parse(url: str) -> Address:
    """ValueError if that is no server; the message does not repeat it, since it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port, user, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError:  # it says what it could not read
        host = port = user = password = None
    # What follows the host belongs to a password with a `/`, `?` or `#` in it, and the host is none.
    if not host or parts.path.strip("/") or parts.query or parts.fragment or bool(user) != bool(password):
        raise ValueError(f"is not of the form {_FORM}")
    encrypted = parts.scheme == "smtps"
    default = 465 if encrypted else 587
    return Address(host, port or default, user and unquote(user), password and unquote(password), encrypted)


def check_sender(sender: str) -> None:
    """ValueError unless that is one address, with or without a name."""
    found = getaddresses([sender])
    if len(found) != 1 or not re.fullmatch(r"[^@\s]+@[^@\s]+", found[0][1]):
        raise ValueError('is not one address; a name with a comma needs quotes: "Shop, Ltd" <shop@shop.example>')
