"""Refresh tokens: three random parts, of which only hashes are stored.

`<session>.<family>.<secret>`: the session id; 128 bits shared by all tokens of the session, which distinguish a used
token from a forged one; 256 bits that differ in each token (RFC 9700 §4.14.2, refresh token rotation).
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from typing import NamedTuple

from shop_api.features.auth.errors import InvalidRefreshToken
from shop_api.security.hashes import secret_digest

_FORM = re.compile(r"([0-9a-f-]{36})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")


def successor_key(secret: bytes) -> bytes:
    """Return the key for `RefreshToken.successor`, derived from the service's secret."""
    return hmac.digest(secret, b"refresh tokens", "sha256")


class RefreshToken(NamedTuple):
    """A refresh token as the client holds it."""

    session_id: str
    family: str
    secret: str

    @classmethod
    def first(cls, session_id: str) -> "RefreshToken":
        return cls(session_id, secrets.token_urlsafe(16), secrets.token_urlsafe(32))

    @classmethod
    def read(cls, text: str) -> "RefreshToken":
        """Parse a refresh token. Raises InvalidRefreshToken if `text` does not have its form."""
        parts = _FORM.fullmatch(text)
        if parts is None:
            raise InvalidRefreshToken
        return cls(*parts.groups())

    def successor(self, key: bytes) -> "RefreshToken":
        """Return the next token of the same session. It is derived from this one with a key that only the service
        has, so that several requests with this token lead to the same next one, although only hashes are stored."""
        derived = hmac.digest(key, str(self).encode(), "sha256")
        return self._replace(secret=urlsafe_b64encode(derived).decode().rstrip("="))

    @property
    def family_hash(self) -> str:
        return secret_digest(self.family)

    @property
    def secret_hash(self) -> str:
        return secret_digest(self.secret)

    def __str__(self) -> str:
        return ".".join(self)

    def __repr__(self) -> str:
        return f"RefreshToken({self.session_id!r}, …)"
