"""The tier in Redis, which all instances share.

A response is stored with the current tokens of the epoch and of each of its tags, and is valid only while these
tokens are unchanged. Replacing a tag's token therefore invalidates every response with that tag.

Each batch of commands times out after 0.2 seconds. After any failure or reconnection (to another server, perhaps, or
one with old data), this instance does not use Redis until it has started a new epoch. Concurrent commands are sent
together.
"""

import asyncio
import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

import structlog

from shop_api import __version__
from shop_api.cache.counters import Counters
from shop_api.cache.response import CachedResponse, Key, decode
from shop_api.kernel import tasks
from shop_api.observability.command_metrics import CommandMetrics
from shop_api.storage.redis.client import RedisError, connection

_TIMEOUT = 0.2
# Includes the time to find the server. Requests do not wait for it, so it may be longer than _TIMEOUT.
_CONNECT_TIMEOUT = 1.0
# TTL of responses and tokens. Responses stored under an expired token stay invalid, as its successor differs.
_SECONDS = 300
_TOKEN_BYTES = 8
# Placeholder for a response requested once. Shorter than a token, so never taken for a stored response.
_EXPECTED = b"?"
_MAX_WAITING = 10_000
_RETRY_SECONDS = 1.0
_SOON = 0.005

log = structlog.get_logger()

Command = tuple[Any, ...]
Asked = tuple[Sequence[Command], "asyncio.Future[list[Any]] | None"]


class WriteToken(NamedTuple):
    """Fencing token: permits storing a response whose read began after these tokens were read."""

    generation: int
    tag_tokens: bytes


