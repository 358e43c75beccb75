"""The composition root: constructs and wires all objects that live as long as the process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from shop_api import __version__
from shop_api.audit.repository import AuditLog
from shop_api.cache.cache import HttpCache
from shop_api.cache.counters import Counters
from shop_api.cache.memory import MemoryTier
from shop_api.cache.metrics import CacheFigures
from shop_api.cache.redis import RedisTier
from shop_api.email.queue import MailQueue
from shop_api.email.smtp import mailer
from shop_api.features import FEATURES
from shop_api.features.auth.account_emails import AccountEmails
from shop_api.features.auth.email_service import EmailService
from shop_api.features.auth.export import ExportService
from shop_api.features.auth.metrics import SignIns
from shop_api.features.auth.one_time_tokens import OneTimeTokens
from shop_api.features.auth.repository import SessionRepository
from shop_api.features.auth.service import AuthService
from shop_api.features.feature import (
    Feature,
    audit_actions_of,
    audit_subjects_of,
    collections_of,
    permissions_of,
    schema_of,
)
from shop_api.features.home.service import OverviewService
from shop_api.features.operations.service import AuditService, HealthService
from shop_api.features.products.imports.repository import BUCKET, ImportRepository
from shop_api.features.products.imports.runner import ImportRunner
from shop_api.features.products.imports.service import ImportService
from shop_api.features.products.repository import ProductRepository
from shop_api.features.products.service import ProductService
from shop_api.features.users.authority import Authority
from shop_api.features.users.changes import AccountChanges
from shop_api.features.users.notices import Notices
from shop_api.features.users.password_service import PasswordService
from shop_api.features.users.repository import UserRepository
from shop_api.features.users.service import UserService
from shop_api.http.idempotency.repository import IdempotencyKeys
from shop_api.kernel.clock import Clock, utc_now
from shop_api.kernel.pagination import Cursors
from shop_api.kernel.permissions import Authenticate, permissions_of_roles
from shop_api.observability.metrics import Metrics
from shop_api.observability.redis import RedisConnections
from shop_api.security.metrics import RateLimitFigures
from shop_api.security.passwords import Passwords
from shop_api.security.rate_limits import RateLimits
from shop_api.security.sign_in_delays import SignInDelays
from shop_api.security.signing_keys.store import SigningKeyStore
from shop_api.security.tokens import AccessTokens
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.files import FileStore
from shop_api.storage.mongo.instances import Heartbeat, new_instance_id
from shop_api.storage.mongo.migrations import open_schema
from shop_api.storage.mongo.transactions import Transactions
from shop_api.storage.redis.client import Redis, open_redis


@dataclass(frozen=True, slots=True)
class Services:
    """All objects that live as long as the process."""

    settings: Settings
    clock: Clock
    instance_id: str
    metrics: Metrics
    database: Database
    heartbeat: Heartbeat
    redis: Redis
    guards: Redis
    """The Redis that counts failed sign-ins and rate limits; the same as `redis` if there is only one."""
    limits: RateLimits
    authenticate: Authenticate
    idempotency_keys: IdempotencyKeys
    cache: HttpCache
    cursors: Cursors
    audit: AuditLog
    signing_keys: SigningKeyStore | None
    mail_queue: MailQueue
    auth: AuthService
    email: EmailService
    exports: ExportService
    users: UserService
    passwords: PasswordService
    products: ProductService
    imports: ImportService
    import_runner: ImportRunner
    health: HealthService
    audit_service: AuditService
    overview: OverviewService


@asynccontextmanager
async def open_services(
    settings: Settings,
    clock: Clock = utc_now,
    *,
    features: Sequence[Feature] = FEATURES,
    metrics: Metrics | None = None,
) -> AsyncIterator[Services]:
    """Open the services on the engines named in `settings`, and close them in reverse order on exit.

    `clock` gives the time to all rules; timeouts and delays use the monotonic clock. Raises SchemaError if the
    database does not have the schema that `features` declare.
    """
    mongo_url, redis_url, secret = settings.required()
    metrics = metrics or Metrics()
    async with AsyncExitStack() as stack:
        # The platform: engines, then the objects that all features share.
        database = await stack.enter_async_context(
            mongo.open_database(mongo_url, settings.mongo_db, settings.mongo_driver, metrics.mongo_listeners)
        )
        redis = guards = await stack.enter_async_context(open_redis(redis_url, metrics.redis))
        if settings.redis_guards_url is not None:
            guards_url = settings.redis_guards_url.get_secret_value()
            guards = await stack.enter_async_context(open_redis(guards_url, metrics.redis))
        collections = collections_of(features)
        instance_id = new_instance_id()
        await open_schema(database, schema_of(features), instance_id, auto=settings.auto_migrate == "on")
        limited = settings.rate_limits == "on"
        limits, delays = RateLimits(guards, enabled=limited), SignInDelays(guards, enabled=limited)
        cursors, counters = Cursors(secret), Counters()
        tier = RedisTier(redis_url, f"shop_api:{settings.mongo_db}", counters, metrics.redis)
        cache = HttpCache(MemoryTier(settings.cache_memory_mib * 2**20), tier, counters)
        folder = SigningKeyStore(settings.jwt_keys_dir, clock) if settings.jwt_keys_dir else None
        previous = [old.get_secret_value().encode() for old in settings.jwt_previous_secrets]
        tokens = AccessTokens(secret, clock, previous=previous, folder=folder)
        transactions, audit, sign_ins = Transactions(database), AuditLog(database, clock), SignIns()
        mail_queue = await stack.enter_async_context(MailQueue(mailer(settings)).open())
        hashes = stack.enter_context(Passwords(limited=limited))
        stack.enter_context(
            metrics.with_figures_of(CacheFigures(cache), RateLimitFigures(limits), sign_ins, RedisConnections(redis))
        )
        # The features, each after the features that it calls.
        notices = Notices(mail_queue, settings.public_url)
        sessions = SessionRepository(database)
        accounts = UserRepository(database, collections)
        roles = permissions_of_roles(permissions_of(features))
        authority = Authority(accounts, roles)
        changes = AccountChanges(accounts, authority, transactions, audit, sessions.remove_others, clock)
        passwords = PasswordService(accounts, hashes, delays)
        users = UserService(
            accounts, changes, authority, sessions.began_at, roles, passwords, notices, cursors, clock
        )
        auth = AuthService(users, passwords, sessions, tokens, limits, transactions, sign_ins, roles, clock, secret)
        emails = AccountEmails(settings.public_url, settings.front_end_url)
        email = EmailService(users, passwords, OneTimeTokens(database, clock), mail_queue, emails, limits)
        catalogue = ProductRepository(database)
        products = ProductService(catalogue, transactions, audit, cursors, cache, clock)
        jobs, files = ImportRepository(database), FileStore(database, BUCKET)
        imports = ImportService(jobs, files, transactions, audit, clock)
        import_runner = ImportRunner(imports, jobs, files, catalogue, database, clock, instance_id)
        heartbeat = Heartbeat(database, instance_id, __version__, clock)
        health = await stack.enter_async_context(HealthService(database, redis, heartbeat).open())
        yield Services(
            settings=settings,
            clock=clock,
            instance_id=instance_id,
            metrics=metrics,
            database=database,
            heartbeat=heartbeat,
            redis=redis,
            guards=guards,
            limits=limits,
            authenticate=auth.caller_of,
            idempotency_keys=IdempotencyKeys(database, clock),
            cache=cache,
            cursors=cursors,
            audit=audit,
            signing_keys=folder,
            mail_queue=mail_queue,
            auth=auth,
            email=email,
            exports=ExportService(database, audit, auth, collections, clock),
            users=users,
            passwords=passwords,
            products=products,
            imports=imports,
            import_runner=import_runner,
            health=health,
            audit_service=AuditService(
                audit, users, cursors, audit_actions_of(features), audit_subjects_of(features)
            ),
            overview=OverviewService(health, products, users),
        )
