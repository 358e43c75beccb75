"""Growing delays between attempts to sign in, shared by all instances through Redis.

No account is locked: after some failures the next attempt must wait 1 second, then 2, 4, … Failures are counted by
pair of account and address, so that a victim can still sign in from elsewhere; by address, against one client that
tries many accounts; and by account, against many addresses, except addresses that have signed in to it before.
Source: OWASP Authentication Cheat Sheet. Without Redis each process counts on its own.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import timedelta
from typing import NamedTuple, cast

from shop_api.kernel.errors import RateLimited
from shop_api.security.hashes import identity_hash
from shop_api.storage.redis.client import Redis
from shop_api.storage.redis.fallback import RedisWithFallback


class Rule(NamedTuple):
    """Number of attempts without delay, and the maximum delay in seconds."""

    name: str
    free: int
    longest: int


PAIR = Rule("pair", 5, 900)
ADDRESS = Rule("address", 20, 900)
ACCOUNT = Rule("account", 100, 60)
# Seconds for which failures are remembered after the last one; longer than any delay.
_MEMORY = 3600
_KNOWN_FOR = timedelta(days=30)
_MAX_REMEMBERED = 10_000

# Counts each attempt as a failure when it begins, so that a hundred concurrent attempts are not all free. Uses the
# clock of Redis, since instances' clocks differ. Returns the seconds to wait, as text since Redis truncates numbers.
_ATTEMPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local known = redis.call('HMGET', KEYS[1], 'failures', 'open')
local failures, open = tonumber(known[1]) or 0, tonumber(known[2]) or 0
if now < open then return tostring(open - now) end
failures = failures + 1
open = 0
if failures > tonumber(ARGV[1]) then
    open = now + math.min(2 ^ (failures - ARGV[1] - 1), ARGV[2])
end
redis.call('HSET', KEYS[1], 'failures', failures, 'open', string.format('%.3f', open))
redis.call('EXPIRE', KEYS[1], ARGV[3])
return '0'
"""
# Takes back the failure counted for an attempt that succeeded.
_FORGIVE = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'failures', -1)
    redis.call('HSET', KEYS[1], 'open', 0)
end
"""


class SignInDelays:
    """Delays repeated failed sign-ins. `enabled=False` turns the delays off."""

    def __init__(self, redis: Redis, *, enabled: bool = True) -> None:
        self._redis = redis
        self._shared = RedisWithFallback("sign-in delays")
        self._attempt = redis.register_script(_ATTEMPT)
        self._forgive = redis.register_script(_FORGIVE)
        self._own = LocalCounters()
        self._enabled = enabled

    async def attempt(self, account: str, address: str) -> None:
        """Count an attempt as a failure until `succeeded` is called. Raise RateLimited if it comes too early."""
        if not self._enabled:
            return
        await self._count(PAIR, account, address)
        await self._count(ADDRESS, address)
        if not await self._shared.call(lambda: self._redis.exists(_key("known", account, address))):
            await self._count(ACCOUNT, account)

    async def succeeded(self, account: str, address: str) -> None:
        """Take back the failure that `attempt` counted."""
        if not self._enabled:
            return
        pair, others = _key(PAIR.name, account, address), [_key(ADDRESS.name, address), _key(ACCOUNT.name, account)]

        async def forgive() -> bool:
            await self._redis.delete(pair)
            await self._redis.set(_key("known", account, address), 1, ex=_KNOWN_FOR)
            for key in others:
                await self._forgive([key])
            return True

        self._own.forget(pair)
        for key in others:
            self._own.forgive(key)
        await self._shared.call(forgive)

    async def _count(self, rule: Rule, *identity: str) -> None:
        key = _key(rule.name, *identity)

        async def call() -> float:
            reply = await cast(Awaitable[bytes], self._attempt([key], [rule.free, rule.longest, _MEMORY]))
            return float(reply)

        wait = await self._shared.call(call)
        if wait is None:
            wait = self._own.attempt(key, rule)
        if wait:
            raise RateLimited(math.ceil(wait))


class LocalCounters:
    """Counters of this process: for each key the failures, and when the next attempt is allowed."""

    def __init__(self) -> None:
        self._counted: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def attempt(self, key: str, rule: Rule) -> float:
        now = time.monotonic()
        failures, open_at = self._counted.pop(key, (0, now - _MEMORY))
        if now < open_at:
            self._counted[key] = failures, open_at
            return open_at - now
        failures = failures + 1 if now < open_at + _MEMORY else 1
        wait = min(2 ** (failures - rule.free - 1), rule.longest) if failures > rule.free else 0
        self._counted[key] = failures, now + wait
        if len(self._counted) > _MAX_REMEMBERED:
            self._counted.popitem(last=False)
        return 0

    def forgive(self, key: str) -> None:
        if key in self._counted:
            failures, _ = self._counted[key]
            self._counted[key] = failures - 1, time.monotonic()

    def forget(self, key: str) -> None:
        self._counted.pop(key, None)


def _key(name: str, *identity: str) -> str:
    return f"delay:{name}:{identity_hash(*identity)}"
