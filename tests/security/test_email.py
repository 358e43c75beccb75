"""Mail tells nobody who has an account, cannot be changed by what clients send, and leaves no trace in the log."""

import asyncio
import random
import re
import socket
import time
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from cache.conftest import Commands
from conftest import client_of, running_app
from shop_api.email import queue
from shop_api.features.users.repository import UserRepository
from shop_api.storage.mongo import client as mongo
from support.factories import PASSWORD, a_user
from support.mail_server import mail_server
from support.patience import PATIENCE
from support.processes import environment, started

SENDER = "shop@shop.example"
VARYING = {"x-request-id", "date"}
ACCOUNTS: dict[str, dict[str, Any] | None] = {
    "verified": {"email_verified": True},
    "not verified": {},
    "disabled": {"email_verified": True, "disabled": True},
    "unknown": None,
}
EMAILS = {kind: f"{number}@shop.example" for number, kind in enumerate(ACCOUNTS)}


@pytest.fixture
async def accounts(shop):
    users = UserRepository(shop.database)
    for kind, fields in ACCOUNTS.items():
        if fields is not None:
            await users.add(a_user(kind.replace(" ", "-"), email=EMAILS[kind], **fields))


@pytest.fixture(params=["takes mail", "hangs", "is down"])
def server(request):
    """The address of an SMTP server, in good times and in bad."""
    if request.param == "takes mail":
        with mail_server() as server:
            yield server.url
    elif request.param == "hangs":
        with socket.create_server(("127.0.0.1", 0)) as silent:
            yield f"smtp://127.0.0.1:{silent.getsockname()[1]}"
    else:
        yield "smtp://127.0.0.1:1"


@pytest.fixture
def commands(monkeypatch):
    """What the app of `stranger` sends to MongoDB."""
    commands, opening = Commands(), mongo.open_database
    monkeypatch.setattr(mongo, "open_database", lambda *given: opening(*[*given[:3], [*given[3], commands]]))
    return commands


@pytest.fixture
async def stranger(engines, accounts, server, commands, monkeypatch):
    monkeypatch.setattr(queue, "_LAST_SECONDS", 0.2)
    given = {**engines.model_dump(), "smtp_url": server, "mail_from": SENDER}
    async with running_app(engines.model_validate(given)) as app, client_of(app) as client:
        yield client


async def test_a_reset_is_answered_alike_and_after_the_same_work_whoever_has_the_address(stranger, commands):
    """`make timing` measures what a client could: how long it takes."""
    mail_queue, go_on, said = stranger._transport.app.state.services.mail_queue, asyncio.Event(), set()

    async def hold():
        await go_on.wait()
        return ()

    for _ in range(queue._WORKERS):  # so that nothing is done beside the requests
        mail_queue.put(hold)
    for _ in range(3):
        for email in random.sample(list(EMAILS.values()), len(EMAILS)):
            commands.sent.clear()
            response = await asyncio.wait_for(stranger.post("/auth/password/reset", json={"email": email}), PATIENCE)
            asked = [name for name, about in commands.sent if about in ("users", "one_time_tokens")]
            headers = [(name, value) for name, value in response.headers.multi_items() if name not in VARYING]
            said.add((response.status_code, response.text, str(headers), str(asked)))
    go_on.set()
    assert len(said) == 1
    assert response.status_code == 202


@pytest.mark.parametrize(
    "email",
    [
        "ada@shop.example\r\nBcc: eve@shop.example",
        "ada@shop.example\nBcc: eve@shop.example",
        "ada\r\nBcc: eve@shop.example",
        '"ada\r\nBcc: eve"@shop.example',
        "ada@shop.example, eve@shop.example",
        "ada@shop.example\x00eve@shop.example",
        "ada@shop.example\u2028Bcc: eve@shop.example",
    ],
)
async def test_no_address_with_a_second_line_or_a_second_address_is_taken(anyone, user, email):
    registration = {"username": "eve", "password": PASSWORD, "email": email}
    change = {"email": email, "current_password": PASSWORD}
    for response in (
        await anyone.post("/register", json=registration),
        await user.patch("/users/me", json=change),
        await anyone.post("/auth/password/reset", json={"email": email}),
    ):
        assert response.status_code in (400, 422)
        assert "eve@shop.example" not in response.text


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
async def test_no_name_with_a_second_line_reaches_a_mail(anyone, user, line_end):
    name = f"Ada{line_end}Bcc: eve@shop.example"
    for response in (
        await user.patch("/users/me", json={"full_name": name}),
        await anyone.post("/register", json={"username": "eve", "password": PASSWORD, "full_name": name}),
        await anyone.post("/register", json={"username": name, "password": PASSWORD}),
    ):
        assert response.status_code == 422


