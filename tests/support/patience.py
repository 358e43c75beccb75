"""How long a test waits for what is merely slow."""

PATIENCE = 120.0
"""Seconds after which something hangs. Never the reason why a test fails on a machine that is merely busy."""

_MONGO_OPTIONS = ("timeoutMS", "serverSelectionTimeoutMS", "connectTimeoutMS")
_MONGO = "&".join(f"{name}={PATIENCE * 1000:.0f}" for name in _MONGO_OPTIONS)
_REDIS = "&".join(f"{name}={PATIENCE}" for name in ("socket_connect_timeout", "socket_timeout", "timeout"))


def patient(url: str) -> str:
    """`url` of MongoDB or Redis, with options by which no client gives up because the machine is busy."""
    return f"{url}{'&' if '?' in url else '?'}{_MONGO if url.startswith('mongodb') else _REDIS}"


def impatient(url: str) -> str:
    """`url` with the limits that a client has in service."""
    return url.replace(f"&{_MONGO}", "")
