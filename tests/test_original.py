"""The eleven requests of the Flask service that this one replaces, with today's bodies, and its bugs."""

import io
import logging

import pytest

from conftest import client_of, running_app
from shop_api.features.users.repository import UserRepository
from shop_api.observability.logging import configure_logging
from support.factories import PASSWORD, a_product, a_user


async def test_its_eleven_requests_work(anyone, shop, app):
    await UserRepository(shop.database).add(a_user("root", "admin"))

    assert (await anyone.get("/")).json()["name"] == "shop_api"
    registered = await anyone.post("/register", json={"username": "ada", "password": PASSWORD})
    assert registered.status_code == 201
    signed_in = await anyone.post("/auth", json={"username": "root", "password": PASSWORD})
    token = signed_in.json()["access_token"]

    async with client_of(app, Authorization=f"Bearer {token}") as admin:
        assert (await admin.post("/products", json=a_product())).status_code == 201
        assert len((await admin.get("/products")).json()["items"]) == 1
        assert (await admin.get("/products/tea-assam-250")).json()["stock"] == 40
        assert (await admin.put("/products/tea-assam-250", json=a_product(stock=7))).json()["stock"] == 7
        assert (await admin.delete("/products/tea-assam-250")).status_code == 204
        assert len((await admin.get("/users")).json()["items"]) == 2
        assert (await admin.get("/users/ada")).json()["role"] == "user"
        assert (await admin.delete("/users/ada")).status_code == 204


@pytest.fixture
def logs(engines):
    """Where the service logs, at its most talkative."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging(engines.model_copy(update={"log_level": "debug", "log_format": "json"}), stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)


async def test_no_answer_log_line_or_redis_value_holds_a_password_or_its_hash(app, engines, sign_in, logs):
    canary = "canary-password-4711"
    body = {"username": "ada", "password": canary, "email": "ada@shop.example"}
    admin = await sign_in("root", role="admin")
    limited = engines.model_copy(update={"rate_limits": "on"})
    async with running_app(limited) as app, client_of(app) as anyone:
        answers = [
            await anyone.post("/register", json=body, headers={"Idempotency-Key": "k1"}),
            await anyone.post("/register", json=body),
            await anyone.post("/auth", json={"username": "ada", "password": canary}),
            await anyone.post("/auth", json={"username": "ada", "password": canary + "-wrong"}),
            await anyone.post("/auth", content=canary, headers={"Content-Type": "application/json"}),
            await anyone.post("/register", json={**body, "extra": canary}),
            await admin.get("/users"),
            await admin.get("/users/ada"),
            await admin.patch("/users/ada", json={"role": "admin"}),
        ]
        services = app.state.services
        stored = [*await _redis_contents(services.redis), *await _redis_contents(services.guards)]
    logged = logs.getvalue()
    # Something must have been seen, else nothing was searched.
    assert '"route": "/register"' in logged
    assert len(stored) >= 4
    for text in (*(answer.text for answer in answers), logged, *stored):
        assert "argon2" not in text
        assert canary not in text


async def _redis_contents(redis):
    """Every key with its value as Redis would write it to disk."""
    return [f"{key!r} {await redis.dump(key)!r}" async for key in redis.scan_iter()]
