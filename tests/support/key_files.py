"""Key files to test with. Keys are made once for the whole run, since those of RSA take a while."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shop_api.security.signing_keys.files import PrivateKey

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def private_key(algorithm: str = "ES256", serial: int = 0) -> PrivateKey:
    """A key for `algorithm`; another one for each `serial`."""
    return _made(algorithm, serial)


@cache  # which takes an argument left out and its default for two
def _made(algorithm: str, serial: int) -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)


def pem_of(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def add_key(folder: Path, made: datetime = LONG_AGO, algorithm: str = "ES256", serial: int = 0) -> Path:
    """A file in `folder` with a key made at `made`."""
    path = folder / f"{made:%Y%m%dT%H%M%SZ}-{algorithm}-{serial}.pem"
    new = path.with_suffix(".new")
    new.write_bytes(pem_of(private_key(algorithm, serial)))
    new.replace(path)
    return path
