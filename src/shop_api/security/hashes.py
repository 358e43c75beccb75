"""Hashes (SHA-256) that are stored in place of what would tell too much."""

import hashlib


def secret_digest(secret: str) -> str:
    """What is kept of a secret that nobody can guess, and so needs no salt: it finds or confirms it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def identity_hash(*identity: str) -> str:
    """A key of 128 bits for whom or what is counted; its parts may be any text that a client sends."""
    return secret_digest("\0".join(identity))[:32]
