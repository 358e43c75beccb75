"""Access tokens: JWTs (RFC 7519, RFC 8725) that name the user by id and carry nothing a request should trust blindly.

python-jose accepts much that it should not (a missing `exp`, the algorithm the token asks for, empty keys), so
all of it is pinned here: one algorithm for each key, every claim required, bounded size.
"""

import hashlib
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

from jose import JOSEError, jwk, jwt
from jose.utils import base64url_decode, base64url_encode
from uuid_utils import uuid7

from shop_api.clock import Clock
from shop_api.errors import InvalidToken

ISSUER = AUDIENCE = "shop_api"
LIFETIME = timedelta(minutes=15)
_ALGORITHM = "HS256"
_MAX_LENGTH = 4096
# The times are left out: they are checked here, by the clock that tokens are issued by.
_OPTIONS = {f"require_{claim}": True for claim in ("iat", "sub", "aud", "iss", "jti")}
_OPTIONS |= {"verify_exp": False, "verify_nbf": False}
# Instances' clocks differ a little: a token from one must not be "not yet valid" on the next.
_LEEWAY = 5
_MOST_REMEMBERED = 4096


class Claims(NamedTuple):
    """What a valid access token says: whose it is and which sign-in it came from."""

    user_id: str
    session_id: str


class _Signed(NamedTuple):
    claims: Claims
    start: int
    end: int


class AccessTokens:
    """Issues and checks access tokens with one secret of at least 32 bytes."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._kid = hashlib.sha256(b"kid" + secret).hexdigest()[:16]
        # A Key, since jose would try to read JSON or PEM in plain bytes.
        self._keys = {self._kid: jwk.construct(secret, _ALGORITHM)}
        self._clock = clock
        # A client sends the same token again and again, and what it says does not change.
        self._signed = lru_cache(_MOST_REMEMBERED)(self._read)

    def issue(self, user_id: str, session_id: str) -> str:
        now = int(self._clock().timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "sid": session_id,
            "jti": str(uuid7()),
            "iat": now,
            "nbf": now,
            "exp": now + int(LIFETIME.total_seconds()),
            "typ": "access",
        }
        token: str = jwt.encode(claims, self._keys[self._kid], _ALGORITHM, headers={"kid": self._kid})
        return token

    def verify(self, token: str) -> Claims:
        """What `token` says; InvalidToken when it is not entirely ours and in force."""
        if len(token) > _MAX_LENGTH:
            raise InvalidToken
        signed = self._signed(token)
        if not signed.start - _LEEWAY <= self._clock().timestamp() < signed.end + _LEEWAY:
            raise InvalidToken
        return signed.claims

    def _read(self, token: str) -> _Signed:
        """What `token` says, whenever that may be in force."""
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            key = self._keys.get(kid) if isinstance(kid, str) else None
            # No extension is known here, so none can be critical (RFC 7515 §4.1.11).
            if key is None or "crit" in header or not _is_canonical(token):
                raise InvalidToken
            claims = jwt.decode(token, key, [_ALGORITHM], _OPTIONS, audience=AUDIENCE, issuer=ISSUER)
        except (JOSEError, RecursionError, ValueError, TypeError, AttributeError, OverflowError):
            raise InvalidToken from None
        session_id, start, end = claims.get("sid"), claims.get("nbf"), claims.get("exp")
        if claims.get("typ") != "access" or not isinstance(session_id, str):
            raise InvalidToken
        if type(start) is not int or type(end) is not int:
            raise InvalidToken
        return _Signed(Claims(claims["sub"], session_id), start, end)


def _is_canonical(token: str) -> bool:
    """Whether the signature is spelt as we spell it; jose overlooks foreign characters and spare bits in it."""
    signature = token.rpartition(".")[2].encode()
    return bool(base64url_encode(base64url_decode(signature)) == signature)
