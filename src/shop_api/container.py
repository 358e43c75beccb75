"""What the service is made of: everything that lives as long as the process, opened and put together once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shop_api.audit.repository import AUDIT, AuditLog
from shop_api.cache.cache import HttpCache
from shop_api.cache.counters import Counters
from shop_api.cache.memory import MemoryTier
from shop_api.cache.metrics import CacheFigures
from shop_api.cache.redis import RedisTier
from shop_api.email.queue import Outbox
from shop_api.email.smtp import mailer
from shop_api.features.auth.delays import SignInDelays
from shop_api.features.auth.email_service import EmailService
from shop_api.features.auth.letters import Letters
from shop_api.features.auth.one_time_tokens import ONE_TIME_TOKENS, OneTimeTokens
from shop_api.features.auth.repository import SESSIONS, SessionRepository
from shop_api.features.auth.service import AuthService
from shop_api.features.products.repository import PRODUCTS, ProductRepository
from shop_api.features.products.service import ProductService
from shop_api.features.users.repository import GUARDS, USERS, UserRepository
from shop_api.features.users.service import UserService
from shop_api.http.idempotency.repository import IDEMPOTENCY_KEYS, IdempotencyKeys
from shop_api.kernel.clock import Clock, utc_now
from shop_api.kernel.pagination import Cursors
from shop_api.observability.metrics import Metrics
from shop_api.observability.redis import RedisConnections
from shop_api.security.passwords import Passwords
from shop_api.security.rate_limits import RateLimits
from shop_api.security.signing_keys.folder import KeyFolder
from shop_api.security.tokens import AccessTokens
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.collections import ensure_collection
from shop_api.storage.redis.client import Redis, open_redis

_COLLECTIONS = (USERS, GUARDS, PRODUCTS, IDEMPOTENCY_KEYS, SESSIONS, AUDIT, ONE_TIME_TOKENS)


@dataclass(frozen=True, slots=True)
class Shop:
    """Everything that lives as long as the process."""

    settings: Settings
    metrics: Metrics
    database: Database
    redis: Redis
    limits: RateLimits
    idempotency_keys: IdempotencyKeys
    cache: HttpCache
    cursors: Cursors
    audit: AuditLog
    signing_keys: KeyFolder | None
    auth: AuthService
    outbox: Outbox
    email: EmailService
    users: UserService
    products: ProductService


@asynccontextmanager
async def open_shop(
    settings: Settings, clock: Clock = utc_now, metrics: Metrics | None = None
) -> AsyncIterator[Shop]:
    """The shop on the engines that `settings` name, its collections prepared; closed in reverse order."""
    mongo_url, redis_url, secret = settings.required()
    metrics = metrics or Metrics()
    listeners = metrics.mongo_listeners
    async with (
        mongo.open_database(mongo_url, settings.mongo_db, settings.mongo_driver, listeners) as database,
        open_redis(redis_url, metrics.redis) as redis,
    ):
        audit, sessions = AuditLog(database), SessionRepository(database)
        users, products = UserRepository(database, audit, _COLLECTIONS), ProductRepository(database)
        keys = IdempotencyKeys(database, clock)
        one_time_tokens = OneTimeTokens(database, clock)
        for spec in _COLLECTIONS:
            await ensure_collection(database, spec)
        limited = settings.rate_limits == "on"
        limits, delays = RateLimits(redis, enabled=limited), SignInDelays(redis, enabled=limited)
        cursors = Cursors(secret)
        counters = Counters()
        memory = MemoryTier(settings.cache_memory_mib * 2**20)
        shared = RedisTier(redis_url, f"shop_api:{settings.mongo_db}", counters, metrics.redis)
        cache = HttpCache(memory, shared, counters)
        folder = KeyFolder(settings.jwt_keys_dir, clock) if settings.jwt_keys_dir else None
        previous = [old.get_secret_value().encode() for old in settings.jwt_previous_secrets]
        tokens = AccessTokens(secret, clock, previous=previous, folder=folder)
        figures = metrics.with_figures_of(CacheFigures(cache, limits), RedisConnections(redis))
        letters = Letters(settings.public_url, settings.front_end_url)
        async with Outbox(mailer(settings)).open() as outbox:
            with Passwords() as passwords, figures:
                accounts = UserService(users, passwords, cursors, clock)
                yield Shop(
                    settings=settings,
                    metrics=metrics,
                    database=database,
                    redis=redis,
                    limits=limits,
                    idempotency_keys=keys,
                    cache=cache,
                    cursors=cursors,
                    audit=audit,
                    signing_keys=folder,
                    auth=AuthService(accounts, sessions, tokens, limits, delays, clock),
                    outbox=outbox,
                    email=EmailService(accounts, one_time_tokens, outbox, letters, limits),
                    users=accounts,
                    products=ProductService(products, cursors, cache, clock),
                )