class RedisTier:
    def __init__(self, url: str, namespace: str, counters: Counters, metrics: CommandMetrics) -> None:
        # The braces make a Redis Cluster keep all keys in one slot, as MGET requires.
        self._prefix = f"{{{namespace}}}:{__version__}:"
        self._connection = connection(url, key=self._prefix, timeout=_CONNECT_TIMEOUT)
        self._epoch = self._prefix + "epoch"
        self._counters = counters
        self._metrics = metrics
        self._trusted = False
        self._generation = 0
        self._missed = 0
        self._closed = False
        self._distrusted = asyncio.Event()
        self._distrusted.set()
        self._waiting: list[Asked] = []
        self._sender: asyncio.Task[None] | None = None

    async def lookup(
        self, key: Key, tags: Collection[str]
    ) -> tuple[WriteToken | None, tuple[CachedResponse, float] | None]:
        """Return a write token, and the stored response with its age in seconds.

        The token is None if Redis is not trusted or the response was not announced by `expect`; the response is None
        if Redis holds no valid one.
        """
        if not self._trusted:
            return None, None
        generation = self._generation
        names = [self._epoch, *(self._prefix + tag for tag in tags)]
        replies = await self._ask([("MGET", *names, self._name(key))])
        if generation != self._generation or not replies:
            return None, None
        *tokens, raw = replies[0]
        if tokens[0] is None:
            self.distrust("it was emptied")
            return None, None
        if None in tokens:
            return None, None
        if raw is None and _has_query(key):
            return None, None
        tag_tokens = b"".join(tokens)
        if raw is None or not raw.startswith(tag_tokens):
            return WriteToken(generation, tag_tokens), None
        try:
            return WriteToken(generation, tag_tokens), _aged(raw[len(tag_tokens) :])
        except ValueError as error:
            log.warning("a stored answer cannot be read", reason=str(error))
            return WriteToken(generation, tag_tokens), None

    def expect(self, key: Key, tags: Collection[str]) -> None:
        """Permit the next miss of this key to store its response.

        A response requested only once is not stored, so that a client cannot fill Redis with invented URLs.
        """
        if self._trusted:
            names = (self._prefix + tag for tag in tags)
            commands: list[Command] = [
                ("SET", name, os.urandom(_TOKEN_BYTES), "NX", "EX", _SECONDS) for name in names
            ]
            if _has_query(key):
                commands.append(("SET", self._name(key), _EXPECTED, "NX", "EX", _SECONDS))
            self._tell(commands)

    def store(self, key: Key, write_token: WriteToken, response: CachedResponse, born: float) -> None:
        """Store the response under the tokens of `write_token`, without waiting for Redis."""
        if write_token.generation == self._generation and self._trusted:
            made_at = time.time() - (time.monotonic() - born)
            value = write_token.tag_tokens + response.encode(made_at)
            self._tell([("SET", self._name(key), value, "EX", _SECONDS)])

    async def invalidate(self, tags: Collection[str]) -> None:
        """Replace the tokens of `tags`. Returns within 0.2 seconds, even if Redis does not answer."""
        if not self._trusted:
            self._missed += 1  # an epoch that is being started may precede this change
            return
        generation = self._generation
        commands = [("SET", self._prefix + tag, os.urandom(_TOKEN_BYTES), "EX", _SECONDS) for tag in tags]
        try:
            async with asyncio.timeout(_TIMEOUT):
                done = await self._ask(commands)
        except TimeoutError:
            done = []
        if generation == self._generation and not done:
            self.distrust("an invalidation was not confirmed")

    def distrust(self, reason: str) -> None:
        """Stop using Redis until a new epoch has started."""
        if self._trusted:
            log.warning("the cache has stopped using Redis", reason=reason)
            self._counters.redis_failures += 1
        self._trusted = False
        self._generation += 1
        self._distrusted.set()

    async def keep_trusted(self) -> None:
        """Start a new epoch at startup and after each `distrust`, retrying until Redis answers."""
        while True:
            await self._distrusted.wait()
            if not await self._renew():
                await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Disconnect permanently."""
        self._closed, self._trusted = True, False
        self._generation += 1
        if self._sender is not None:
            await tasks.end([self._sender])
        await self._disconnect()

    async def _renew(self) -> bool:
        generation, missed = self._generation, self._missed
        done = await self._ask([("SET", self._epoch, os.urandom(_TOKEN_BYTES))])
        if generation != self._generation or missed != self._missed:
            return bool(done)  # it has reconnected or a change came in between: repeat
        if not done:
            return False
        self._counters.epochs += 1
        self._trusted = True
        self._distrusted.clear()
        return True

    def _name(self, key: Key) -> str:
        path, query = key
        url = path.encode("utf-8", "surrogatepass") + b"?" + query
        return self._prefix + "answer:" + blake2b(url, digest_size=16).hexdigest()

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the reply to each command, or an empty list if Redis did not answer or rejected one."""
        if self._closed:
            return []
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, future))
        started = time.perf_counter()
        self._send()
        replies = await future
        # Timed here, because `_exchange` sends many commands at once.
        self._metrics.ended(commands[0][0], time.perf_counter() - started, None if replies else "no reply")
        return replies

    def _tell(self, commands: Sequence[Command]) -> None:
        """Send the commands with the next batch, or after 5 ms, without waiting for replies."""
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append((commands, None))
            asyncio.get_running_loop().call_later(_SOON, self._send)

    def _send(self) -> None:
        if self._closed:
            self._waiting.clear()
        elif self._waiting and (self._sender is None or self._sender.done()):
            self._sender = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            replies: list[Any] = []
            try:
                replies = await self._exchange([command for commands, _ in asked for command in commands])
            except (RedisError, OSError, TimeoutError) as error:
                self.distrust(str(error) or type(error).__name__)
                await self._disconnect()
            finally:  # also on cancellation
                for commands, future in asked:
                    mine, replies = replies[: len(commands)], replies[len(commands) :]
                    if future is not None and not future.done():
                        future.set_result(mine)

    async def _disconnect(self) -> None:
        with suppress(RedisError):
            await self._connection.disconnect()

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        # Uses the connection directly, because the client's pipeline costs more than the commands in it.
        if not self._connection.is_connected:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await self._connection.connect()  # type: ignore[no-untyped-call]
            self.distrust("the connection is new")
        async with asyncio.timeout(_TIMEOUT):
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)
            return [await self._connection.read_response(disconnect_on_error=False) for _ in commands]


def _has_query(key: Key) -> bool:
    """Return whether the key contains a query, which clients can invent. There are only as
    many other keys as stored products."""
    return key[1] != b""


def _aged(raw: bytes) -> tuple[CachedResponse, float]:
    response, made_at = decode(raw)
    return response, max(0.0, time.time() - made_at)
