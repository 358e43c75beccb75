"""Password rules and hashing: argon2id with OWASP's parameters, off the event loop, in a bounded pool.

Source: OWASP Password Storage Cheat Sheet (m=47104 KiB, t=1, p=1), NIST SP 800-63B §5.1.1.2 for the rules.
"""

import asyncio
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Self, TypeVar

from passlib.context import CryptContext

from shop_api.security.turns import LOCAL, Turns

T = TypeVar("T")

MIN_LENGTH, MAX_LENGTH = 8, 128
MAX_CODE_POINTS = 512
"""Limit for a password before normalisation; fits 128 characters of any script. NFKC takes time quadratic in the
number of combining marks on one letter."""
MAX_RUNNING = 4
"""Hashes that run at once, on however many cores: the memory of a container does not grow with them."""
MAX_WAITING = 32
"""Clients that may wait for a hash, beside those whose hash is running."""


def normalised(password: str) -> str:
    """Return the NFKC form, so that a password matches regardless of the keyboard it is typed on.

    Callers must limit `password` to MAX_CODE_POINTS code points."""
    return unicodedata.normalize("NFKC", password)


def weakness(password: str, username: str) -> str | None:
    """Return why `password` is too weak for the user `username`, or None."""
    folded = normalised(password).casefold()
    if folded == username.casefold():
        return "must not be the username"
    if folded in _common():
        return "is among the most common passwords"
    return None


@cache
def _common() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


class Passwords:
    """Hashes and checks passwords. Each takes about 47 MiB and a few tens of milliseconds of one core.

    Hashes are a good that all clients share: as many run as there are cores, and clients wait for one in a bounded
    queue in which each of them has one place.
    """

    def __init__(self, *, limited: bool = True) -> None:
        """`limited=False` removes the bounds of the queue."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(cores, MAX_RUNNING)
        self._context = CryptContext(
            ["argon2"], argon2__memory_cost=47104, argon2__time_cost=1, argon2__parallelism=1
        )
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="passwords")
        self._turns = Turns(clients=workers + MAX_WAITING, limited=limited)
        # Verified against for unknown users, so that the response time does not reveal whether a user exists.
        self._nobody = self._context.hash("nobody")
        # Preloaded, since loading during the first registration would block the event loop.
        self._pool.submit(_common)

    async def hash(self, password: str, client: str = LOCAL) -> str:
        """Return the hash of `password`. Raises RateLimited if `client`, an address, has to try later."""
        return await self._run(client, self._context.hash, normalised(password))

    async def verify(self, password: str, password_hash: str | None, client: str = LOCAL) -> bool:
        """Return whether `password` matches the hash. With None as the hash, return False after the same time. Raises
        RateLimited if `client`, an address, has to try later."""
        right = await self._run(client, self._context.verify, normalised(password), password_hash or self._nobody)
        return right and password_hash is not None

    async def _run(self, client: str, work: Callable[..., T], *arguments: str) -> T:
        async with self._turns.of(client):
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
