"""Real engines, once for the whole run; an empty shop for every test.

SHOP_TEST_MONGO_URL and SHOP_TEST_REDIS_URL run the same suite on other engines. It empties what it finds there.
"""

import gc
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import hypothesis
import pytest
import structlog
from fastapi import FastAPI
from pydantic import SecretStr

from shop_api import embedded
from shop_api.app import create_app
from shop_api.container import Services
from shop_api.features import FEATURES
from shop_api.features.feature import Feature, collections_of
from shop_api.features.users.models import Role
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import Clock, utc_now
from shop_api.security.tokens import AccessTokens
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.collections import CollectionSpec
from shop_api.storage.redis.fallback import _MAX_SECONDS as REDIS_LONGEST
from support import signals
from support.factories import TEST_SECRET, a_session, a_user
from support.patience import PATIENCE, patient

# How long examples take to make says nothing on a busy machine, and what a test takes even less.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("suite")

# By default httpx gives up after five seconds, which show nothing on a busy machine.
for part in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, part, PATIENCE)

# A failed test shows what was logged. To lay it out for a terminal, as structlog would, takes time at every request.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
)


# Thousands of tests are objects that live to the end: looking through them again and again took a sixth of the time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    # It compares the state of the generator that all threads share; those of a driver use it whenever they like.
    config.addinivalue_line("filterwarnings", "ignore:Do not use the `random` module inside strategies")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def _signals() -> Iterator[None]:
    """No test depends on how this process was started: in the background, SIGINT is ignored."""
    with signals.default_for_children():
        yield


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """Redis is not given up because the machine is busy: each process would count for itself then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shop_api.storage.redis.fallback._MAX_SECONDS", PATIENCE)
        yield


@pytest.fixture
def quick_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up as in service."""
    monkeypatch.setattr("shop_api.storage.redis.fallback._MAX_SECONDS", REDIS_LONGEST)


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that lead to running engines, and a database of this run's own."""
    wanted = Settings(
        mongo_url=os.environ.get("SHOP_TEST_MONGO_URL"),
        redis_url=os.environ.get("SHOP_TEST_REDIS_URL"),
        mongo_db=f"test-{uuid.uuid4().hex[:12]}",
        jwt_secret=TEST_SECRET,
        data_dir=tmp_path_factory.mktemp("engines"),
        rate_limits="off",
        log_level="error",
    )
    with embedded.running(wanted, lambda _: None) as settings:
        started = [name for name in ("mongo_url", "redis_url", "redis_guards_url") if getattr(wanted, name) is None]
        urls = {name: getattr(settings, name).get_secret_value() for name in started if getattr(settings, name)}
        yield settings.model_copy(update={name: SecretStr(patient(url)) for name, url in urls.items()})


@asynccontextmanager
async def running_app(
    settings: Settings, features: Sequence[Feature] = FEATURES, clock: Clock = utc_now
) -> AsyncIterator[FastAPI]:
    app = create_app(settings, features, clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(scope="session")
async def _app(engines: Settings) -> AsyncIterator[FastAPI]:
    async with running_app(engines) as app:
        yield app
        await app.state.services.database.client.drop_database(engines.mongo_db)


@pytest.fixture
async def app(_app: FastAPI) -> FastAPI:
    """The service, with nothing in it."""
    await empty(_app.state.services)
    return _app


async def empty_collection(database: Database, spec: CollectionSpec) -> None:
    """Leaves only the documents that have to exist from the beginning."""
    await database[spec.name].delete_many({"_id": {"$nin": [document["_id"] for document in spec.documents]}})


async def empty(shop: Services, features: Sequence[Feature] = FEATURES) -> None:
    for spec in collections_of(features):
        await empty_collection(shop.database, spec)
    await shop.redis.flushdb()
    await shop.guards.flushdb()
    shop.cache.clear()


@pytest.fixture
def shop(app: FastAPI) -> Services:
    shop: Services = app.state.services
    return shop


Client = httpx.AsyncClient


def client_of(app: FastAPI, **headers: str) -> Client:
    """A client whose requests are answered by `app` in this process, also when it fails."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return Client(transport=transport, base_url="http://shop.test", headers=headers)


@pytest.fixture
async def anyone(app: FastAPI) -> AsyncIterator[Client]:
    """A client without a token."""
    async with client_of(app) as client:
        yield client


async def signed_in_to(app: FastAPI, username: str, role: Role = "user", **fields: str) -> Client:
    """A client with the token of a new user of that name."""
    user, database = a_user(username, role, **fields), app.state.services.database
    await UserRepository(database).add(user)
    await database["sessions"].insert_one(a_session(user))
    token = AccessTokens(TEST_SECRET.encode(), utc_now).issue(user.id, user.sessions[0])
    return client_of(app, Authorization=f"Bearer {token}")


@pytest.fixture
async def sign_in(app: FastAPI) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """`await sign_in("ada", role="admin")`: a client with the token of a new user of that name."""
    clients: list[Client] = []

    async def signed_in(username: str, role: Role = "user", **fields: str) -> Client:
        clients.append(await signed_in_to(app, username, role, **fields))
        return clients[-1]

    yield signed_in
    for client in clients:
        await client.aclose()


@pytest.fixture
async def admin(sign_in: Callable[..., Awaitable[Client]]) -> Client:
    """A client with an admin's token."""
    return await sign_in("root", role="admin")


@pytest.fixture
async def user(sign_in: Callable[..., Awaitable[Client]]) -> Client:
    """A client with a plain user's token."""
    return await sign_in("ada")


@pytest.fixture(params=["motor", "pymongo"])
async def database(request: pytest.FixtureRequest, engines: Settings) -> AsyncIterator[Database]:
    """An empty database of its own, through each driver."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    url = engines.required()[0]
    async with mongo.open_database(url, name, request.param) as database:
        yield database
        await database.client.drop_database(name)


@pytest.fixture(scope="session")
def repository_root() -> Path:
    return Path(__file__).parent.parent
