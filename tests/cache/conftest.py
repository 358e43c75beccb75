"""An app of these tests' own: what it asks of MongoDB is counted, and it soon knows that nothing has changed."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from conftest import running_app
from shop_api.cache import cache
from shop_api.container import Services
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from support.patience import PATIENCE


class Commands(CommandListener):
    """The commands that MongoDB was sent, with what they were about."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object]] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.sent.append((event.command_name, event.command[event.command_name]))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass

    def reads(self) -> list[str]:
        """Those that have read products."""
        return [name for name, about in self.sent if about == "products" and name in ("find", "aggregate")]


@pytest.fixture(scope="package")
def _commands() -> Commands:
    return Commands()


@pytest.fixture(scope="package")
def cache_settings(engines: Settings) -> Settings:
    """With a database of these tests' own."""
    return engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})


@pytest.fixture(scope="package")
async def _app(cache_settings: Settings, _commands: Commands) -> AsyncIterator[FastAPI]:
    with pytest.MonkeyPatch.context() as patch:
        opening = mongo.open_database
        patch.setattr(mongo, "open_database", lambda *given: opening(*[*given[:3], [*given[3], _commands]]))
        patch.setattr(mongo.Changes, "WAIT_MS", 10)
        async with running_app(cache_settings) as app:
            patch.setattr(mongo, "open_database", opening)  # other tests may run before these have ended
            yield app
            await app.state.services.database.client.drop_database(cache_settings.mongo_db)


@pytest.fixture
def commands(_commands: Commands) -> Commands:
    """Those since the test began to ask for them, or cleared them."""
    _commands.sent.clear()
    return _commands


@pytest.fixture
def long_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is too old during a test: what is no longer given was invalidated, however busy the machine is."""
    monkeypatch.setattr(cache, "LIFE", 3600.0)


async def settled(shop: Services) -> None:
    """Returns when the cache has heard of all changes so far, and uses Redis."""
    asked = time.monotonic()
    while shop.cache.seen_through < asked or not shop.cache.redis._trusted:
        assert time.monotonic() < asked + PATIENCE
        await asyncio.sleep(0.002)
