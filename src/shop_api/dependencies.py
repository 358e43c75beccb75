"""The one place where objects are put together, and the `…Dep` names by which routers ask for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from fastapi.security import OAuth2PasswordBearer
from uuid_utils import uuid7

from shop_api import mongo
from shop_api.audit.models import Origin
from shop_api.audit.repository import AuditLog
from shop_api.auth.delays import SignInDelays
from shop_api.auth.models import Device
from shop_api.auth.repository import SessionRepository
from shop_api.auth.service import AuthService
from shop_api.clock import Clock, utc_now
from shop_api.errors import Forbidden, Unauthenticated
from shop_api.etags import IF_MATCH_PATTERN, Expected, parse_if_match
from shop_api.http_cache.cache import HttpCache
from shop_api.http_cache.counters import Counters
from shop_api.http_cache.memory import MemoryTier
from shop_api.http_cache.redis import RedisTier
from shop_api.idempotency.repository import IdempotencyKeys
from shop_api.keys.folder import KeyFolder
from shop_api.mongo import Database
from shop_api.observability.cache import CacheFigures
from shop_api.observability.metrics import Metrics
from shop_api.observability.redis import RedisConnections
from shop_api.pagination import Cursors
from shop_api.passwords import Passwords
from shop_api.products.repository import ProductRepository
from shop_api.products.service import ProductService
from shop_api.rate_limits import RateLimits
from shop_api.redis import Redis, open_redis
from shop_api.settings import Settings
from shop_api.tokens import AccessTokens
from shop_api.users.models import User, Visitor
from shop_api.users.repository import UserRepository
from shop_api.users.service import UserService


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
        users, products = UserRepository(database, audit), ProductRepository(database)
        keys = IdempotencyKeys(database, clock)
        for repository in (users, products, keys, sessions, audit):
            await repository.prepare()
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
        figures = metrics.with_figures_of(CacheFigures(cache, limits), RedisConnections(redis.connection_pool))
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
                users=accounts,
                products=ProductService(products, cursors, cache, clock),
            )


# All of these are coroutines, also where nothing waits, since the framework runs others in threads. And each asks the
# request itself, since every step between two of them is paid for at every request.


async def _shop(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


ShopDep = Annotated[Shop, Depends(_shop)]


async def _auth(request: Request) -> AuthService:
    return (await _shop(request)).auth


async def _users(request: Request) -> UserService:
    return (await _shop(request)).users


async def _products(request: Request) -> ProductService:
    return (await _shop(request)).products


AuthServiceDep = Annotated[AuthService, Depends(_auth)]
UserServiceDep = Annotated[UserService, Depends(_users)]
ProductServiceDep = Annotated[ProductService, Depends(_products)]

bearer_token = OAuth2PasswordBearer(
    tokenUrl="auth", auto_error=False, description="Sign in with a username and a password."
)


async def _optional_user(request: Request, token: Annotated[str | None, Depends(bearer_token)]) -> User | None:
    if token is None:
        return None
    user = await (await _auth(request)).user_of(token)
    request.state.user_id = user.id  # for the log
    return user


OptionalUserDep = Annotated[User | None, Depends(_optional_user)]
"""Who asks, None without a token; a token that is not valid is refused all the same."""


async def _visitor(request: Request, token: Annotated[str | None, Depends(bearer_token)]) -> Visitor:
    return partial(_optional_user, request, token)


async def _token(request: Request, token: Annotated[str | None, Depends(bearer_token)]) -> str:
    if token is None:
        raise Unauthenticated
    return token


TokenDep = Annotated[str, Depends(_token)]
"""The access token of a request that has to have one; it is not checked yet."""


VisitorDep = Annotated[Visitor, Depends(_visitor)]
"""Who asks, looked up only when it is asked for: most public reads are the same for everybody."""


async def _current_user(user: OptionalUserDep) -> User:
    if user is None:
        raise Unauthenticated
    return user


CurrentUserDep = Annotated[User, Depends(_current_user)]
"""Who asks: a signed-in user, as stored now."""


async def _admin(user: CurrentUserDep) -> User:
    if not user.is_admin:
        raise Forbidden("This needs an admin.")
    return user


AdminDep = Annotated[User, Depends(_admin)]
"""Who asks: an admin, as stored now."""


async def _addressed_user(
    username: Annotated[
        str,
        Path(
            description="A username, or `me`.",
            pattern="^([A-Za-z0-9][A-Za-z0-9._-]{1,30}[A-Za-z0-9]|me)$",
            examples=["ada"],
        ),
    ],
    caller: CurrentUserDep,
    users: UserServiceDep,
) -> User:
    name = username.lower()
    if name in ("me", caller.username):
        return caller
    if not caller.is_admin:  # before looking, so that the answer does not tell who exists
        raise Forbidden("Only an admin can see other users.")
    return await users.get(name)


AddressedUserDep = Annotated[User, Depends(_addressed_user)]
"""The user that the path names, if the caller may see that one."""


async def _expected(
    if_match: Annotated[
        str | None,
        Header(
            max_length=1000,
            description='The `ETag` of the version to change, such as `"3"`; 412 if there is another by now.',
            json_schema_extra={"pattern": IF_MATCH_PATTERN},
        ),
    ] = None,
) -> Expected:
    return parse_if_match(if_match)


ExpectedDep = Annotated[Expected, Depends(_expected)]
"""The versions that If-Match allows the change to apply to."""


async def _creation(request: Request) -> str:
    return getattr(request.state, "creation", None) or str(uuid7())


CreationDep = Annotated[str, Depends(_creation)]
"""Names what this request creates: with an `Idempotency-Key` the same each time it is tried, so that what an attempt
before has made is found."""


async def _address(request: Request) -> str:
    host = request.client.host if request.client else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    # One household or server has a whole /64 of IPv6, and could take a new address for every attempt.
    return host if address.version == 4 else str(ip_network((address, 64), strict=False))


AddressDep = Annotated[str, Depends(_address)]
"""Where the request comes from: the peer, or what a trusted proxy says of it; of IPv6 the /64 network."""


_LONGEST_USER_AGENT = 500


async def _device(request: Request) -> Device:
    user_agent = request.headers.get("user-agent")
    return Device(await _address(request), user_agent[:_LONGEST_USER_AGENT] if user_agent else None)


DeviceDep = Annotated[Device, Depends(_device)]
"""Where the request comes from, for the list of sign-ins."""


async def _origin(request: Request, user: CurrentUserDep) -> Origin:
    return Origin(user.id, await _address(request), request.state.request_id)


OriginDep = Annotated[Origin, Depends(_origin)]
"""Who asks, and from where, for the audit log."""
