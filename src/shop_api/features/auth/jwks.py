"""JSON Web Keys with which other services verify access tokens (RFC 7517, RFC 7518 §6)."""

from typing import Annotated, Literal

from pydantic import Field

from shop_api.kernel.schema import Schema


class EcPublicKey(Schema):
    """A public key for ES256."""

    kid: str
    alg: Literal["ES256"]
    use: Literal["sig"]
    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str


class RsaPublicKey(Schema):
    """A public key for RS256."""

    kid: str
    alg: Literal["RS256"]
    use: Literal["sig"]
    kty: Literal["RSA"]
    n: str
    e: str


class PublicKeys(Schema):
    """A JWK Set. Empty if tokens are signed with the shared secret, which only the service itself can verify."""

    keys: list[Annotated[EcPublicKey | RsaPublicKey, Field(discriminator="kty")]]
