"""Key rotation: adds a new key, and removes keys whose last token has expired."""

import os
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shop_api.kernel.files import write_private
from shop_api.security.signing_keys.files import STAMP, SUFFIX, Algorithm, PrivateKey, SigningKey, read, read_all
from shop_api.security.signing_keys.store import ACTIVATION_DELAY, SETTLED
from shop_api.security.tokens import LEEWAY, LIFETIME

KEPT = SETTLED + ACTIVATION_DELAY + LIFETIME + timedelta(seconds=LEEWAY)
"""How long a key is kept after its successor was created: until no instance signs with it and its tokens expired."""
_RSA_BITS = 3072  # as strong as P-256


class Rotation(NamedTuple):
    made: SigningKey
    removed: list[SigningKey]


def rotate(folder: Path, algorithm: Algorithm | None, now: datetime) -> Rotation:
    """Add a key to `folder`, which is created if absent, and remove keys that are no longer needed.

    `algorithm` defaults to that of the newest key, or ES256. Raises BadKey and OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = read_all(folder)
    made = _add(folder, algorithm or (keys[-1].algorithm if keys else "ES256"), now)
    removed = [old for old, successor in pairwise(keys) if now - successor.made > KEPT]
    for key in removed:
        (folder / key.name).unlink(missing_ok=True)  # a concurrent rotation may have removed it
    return Rotation(made, removed)


def _add(folder: Path, algorithm: Algorithm, now: datetime) -> SigningKey:
    private = _generate(algorithm)
    name = f"{now.strftime(STAMP)}-{algorithm}-{os.urandom(4).hex()}{SUFFIX}"  # unique for concurrent rotations
    write_private(folder / name, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return read(folder / name)


def _generate(algorithm: Algorithm) -> PrivateKey:
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, _RSA_BITS)
