"""Signing keys as files: private keys in PEM, each named after its creation time.

Unlike file timestamps, the name survives copies, archives and Kubernetes volumes.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Algorithm = Literal["ES256", "RS256"]
PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey

MIN_RSA_BITS = 2048
SUFFIX = ".pem"
STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(\d{8}T\d{6}Z)([-_.][\w.-]*)?\.pem", re.ASCII)
_MAX_BYTES = 64 * 1024
_PKCS8 = b"-----BEGIN PRIVATE KEY-----"


class BadKey(ValueError):
    """A file is not a usable signing key, or a folder is unusable. The message names it and the reason."""


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private key with its single algorithm and its public metadata."""

    name: str
    """The file name."""
    made: datetime
    algorithm: Algorithm
    private: PrivateKey
    public: dict[str, str]
    """The public key as JWK: only the members that RFC 7518 §6 requires for its type."""

    @property
    def kid(self) -> str:
        """The JWK thumbprint of the public key (RFC 7638), so that all instances derive the same id."""
        canonical = json.dumps(self.public, separators=(",", ":"), sort_keys=True)
        return _base64url(hashlib.sha256(canonical.encode()).digest())


def is_key_name(name: str) -> bool:
    """Return whether a file name denotes a key. Hidden files do not: they may still be being written."""
    return name.endswith(SUFFIX) and not name.startswith(".")


def read_all(folder: Path) -> list[SigningKey]:
    """Return the keys in `folder`, oldest first. Raise BadKey if a key file is invalid."""
    try:
        names = sorted(path.name for path in folder.iterdir() if is_key_name(path.name))
    except FileNotFoundError:
        raise BadKey(f"{folder}: there is no such folder; shop-api keys rotate --dir makes it, with a key") from None
    except OSError as error:
        raise BadKey(f"{folder}: {error.strerror}") from None
    return [read(folder / name) for name in names]


def read(path: Path) -> SigningKey:
    """Return the key in the file `path`. Raise BadKey if it is invalid."""
    try:
        made = _made(path.name)
        private = _private(_content(path))
        algorithm, public = _public(private)
    except OSError as error:
        raise BadKey(f"{path}: {error.strerror}") from None
    except BadKey as error:
        raise BadKey(f"{path}: {error}") from None
    return SigningKey(path.name, made, algorithm, private, public)


def _made(name: str) -> datetime:
    match = _NAME.fullmatch(name)
    try:
        return datetime.strptime(match[1] if match else "", STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise BadKey("its name must begin with when it was made, in UTC, such as 20300131T235959Z.pem") from None


def _content(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe would block until something writes
        raise BadKey("is no file" if path.exists() else "leads nowhere")
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def _private(pem: bytes) -> PrivateKey:
    if not pem.lstrip().startswith(_PKCS8):
        raise BadKey(
            "is no private key in PEM as PKCS8 without a passphrase; convert it with: openssl pkcs8 -topk8 -nocrypt"
        )
    try:
        # Validating the primes takes up to half a second and would block the event loop; see _try_out.
        key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except Exception:  # the library raises many types for an invalid key
        raise BadKey("is damaged or incomplete") from None
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        raise BadKey("is neither an RSA nor an EC key")
    return key


def _public(key: PrivateKey) -> tuple[Algorithm, dict[str, str]]:
    if isinstance(key, RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise BadKey(f"is an RSA key of {key.key_size} bits; RS256 needs at least {MIN_RSA_BITS}")
        _try_out(key)
        rsa = key.public_key().public_numbers()
        return "RS256", {"kty": "RSA", "n": _number(rsa.n), "e": _number(rsa.e)}
    if not isinstance(key.curve, SECP256R1):
        raise BadKey(f"is an EC key on {key.curve.name}; ES256 needs P-256")
    point = key.public_key().public_numbers()
    return "ES256", {"kty": "EC", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)}


def _try_out(key: RSAPrivateKey) -> None:
    """Verify a test signature with the public key, instead of the skipped validation."""
    try:
        key.public_key().verify(key.sign(b"", PKCS1v15(), SHA256()), b"", PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        raise BadKey("is damaged: it signs what its public half does not confirm") from None


def _number(number: int, length: int | None = None) -> str:
    return _base64url(number.to_bytes(length or (number.bit_length() + 7) // 8, "big"))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
