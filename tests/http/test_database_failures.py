"""What a database that stores nothing makes of a request: 503, and 500 for our own mistakes alone."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from conftest import Client, running_app, signed_in_to
from shop_api.settings import Settings
from support.factories import a_product
from support.mongo_wire import NOT_PRIMARY, SHUTTING_DOWN, Fault, MongoWire, wired

Answer = dict[str, Any]


def refusal(code: int, message: str) -> Answer:
    return {"ok": 0, "code": code, "errmsg": message}


def write_error(code: int, message: str) -> Answer:
    return {"ok": 1, "n": 0, "writeErrors": [{"index": 0, "code": code, "errmsg": message}]}


def write_concern_error(code: int, message: str) -> Answer:
    return {"ok": 1, "n": 1, "writeConcernError": {"code": code, "errmsg": message}}


@pytest.fixture(scope="module")
async def broken(engines: Settings) -> AsyncIterator[tuple[Client, MongoWire]]:
    """A client with an admin's token, of an app that reaches its database through the wire."""
    with wired(engines) as (wire, settings):
        async with running_app(settings) as app, await signed_in_to(app, "keeper", "admin") as client:
            yield client, wire


async def added(broken: tuple[Client, MongoWire], answer: Answer) -> tuple[int, str, str | None]:
    """Status, code and Retry-After of a creation that MongoDB answers so."""
    client, wire = broken
    wire.add(Fault("refused", {"insert"}, answer, "products"), 10)
    response = await client.post("/products", json=a_product())
    wire.mend()
    wire.reset_all()  # so that the driver looks again at a server that it has found shutting down
    return response.status_code, response.json()["code"], response.headers.get("retry-after")


@pytest.mark.parametrize(
    "answer",
    [
        NOT_PRIMARY,
        SHUTTING_DOWN,
        refusal(14031, "available disk space is below the required minimum"),
        refusal(8, "28: No space left on device"),
        refusal(1, "WiredTiger error: WT_PANIC: WiredTiger library panic"),
        refusal(1, "WiredTiger error: File too large"),
        refusal(20, "Cannot execute a write operation in read-only mode"),
        write_error(14031, "no space"),
        write_error(8, "30: Read-only file system"),
        write_concern_error(91, "shutdown in progress"),
        write_concern_error(11602, "interrupted"),
    ],
    ids=str,
)
async def test_a_failure_of_its_storage_is_unavailability(broken: tuple[Client, MongoWire], answer: Answer):
    assert await added(broken, answer) == (503, "database_unavailable", "1")


@pytest.mark.parametrize(
    "answer",
    [
        refusal(2, "unknown operator: $nonsense"),
        refusal(8, "Caught std::exception of type std::bad_cast"),
        refusal(1, "WiredTiger error: Invalid argument"),
        refusal(20, "Transaction numbers are only allowed on a replica set member or mongos"),
        write_error(121, "Document failed validation"),
    ],
    ids=str,
)
async def test_a_mistake_of_ours_is_not(broken: tuple[Client, MongoWire], answer: Answer):
    assert await added(broken, answer) == (500, "internal_error", None)
