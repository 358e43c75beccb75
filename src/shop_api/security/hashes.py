"""SHA-256 hashes, stored instead of secrets and personal data."""

import hashlib


def secret_digest(secret: str) -> str:
    """Return a hash for storing and looking up a random secret, which needs no salt since it cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def identity_hash(*identity: str) -> str:
    """Return a 128-bit key for a counted identity; its parts may be any client input."""
    return secret_digest("\0".join(identity))[:32]
