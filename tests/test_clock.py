"""What ends with time ends by the clock that the service is given, however long a test waits."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from fastapi import FastAPI

from conftest import Client, client_of, empty, running_app
from shop_api.features.auth import one_time_tokens, service
from shop_api.features.users.repository import UserRepository
from shop_api.http.idempotency import repository as idempotency
from shop_api.security import tokens
from shop_api.settings import Settings
from support.clock import ManualClock
from support.factories import PASSWORD, a_product, a_user

MOMENT = timedelta(seconds=1)


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
async def clocked(engines: Settings, clock: ManualClock) -> AsyncIterator[FastAPI]:
    """A service that goes by `clock`, on a database of its own."""
    settings = engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})
    async with running_app(settings, clock=clock) as app:
        yield app
        await app.state.services.database.client.drop_database(settings.mongo_db)


@pytest.fixture
async def client(clocked: FastAPI) -> AsyncIterator[Client]:
    await empty(clocked.state.services)
    root = a_user("root", "admin", email="root@shop.example", email_verified=True)
    await UserRepository(clocked.state.services.database).add(root)
    async with client_of(clocked) as client:
        yield client


async def sign_in(client: Client) -> dict[str, str]:
    """Returns the tokens, of which the client sends the access token from now on."""
    response = await client.post("/auth", json={"username": "root", "password": PASSWORD})
    issued: dict[str, str] = response.json()
    client.headers["Authorization"] = f"Bearer {issued['access_token']}"
    return issued


async def status(client: Client) -> int:
    return (await client.get("/users/me")).status_code


async def refresh(client: Client, issued: dict[str, str]) -> tuple[int, dict[str, str]]:
    response = await client.post("/auth/refresh", json={"refresh_token": issued["refresh_token"]})
    return response.status_code, response.json()


async def test_an_access_token_ends_after_its_lifetime(client: Client, clock: ManualClock) -> None:
    await sign_in(client)
    clock.advance(tokens.LIFETIME)  # and a few seconds, by which clocks may differ
    assert await status(client) == 200
    clock.advance(timedelta(seconds=tokens.LEEWAY))
    assert await status(client) == 401


async def test_a_session_that_is_not_used_ends(client: Client, clock: ManualClock) -> None:
    issued = await sign_in(client)
    clock.advance(service.IDLE_TIMEOUT - MOMENT)
    answered, issued = await refresh(client, issued)
    assert answered == 200
    clock.advance(service.IDLE_TIMEOUT)
    assert (await refresh(client, issued))[0] == 401


async def test_a_session_ends_however_often_it_is_used(client: Client, clock: ManualClock) -> None:
    issued, step = await sign_in(client), service.IDLE_TIMEOUT - MOMENT
    for _ in range(service.ABSOLUTE_LIFETIME // step):
        clock.advance(step)
        answered, issued = await refresh(client, issued)
        assert answered == 200
    clock.advance(step)
    assert (await refresh(client, issued))[0] == 401


async def test_an_ended_session_is_not_listed(client: Client, clock: ManualClock) -> None:
    await sign_in(client)
    clock.advance(service.IDLE_TIMEOUT)
    await sign_in(client)
    assert len((await client.get("/users/me/sessions")).json()["items"]) == 1


async def test_a_one_time_token_ends(clocked: FastAPI, client: Client, clock: ManualClock) -> None:
    database = clocked.state.services.database
    [root] = await UserRepository(database).find_by_email("root@shop.example")
    sent = one_time_tokens.OneTimeTokens(database, clock)
    token = await sent.make("reset", root)
    clock.advance(one_time_tokens.LIFETIMES["reset"])
    body = {"token": token, "new_password": "a wholly different one"}
    assert (await client.post("/auth/password/reset/confirm", json=body)).status_code == 400
    body["token"] = await sent.make("reset", root)
    clock.advance(one_time_tokens.LIFETIMES["reset"] - MOMENT)
    assert (await client.post("/auth/password/reset/confirm", json=body)).status_code == 204


async def test_an_idempotency_key_is_free_again_after_a_day(client: Client, clock: ManualClock) -> None:
    async def add(product_id: str) -> int:
        await sign_in(client)
        body, headers = a_product(product_id=product_id), {"Idempotency-Key": '"same"'}
        return (await client.post("/products", json=body, headers=headers)).status_code

    assert [await add("a"), await add("a"), await add("b")] == [201, 201, 422]
    clock.advance(idempotency.KEPT)
    assert [await add("b"), await add("a")] == [201, 422]


async def test_what_is_written_has_the_time_of_the_clock(client: Client, clock: ManualClock) -> None:
    clock.advance(timedelta(days=365))
    await sign_in(client)
    added = (await client.post("/products", json=a_product())).json()
    await client.patch("/products/tea-assam-250", json={"price": {"amount": 1}})
    [entry] = (await client.get("/audit")).json()["items"]
    export = (await client.get("/users/me/export")).json()
    assert {added["created_at"], entry["at"], export["exported_at"]} == {added["created_at"]}
    assert added["created_at"].startswith(clock().strftime("%Y-%m-%dT%H:%M:%S"))
