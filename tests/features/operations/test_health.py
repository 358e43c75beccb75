"""GET /health/ready: what the database has to be able to do, and how the clocks compare."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from structlog.testing import capture_logs

from conftest import Client, client_of, running_app, signed_in_to
from shop_api.features.operations import service
from shop_api.kernel.clock import utc_now
from shop_api.settings import Settings
from shop_api.storage.mongo import instances
from support.factories import a_product
from support.faults import NEEDS_PRLIMIT, MongoServer, fill_disk
from support.mongo_wire import NOT_PRIMARY, Fault, MongoWire, wired
from support.patience import PATIENCE

INSTANCES = "instances"
STORING = frozenset({"insert", "update", "findAndModify"})
NO_SPACE = {"ok": 0, "code": 14031, "codeName": "OutOfDiskSpace", "errmsg": "no space left"}
READ_ONLY = {"ok": 0, "code": 20, "codeName": "IllegalOperation", "errmsg": "cannot write in read-only mode"}


class ShiftedClock:
    """The clock of a machine that is wrong by as much as it is told."""

    def __init__(self, **ahead: float) -> None:
        self.ahead = timedelta(**ahead)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@pytest.fixture
async def broken(engines: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Client, MongoWire]]:
    """A client of an app that looks at its database each time, and the wire between the two."""
    monkeypatch.setattr(service, "_FRESH_SECONDS", 0, raising=False)
    with wired(engines) as (wire, settings):
        async with running_app(settings) as app, client_of(app) as client:
            yield client, wire


async def readiness(client: Client) -> tuple[int, str]:
    response = await client.get("/health/ready")
    return response.status_code, response.json().get("code", "")


async def becomes(client: Client, expected: tuple[int, str]) -> None:
    async with asyncio.timeout(PATIENCE):
        while await readiness(client) != expected:
            await asyncio.sleep(0.05)


class TestDatabase:
    async def test_one_that_works_makes_it_ready(self, anyone: Client):
        ready = await anyone.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert (ready.json()["mongo"], ready.json()["redis"]) == ("up", "up")

    @pytest.mark.parametrize("error", [NOT_PRIMARY, NO_SPACE, READ_ONLY], ids=lambda error: error["codeName"])
    async def test_one_that_answers_a_ping_and_stores_nothing_is_down(
        self, broken: tuple[Client, MongoWire], error: dict
    ):
        client, wire = broken
        assert await readiness(client) == (200, "")
        wire.add(Fault("refused", STORING, error, INSTANCES), 1000)
        assert await readiness(client) == (503, "not_ready")
        wire.mend()
        wire.reset_all()  # a server whose state changes says so to whoever watches it
        await becomes(client, (200, ""))

    async def test_one_that_never_ends_a_write_is_down(self, broken: tuple[Client, MongoWire]):
        client, wire = broken
        wire.add(Fault("held", STORING, collection=INSTANCES), 1000)
        assert await readiness(client) == (503, "not_ready")
        wire.mend()

    @NEEDS_PRLIMIT
    async def test_a_full_disk_is_503_everywhere_and_never_500(self, engines: Settings, tmp_path: Path):
        server = MongoServer(tmp_path)
        url = f"mongodb://127.0.0.1:{server.start()}/?directConnection=true"
        try:
            async with running_app(engines.model_copy(update={"mongo_url": SecretStr(url)})) as app:
                await on_a_full_disk(app, tmp_path)
        finally:
            server.stop()


async def on_a_full_disk(app: FastAPI, folder: Path) -> None:
    async with await signed_in_to(app, "root", "admin") as client:
        assert await readiness(client) == (200, "")
        assert (await client.post("/products", json=a_product())).status_code == 201
        fill_disk(folder)
        for number in range(5):
            refused = await client.post("/products", json=a_product(product_id=f"product-{number}"))
            assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable"), refused.text
            assert refused.headers["retry-after"] == "1"
        await becomes(client, (503, "not_ready"))  # a result may be a second old


@pytest.fixture
async def clocked(engines: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Client, ShiftedClock]]:
    """A client of an app by a clock that is five minutes ahead, and the clock."""
    monkeypatch.setattr(service, "_FRESH_SECONDS", 0, raising=False)
    clock = ShiftedClock(minutes=5)
    async with running_app(engines, clock=clock) as app, client_of(app) as client:
        yield client, clock


async def offset(client: Client) -> float:
    response = await client.get("/health/ready")
    assert response.status_code == 200
    seconds: float = response.json()["clock_offset_seconds"]
    return seconds


class TestClock:
    async def test_one_that_agrees_has_no_offset(self, anyone: Client):
        assert await offset(anyone) == 0

    async def test_one_that_differs_is_shown_and_is_still_ready(self, clocked: tuple[Client, ShiftedClock]):
        client, clock = clocked
        # A check takes two seconds at most, and the offset is the smallest that explains what it saw.
        assert 298 <= await offset(client) <= 300
        clock.ahead = timedelta(minutes=-5)
        assert -300 <= await offset(client) <= -298

    async def test_is_logged_once_when_it_begins_to_differ_and_once_when_it_ceases(
        self, engines: Settings, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(service, "_FRESH_SECONDS", 0, raising=False)
        monkeypatch.setattr(
            instances, "HEARTBEAT_SECONDS", 3600
        )  # none begins before the clock is set and ends after it
        clock = ShiftedClock(seconds=50)
        with capture_logs() as logs:
            async with running_app(engines, clock=clock) as app, client_of(app) as client:
                for ahead, so_far in ((50, 0), (90, 1), (91, 1), (-90, 1), (0, 2), (75, 3)):
                    clock.ahead = timedelta(seconds=ahead)
                    for _ in range(5):
                        await offset(client)
                    assert len([line for line in logs if "clock" in line["event"]]) == so_far, ahead
        assert {line["log_level"] for line in logs if "clock" in line["event"]} == {"warning"}

    async def test_is_logged_at_the_start(self, engines: Settings):
        with capture_logs() as logs:
            async with running_app(engines, clock=ShiftedClock(minutes=-2)):
                assert len([line for line in logs if "clock" in line["event"]]) == 1
        [line] = [line for line in logs if "clock" in line["event"]]
        assert "behind MongoDB's" in line["reason"]
