"""A whole shop for the tests in this folder: nginx in front of three instances, on the engines of the other tests."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient

from e2e.stack import Instance, Shop, nginx
from shop_api.settings import Settings
from support.patience import PATIENCE
from support.processes import environment, token_of

ADMIN = ("owner", "a long password of the owner")


@pytest.fixture(scope="session")
def env(engines: Settings) -> Iterator[dict[str, str]]:
    """The environment of an instance behind nginx, with a database of its own: other tests empty theirs."""
    name = f"e2e-{uuid.uuid4().hex[:12]}"
    yield environment(
        engines,
        SHOP_MONGO_DB=name,
        SHOP_LOG_LEVEL="info",
        SHOP_LOG_HITS_EVERY="1",
        SHOP_TRUSTED_PROXIES="127.0.0.1",
        SHOP_ADMIN_USERNAME=ADMIN[0],
        SHOP_ADMIN_PASSWORD=ADMIN[1],
    )
    with MongoClient[dict](engines.required()[0]) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def shop(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    instances = [Instance(env, folder) for _ in range(3)]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Instance.start, instances))
        with nginx(folder / "nginx", [instance.port for instance in instances]) as front:
            yield Shop(front, instances)
    finally:
        for instance in instances:
            instance.stop()


@pytest.fixture
def anyone(shop: Shop) -> Iterator[httpx.Client]:
    """A client of nginx without a token."""
    with httpx.Client(base_url=shop.nginx.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def admin(shop: Shop) -> Iterator[httpx.Client]:
    """A client of nginx with the first admin's token."""
    headers = {"Authorization": f"Bearer {token_of(shop.nginx.url, *ADMIN)}"}
    with httpx.Client(base_url=shop.nginx.url, timeout=PATIENCE, headers=headers) as client:
        yield client
