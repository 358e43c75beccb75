"""Access tokens: JWTs (RFC 7519, RFC 8725) that identify a user and a session, without roles or permissions.

python-jose accepts too much by default (a missing `exp`, the algorithm in the token's header, empty keys), so
validation is strict here: one algorithm per key, all claims required, bounded size.
"""

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

from jose import JOSEError, jwk, jwt
from jose.backends.base import Key
from jose.utils import base64url_decode, base64url_encode
from uuid_utils import uuid7

from shop_api.kernel.clock import Clock
from shop_api.kernel.errors import InvalidToken
from shop_api.security.signing_keys.files import SigningKey
from shop_api.security.signing_keys.store import SigningKeyStore

ISSUER = AUDIENCE = "shop_api"
LIFETIME = timedelta(minutes=15)
_MAX_LENGTH = 4096
# Without the times, which are checked here against the injected clock.
_OPTIONS = {f"require_{claim}": True for claim in ("iat", "sub", "aud", "iss", "jti")}
_OPTIONS |= {"verify_exp": False, "verify_nbf": False}
LEEWAY = 5
"""Seconds of clock skew between instances: a token from one must not be "not yet valid" on another."""
_MAX_REMEMBERED = 4096


class Claims(NamedTuple):
    """The user and the session of a valid access token."""

    user_id: str
    session_id: str


class _Signed(NamedTuple):
    claims: Claims
    start: int
    end: int


class _Key(NamedTuple):
    """A key bound to one algorithm, regardless of the `alg` in a token."""

    kid: str
    algorithm: str
    signs: Key
    verifies: Key


class _UnknownKey(InvalidToken):
    """The `kid` of a token is unknown, perhaps because its key is new."""


class AccessTokens:
    """Issues and checks access tokens.

    `secret` signs and `previous` secrets only verify; all have at least 32 bytes. If `folder` has an active key, it
    signs instead of the secret, and all other keys only verify.
    """

    def __init__(
        self, secret: bytes, clock: Clock, *, previous: Iterable[bytes] = (), folder: SigningKeyStore | None = None
    ) -> None:
        self._own = _symmetric(secret)
        self._symmetric = {key.kid: key for key in (*map(_symmetric, previous), self._own)}
        self._folder = folder
        self._known: tuple[SigningKey, ...] = ()
        self._keys = self._symmetric
        self._clock = clock
        # Clients send the same token repeatedly, and its claims do not change.
        self._signed = lru_cache(_MAX_REMEMBERED)(self._read)
        self._look()

    def issue(self, user_id: str, session_id: str) -> str:
        key = self._signing()
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
        token: str = jwt.encode(claims, key.signs, key.algorithm, headers={"kid": key.kid})
        return token

    def verify(self, token: str) -> Claims:
        """Return the claims of `token`. Raise InvalidToken unless it is genuine and currently valid."""
        if len(token) > _MAX_LENGTH:
            raise InvalidToken
        self._look()
        try:
            signed = self._signed(token)
        except _UnknownKey:
            if not self._look(at_once=True):
                raise
            signed = self._signed(token)
        if not signed.start - LEEWAY <= self._clock().timestamp() < signed.end + LEEWAY:
            raise InvalidToken
        return signed.claims

    def _signing(self) -> _Key:
        self._look()
        key = self._folder.signing() if self._folder else None
        return self._keys[key.kid] if key else self._own

    def _look(self, *, at_once: bool = False) -> bool:
        """Reload the keys and return whether they have changed. A change clears the cache, since tokens of a removed
        key are no longer valid."""
        known = self._folder.keys(at_once=at_once) if self._folder else ()
        if known is self._known:
            return False
        self._known = known
        self._keys = self._symmetric | {key.kid: _asymmetric(key) for key in known}
        self._signed.cache_clear()
        return True

    def _read(self, token: str) -> _Signed:
        """Return the claims and validity period of `token`, without checking the period."""
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            key = self._keys.get(kid) if isinstance(kid, str) else None
            if key is None:
                raise _UnknownKey
            # No extensions are supported, so critical ones must be rejected (RFC 7515 §4.1.11).
            if "crit" in header or not _is_canonical(token):
                raise InvalidToken
            claims = jwt.decode(token, key.verifies, [key.algorithm], _OPTIONS, audience=AUDIENCE, issuer=ISSUER)
        except (JOSEError, RecursionError, ValueError, TypeError, AttributeError, OverflowError):
            raise InvalidToken from None
        session_id, start, end = claims.get("sid"), claims.get("nbf"), claims.get("exp")
        if claims.get("typ") != "access" or not isinstance(session_id, str):
            raise InvalidToken
        if type(start) is not int or type(end) is not int:
            raise InvalidToken
        return _Signed(Claims(claims["sub"], session_id), start, end)


def _symmetric(secret: bytes) -> _Key:
    # As a Key object, since jose would try to parse plain bytes as JSON or PEM.
    key = jwk.construct(secret, "HS256")
    return _Key(secret_kid(secret), "HS256", signs=key, verifies=key)


def _asymmetric(key: SigningKey) -> _Key:
    # jose accepts keys of the cryptography package, which its type stubs omit.
    private = jwk.construct(key.private, key.algorithm)  # type: ignore[arg-type]
    public = jwk.construct(key.private.public_key(), key.algorithm)  # type: ignore[arg-type]
    return _Key(key.kid, key.algorithm, signs=private, verifies=public)


def secret_kid(secret: bytes) -> str:
    """Return the `kid` of a secret, which does not reveal it."""
    return hashlib.sha256(b"kid" + secret).hexdigest()[:16]


def _is_canonical(token: str) -> bool:
    """Return whether the signature is canonical base64url; jose ignores invalid characters and unused bits."""
    signature = token.rpartition(".")[2].encode()
    return bool(base64url_encode(base64url_decode(signature)) == signature)