async def test_guesses_at_either_kind_of_token_are_counted_together(engines, app):
    limited = engines.model_copy(update={"rate_limits": "on"})
    async with running_app(limited) as app, client_of(app) as client:
        reset, statuses = {"token": "x" * 43, "new_password": PASSWORD}, []
        for _ in range(16):
            statuses.append((await client.post("/auth/email/verification", json={"token": "x" * 43})).status_code)
            statuses.append((await client.post("/auth/password/reset/confirm", json=reset)).status_code)
    assert statuses == [400] * 30 + [429] * 2


async def test_one_address_cannot_have_mail_sent_to_many(engines, app, monkeypatch):
    limited = engines.model_copy(update={"rate_limits": "on"})
    queued: list[queue.Job] = []
    async with running_app(limited) as app, client_of(app) as client:
        monkeypatch.setattr(app.state.services.mail_queue, "put", queued.append)
        bodies = ({"email": f"{n}@shop.example"} for n in range(25))
        statuses = [(await client.post("/auth/password/reset", json=body)).status_code for body in bodies]
    assert statuses == [202] * 25  # nobody learns where the limit is
    assert len(queued) == 20


@pytest.fixture(scope="module", params=["json", "console"])
def trace(request, engines, tmp_path_factory):
    """The log of a service that wrote to somebody, and what must not be in it."""
    log = tmp_path_factory.mktemp("mail") / "serve.log"
    settings = engines.model_copy(update={"mongo_db": f"{engines.mongo_db}-mail"})
    secrets = {"canary-name", "canary@shop.example", "Canary Bird", "a wholly different one", PASSWORD}
    with MongoClient[dict](settings.mongo_url.get_secret_value()) as mongo, mail_server() as post:
        options = {"SHOP_SMTP_URL": post.url, "SHOP_MAIL_FROM": SENDER}
        env = environment(settings, SHOP_LOG_LEVEL="debug", SHOP_LOG_FORMAT=request.param, **options)
        with started(env, log) as (_, url), httpx.Client(base_url=url) as client:

            def token_of_letter(number):
                deadline = time.monotonic() + PATIENCE
                while len(post.letters) < number:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                found = re.search(r'"token": "([\w-]{43})"', post.letters[number - 1].get_content())
                assert found
                token = found[1]
                secrets.add(token)
                return token

            account = {"username": "canary-name", "password": PASSWORD}
            more = {"email": "canary@shop.example", "full_name": "Canary Bird"}
            client.post("/register", json=account | more).raise_for_status()
            granted = client.post("/auth", json=account).raise_for_status().json()
            headers = {"Authorization": f"Bearer {granted['access_token']}"}
            post.refusals = 1
            client.post("/users/me/email/verification", headers=headers).raise_for_status()
            for status in (204, 400):
                assert (
                    client.post("/auth/email/verification", json={"token": token_of_letter(1)}).status_code == status
                )
            client.post("/auth/password/reset", json={"email": "Canary@shop.example"}).raise_for_status()
            reset = {"token": token_of_letter(2), "new_password": "a wholly different one"}
            for status in (204, 400):
                assert client.post("/auth/password/reset/confirm", json=reset).status_code == status
        mongo.drop_database(settings.mongo_db)
    return log.read_text(), secrets


def test_the_log_has_no_token_address_or_name(trace):
    log, secrets = trace
    assert "could not be delivered" in log
    assert len(secrets) == 7
    assert {secret for secret in secrets if secret.lower() in log.lower()} == set()
