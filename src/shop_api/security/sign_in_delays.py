"""Growing delays between attempts to sign in, shared by all instances through Redis.

No account is locked. Failures are counted by pair of account and address, so that a victim can still sign in from
elsewhere; by address, against one client that tries many accounts; and by account, against many addresses. Once an
account has many failures, each address from which nobody has signed in to it has one attempt, and then waits an hour
and more: the owner, at an address never seen before, signs in at the first attempt, and guessing needs a new address
for nearly every guess. Source: OWASP Authentication Cheat Sheet; docs/decisions/0011-accounts-under-attack.md has
the numbers. Without Redis each process counts on its own.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast

from shop_api.kernel.errors import RateLimited
from shop_api.security.hashes import identity_hash
from shop_api.storage.redis.client import Redis
from shop_api.storage.redis.fallback import RedisWithFallback

T = TypeVar("T")


class Rule(NamedTuple):
    """How the delay grows with the failures. All times are in seconds."""

    free: int
    """Failures after which there is no delay yet."""
    first: int
    factor: int
    longest: int
    memory: int
    """Time after the last failure for which failures are remembered; longer than any delay."""

    def delay(self, failures: float) -> float:
        """Return the delay after this many failures."""
        over = failures - self.free
        return min(self.first * self.factor ** (over - 1), self.longest) if over > 0 else 0


PAIR = Rule(free=5, first=1, factor=2, longest=1800, memory=3600)
ADDRESS = Rule(free=20, first=1, factor=2, longest=900, memory=3600)
# The rule of a pair whose address is new to an account under attack.
NEW_ADDRESS = Rule(free=0, first=3600, factor=4, longest=86_400, memory=2 * 86_400)


class AccountRule(NamedTuple):
    """Bounds the failures of an account from addresses that are new to it: a leaky bucket."""

    free: int
    """The failures above which the account is under attack."""
    capacity: int
    """The failures above which attempts from new addresses have to wait, whichever address they come from."""
    leak_per_day: int
    """The failures forgotten in a day, and so the guesses that any number of addresses has in the long run."""

    @property
    def leak(self) -> float:
        """The failures forgotten in a second."""
        return self.leak_per_day / 86_400


ACCOUNT = AccountRule(free=20, capacity=1000, leak_per_day=500)
_KNOWN_FOR = timedelta(days=30)
_MAX_REMEMBERED = 10_000


class _Keys(NamedTuple):
    """The keys of one attempt. Their common hash tag keeps them on one server of a cluster, for one script."""

    pair: str
    address: str
    account: str
    known: str

    @classmethod
    def of(cls, account: str, address: str) -> "_Keys":
        both = identity_hash(account, address)
        own = {"pair": both, "address": identity_hash(address), "account": identity_hash(account), "known": both}
        return cls(**{name: f"{{delay}}:{name}:{value}" for name, value in own.items()})


# Counts each attempt as a failure when it begins, so that a hundred concurrent attempts are not all free. Uses the
# clock of Redis, since instances' clocks differ. Returns the seconds to wait, as text since Redis truncates numbers.
_ATTEMPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function rule(at)
    return {free = tonumber(ARGV[at]), first = tonumber(ARGV[at + 1]), factor = tonumber(ARGV[at + 2]),
            longest = tonumber(ARGV[at + 3]), memory = ARGV[at + 4]}
end
local function read(key)
    local stored = redis.call('HMGET', key, 'failures', 'at')
    return tonumber(stored[1]) or 0, tonumber(stored[2]) or 0
end
local function write(key, failures, at, memory)
    redis.call('HSET', key, 'failures', failures, 'at', string.format('%.6f', at))
    redis.call('EXPIRE', key, memory)
end
local function fail(key, failures, by)
    local open = 0
    if failures > by.free then
        open = now + math.min(by.first * by.factor ^ (failures - by.free - 1), by.longest)
    end
    write(key, failures, open, by.memory)
end

local of_pair, of_address = rule(1), rule(6)
local account_free, capacity, leak = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])
local pair, pair_open = read(KEYS[1])
local address, address_open = read(KEYS[2])
local account, counted_at = read(KEYS[3])
account = math.max(0, account - math.max(0, now - counted_at) * leak)
local known = redis.call('EXISTS', KEYS[4]) == 1
local wait = math.max(pair_open - now, address_open - now)
if not known then wait = math.max(wait, (account + 1 - capacity) / leak) end
if wait > 0 then return tostring(wait) end

if not known then
    if account + 1 > account_free then of_pair = rule(11) end
    write(KEYS[3], account + 1, now, math.ceil((account + 1) / leak) + 60)  -- until it has leaked
end
fail(KEYS[1], pair + 1, of_pair)
fail(KEYS[2], address + 1, of_address)
return '0'
"""
_RULES: list[Any] = [*PAIR, *ADDRESS, *NEW_ADDRESS, ACCOUNT.free, ACCOUNT.capacity, ACCOUNT.leak]
# Takes back the failure that was counted for an attempt, if ARGV[2] is 1. ARGV[1] is 0, or after a success the time
# for which its address is known, in seconds; then the earlier failures of the pair are forgotten too.
_TAKE_BACK = """
local function take_back(key, open)
    local failures = tonumber(redis.call('HGET', key, 'failures'))
    if not failures then return end
    if failures <= 1 then return redis.call('DEL', key) end
    redis.call('HSET', key, 'failures', failures - 1)
    if open then redis.call('HSET', key, 'at', 0) end
end
if ARGV[2] == '1' then
    take_back(KEYS[1], true)
    take_back(KEYS[2], true)
    -- A known address was not counted against the account.
    if redis.call('EXISTS', KEYS[4]) == 0 then take_back(KEYS[3], false) end
end
if ARGV[1] ~= '0' then
    redis.call('DEL', KEYS[1])
    redis.call('SET', KEYS[4], 1, 'EX', ARGV[1])
end
"""


