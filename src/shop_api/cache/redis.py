"""The tier that all instances share.

An answer is stored with the tokens that the epoch and each of its tags have at that moment, and counts only while
they are the same. To invalidate is to give a tag another token, whatever number of answers that concerns.

Every command has 0.2 seconds. After a failure, and whenever it had to connect again (it may be another server, or one
with old data), this instance trusts nothing in Redis until it has started a new epoch. Commands that are asked for at
one moment travel together.
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
# Nobody waits for that. Which server it is may have to be found out first.
_CONNECT_TIMEOUT = 1.0
# Of answers and tokens alike: what an expired token permitted is worth nothing, since the next one is another.
_SECONDS = 300
_TOKEN_BYTES = 8
# In place of an answer that was asked for once. Shorter than any token.
_EXPECTED = b"?"
_MAX_WAITING = 10_000
_RETRY_SECONDS = 1.0
_SOON = 0.005

log = structlog.get_logger()

Command = tuple[Any, ...]
Asked = tuple[Sequence[Command], "asyncio.Future[list[Any]] | None"]


class WriteToken(NamedTuple):
    """The tokens under which an answer may be stored that is made after they were read."""

    generation: int
    tag_tokens: bytes


class RedisTier:
    def __init__(self, url: str, namespace: str, counters: Counters, metrics: CommandMetrics) -> None:
        # In braces, so that a Redis Cluster keeps all of it in one slot and MGET can reach it.
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
        """What permits to store an answer, None if Redis is not trusted or has not been told to `expect` it; and the
        answer it holds, with its age."""
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
        """Permit the next miss of this key to store its answer. What nobody asks for again is not stored: a stranger
        could fill Redis with pages that differ in nothing but their address."""
        if self._trusted:
            names = (self._prefix + tag for tag in tags)
            commands: list[Command] = [
                ("SET", name, os.urandom(_TOKEN_BYTES), "NX", "EX", _SECONDS) for name in names
            ]
            if _has_query(key):
                commands.append(("SET", self._name(key), _EXPECTED, "NX", "EX", _SECONDS))
            self._tell(commands)

    def store(self, key: Key, write_token: WriteToken, response: CachedResponse, born: float) -> None:
        """Sends the answer on its way, to be found under the tokens of `write_token`."""
        if write_token.generation == self._generation and self._trusted:
            made_at = time.time() - (time.monotonic() - born)
            value = write_token.tag_tokens + response.encode(made_at)
            self._tell([("SET", self._name(key), value, "EX", _SECONDS)])

    async def invalidate(self, tags: Collection[str]) -> None:
        """Takes at most 0.2 seconds, also when Redis does not answer."""
        if not self._trusted:
            self._missed += 1  # an epoch being started right now may be too old already
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
        """Nothing in Redis counts until a new epoch has begun."""
        if self._trusted:
            log.warning("the cache does without Redis", reason=reason)
            self._counters.redis_failures += 1
        self._trusted = False
        self._generation += 1
        self._distrusted.set()

    async def keep_trusted(self) -> None:
        """Starts a new epoch whenever that is needed, as soon as Redis answers."""
        while True:
            await self._distrusted.wait()
            if not await self._renew():
                await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Says good-bye to Redis, for good."""
        self._closed, self._trusted = True, False
        self._generation += 1
        if self._sender is not None:
            await tasks.end([self._sender])
        await self._disconnect()

    async def _renew(self) -> bool:
        generation, missed = self._generation, self._missed
        done = await self._ask([("SET", self._epoch, os.urandom(_TOKEN_BYTES))])
        if generation != self._generation or missed != self._missed:
            return bool(done)  # it connected, or somebody changed something: once more
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
        """The reply to each command; empty if Redis did not answer, or refused one."""
        if self._closed:
            return []
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, future))
        started = time.perf_counter()
        self._send()
        replies = await future
        # Timed here, not where it is sent: that happens for many at once.
        self._metrics.ended(commands[0][0], time.perf_counter() - started, None if replies else "no reply")
        return replies

    def _tell(self, commands: Sequence[Command]) -> None:
        """Sends them with whatever is sent next, or soon."""
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
            finally:  # also when this is the end
                for commands, future in asked:
                    mine, replies = replies[: len(commands)], replies[len(commands) :]
                    if future is not None and not future.done():
                        future.set_result(mine)

    async def _disconnect(self) -> None:
        with suppress(RedisError):
            await self._connection.disconnect()

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        # On the bare connection: a client's pipeline costs more than the commands in it.
        if not self._connection.is_connected:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await self._connection.connect()  # type: ignore[no-untyped-call]
            self.distrust("the connection is a new one")
        async with asyncio.timeout(_TIMEOUT):
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)
            return [await self._connection.read_response(disconnect_on_error=False) for _ in commands]


def _has_query(key: Key) -> bool:
    """Whether a client has made up a part of this key. Without one there are as many as there are things stored."""
    return key[1] != b""


def _aged(raw: bytes) -> tuple[CachedResponse, float]:
    response, made_at = decode(raw)
    return response, max(0.0, time.time() - made_at)