class SignInDelays:
    """Delays repeated failed sign-ins. `enabled=False` turns the delays off. Each call is one round trip to Redis."""

    def __init__(self, redis: Redis, *, enabled: bool = True) -> None:
        self._shared = RedisWithFallback("sign-in delays")
        self._attempt = redis.register_script(_ATTEMPT)
        self._take_back = redis.register_script(_TAKE_BACK)
        self._own = LocalCounters()
        self._enabled = enabled

    async def guarded(self, account: str, address: str, check: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `check`, which counts as a failure if it is false. If `check` raises, nothing was
        guessed, and nothing is counted. Raises RateLimited, without calling `check`, if the attempt comes too early.
        """
        await self.attempt(account, address)
        try:
            result = await check()
        except Exception:
            await self._take_back_failure(account, address, known_for=0)
            raise
        if result:
            await self.succeeded(account, address)
        return result

    async def attempt(self, account: str, address: str) -> None:
        """Count an attempt as a failure. Raise RateLimited, and count nothing, if it comes too early."""
        if not self._enabled:
            return
        keys = _Keys.of(account, address)

        async def call() -> float:
            return float(await cast(Awaitable[bytes], self._attempt(keys, _RULES)))

        wait = await self._shared.call(call)
        if wait is None:
            wait = self._own.attempt(keys)
        if wait > 0:
            raise RateLimited(math.ceil(wait))

    async def succeeded(self, account: str, address: str) -> None:
        """Take back the failure that `attempt` counted, forget earlier ones of the pair, and remember that the
        account has signed in from this address."""
        await self._take_back_failure(account, address, known_for=int(_KNOWN_FOR.total_seconds()))

    async def trust(self, account: str, address: str) -> None:
        """Forget the failures of the pair, and remember the address as known, without an attempt."""
        await self._take_back_failure(account, address, known_for=int(_KNOWN_FOR.total_seconds()), counted=False)

    async def _take_back_failure(self, account: str, address: str, known_for: int, *, counted: bool = True) -> None:
        if not self._enabled:
            return
        keys = _Keys.of(account, address)
        self._own.take_back(keys, known=known_for > 0, counted=counted)
        await self._shared.call(lambda: cast(Awaitable[object], self._take_back(keys, [known_for, int(counted)])))


class _Counter(NamedTuple):
    failures: float = 0
    at: float = -math.inf
    """When the next attempt is allowed; of an account, when its failures were counted."""


class LocalCounters:
    """The counters of this process, by the same rules."""

    def __init__(self) -> None:
        self._counted: OrderedDict[str, _Counter] = OrderedDict()

    def attempt(self, keys: _Keys) -> float:
        now, known = time.monotonic(), keys.known in self._counted
        before = self._counted.get(keys.account, _Counter(0, now))
        account = max(0.0, before.failures - (now - before.at) * ACCOUNT.leak)
        rule = PAIR if known or account + 1 <= ACCOUNT.free else NEW_ADDRESS
        pair, address = self._read(keys.pair, rule, now), self._read(keys.address, ADDRESS, now)
        full = 0 if known else (account + 1 - ACCOUNT.capacity) / ACCOUNT.leak
        if (wait := max(pair.at - now, address.at - now, full)) > 0:
            return wait
        if not known:
            self._write(keys.account, _Counter(account + 1, now))
        self._write(keys.pair, _Counter(pair.failures + 1, now + rule.delay(pair.failures + 1)))
        self._write(keys.address, _Counter(address.failures + 1, now + ADDRESS.delay(address.failures + 1)))
        return 0

    def take_back(self, keys: _Keys, *, known: bool, counted: bool) -> None:
        # A known address was not counted against the account.
        others = [keys.account] if keys.known not in self._counted else []
        for key in (keys.pair, keys.address, *others) if counted else ():
            if counter := self._counted.get(key):
                at = counter.at if key == keys.account else time.monotonic()
                self._counted[key] = _Counter(max(0, counter.failures - 1), at)
        if known:
            self._counted.pop(keys.pair, None)
            self._write(keys.known, _Counter())

    def _read(self, key: str, rule: Rule, now: float) -> _Counter:
        counter = self._counted.get(key, _Counter())
        return counter if now < counter.at + rule.memory else _Counter()

    def _write(self, key: str, counter: _Counter) -> None:
        self._counted[key] = counter
        self._counted.move_to_end(key)
        if len(self._counted) > _MAX_REMEMBERED:
            self._counted.popitem(last=False)
