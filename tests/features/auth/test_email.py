"""Verified addresses and passwords set anew by mail, through a real SMTP server."""

import asyncio
import re
from datetime import timedelta

import httpx
import pytest

from conftest import client_of, running_app
from shop_api.email import queue
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import utc_now
from shop_api.security.sign_in_delays import ACCOUNT
from shop_api.security.tokens import AccessTokens
from support.factories import PASSWORD, TEST_SECRET, a_user
from support.mail_server import mail_server
from support.patience import PATIENCE

EMAIL, NEW_PASSWORD = "Ada@shop.example", "a wholly different one"


@pytest.fixture(scope="module")
def post():
    with mail_server() as server:
        yield server


@pytest.fixture(scope="module")
async def _mailing(engines, post):
    given = {"smtp_url": post.url, "mail_from": "shop@shop.example", "public_url": "https://api.shop.example"}
    async with running_app(engines.model_validate({**engines.model_dump(), **given})) as app:
        yield app


@pytest.fixture
async def client(_mailing, app, post):
    """A client of an app that sends mail, with nothing in it and nothing sent."""
    await _mailing.state.services.mail_queue.settled()
    post.letters.clear()
    async with client_of(_mailing) as client:
        yield client


@pytest.fixture
async def limited(client, engines, post):
    """The same app with its limits."""
    given = {"smtp_url": post.url, "mail_from": "shop@shop.example", "rate_limits": "on"}
    async with running_app(engines.model_validate({**engines.model_dump(), **given})) as app:
        yield app


@pytest.fixture
async def ada(shop):
    """A user with an address that is not verified yet."""
    user = a_user("ada", email=EMAIL, sessions=[])
    await UserRepository(shop.database).add(user)
    return user


@pytest.fixture
async def verified(shop, ada):
    await shop.database["users"].update_one({"_id": ada.id}, {"$set": {"email_verified": True}})
    return ada


async def sign_in(client, password=PASSWORD):
    response = await client.post("/auth", json={"username": "ada", "password": password})
    client.headers.pop("Authorization", None)
    if response.status_code == 200:
        client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
    return response.status_code


def token_in(letter):
    found = re.search(r'"token": "([\w-]{43})"', letter.get_content())
    assert found
    return found[1]


class TestVerification:
    async def verified(self, client):
        return (await client.get("/users/me")).json()["email_verified"]

    async def test_with_the_token_from_the_mail_once(self, client, ada, post, shop):
        await sign_in(client)
        response = await client.post("/users/me/email/verification")
        assert (response.status_code, response.json()) == (202, {"status": "accepted"})
        [letter] = await post.arrived()
        assert letter["to"] == EMAIL
        assert "https://api.shop.example/auth/email/verification" in letter.get_content()
        assert not await self.verified(client)
        for status in (204, 400):
            answer = await client.post("/auth/email/verification", json={"token": token_in(letter)})
            assert answer.status_code == status
        assert answer.json()["code"] == "invalid_one_time_token"
        assert await self.verified(client)
        assert (await client.post("/users/me/email/verification")).status_code == 202
        await client._transport.app.state.services.mail_queue.settled()
        assert len(post.letters) == 1  # it is known already
        [entry] = [entry async for entry in shop.database["audit"].find({})]
        assert (entry["action"], entry["actor_id"]) == ("email_verified", ada.id)
        assert (entry["before"], entry["after"]) == ({"email_verified": False}, {"email_verified": True})

    async def test_without_an_address_it_is_409(self, client, shop):
        await UserRepository(shop.database).add(a_user("ada"))
        await sign_in(client)
        response = await client.post("/users/me/email/verification")
        assert (response.status_code, response.json()["code"]) == (409, "no_email")

    async def test_not_for_an_address_that_was_changed_since(self, client, ada, post):
        await sign_in(client)
        await client.post("/users/me/email/verification")
        [letter] = await post.arrived()
        await client.patch("/users/me", json={"email": "other@shop.example", "current_password": PASSWORD})
        answer = await client.post("/auth/email/verification", json={"token": token_in(letter)})
        assert answer.status_code == 400
        assert not await self.verified(client)

    async def test_only_the_newest_three_count(self, client, ada, post):
        await sign_in(client)
        for count in range(1, 5):
            await client.post("/users/me/email/verification")
            await post.arrived(count)
        statuses = [
            (await client.post("/auth/email/verification", json={"token": token_in(letter)})).status_code
            for letter in post.letters
        ]
        assert statuses == [400] + [204] * 3

    async def test_a_new_address_is_told_to_the_old_one(self, client, verified, post):
        await sign_in(client)
        await client.patch("/users/me", json={"email": "other@shop.example", "current_password": PASSWORD})
        [letter] = await post.arrived()
        assert (letter["to"], letter["subject"]) == (EMAIL, "Your address was changed")


class TestReset:
    async def ask(self, client, email=EMAIL):
        response = await client.post("/auth/password/reset", json={"email": email})
        assert (response.status_code, response.json()) == (202, {"status": "accepted"})

    async def confirm(self, client, letter, password=NEW_PASSWORD):
        body = {"token": token_in(letter), "new_password": password}
        return (await client.post("/auth/password/reset/confirm", json=body)).status_code

    async def test_sets_a_new_password_and_ends_all_sessions(self, client, verified, post, shop):
        await sign_in(client)
        await self.ask(client, EMAIL.upper())
        [letter] = await post.arrived()
        assert await self.confirm(client, letter) == 204
        assert await shop.database["sessions"].count_documents({}) == 0
        assert (await client.get("/users/me")).status_code == 401
        assert await sign_in(client) == 401
        assert await sign_in(client, NEW_PASSWORD) == 200
        notice = (await post.arrived(2))[1]
        assert notice["subject"] == "Your password was changed"
        [entry] = [entry async for entry in shop.database["audit"].find({})]
        assert (entry["action"], entry["actor_id"], entry["before"]) == ("password_reset", verified.id, {})

    async def test_a_weak_one_is_422_and_spends_nothing(self, client, verified, post):
        await self.ask(client)
        [letter] = await post.arrived()
        assert await self.confirm(client, letter, "password1") == 422
        assert await self.confirm(client, letter) == 204

    async def test_of_twenty_at_once_one_works(self, client, verified, post):
        await self.ask(client)
        [letter] = await post.arrived()
        answers = await asyncio.gather(*(self.confirm(client, letter, f"{NEW_PASSWORD} {n}") for n in range(20)))
        assert sorted(answers) == [204] + [400] * 19
        assert await sign_in(client, f"{NEW_PASSWORD} {answers.index(204)}") == 200

    async def test_not_after_an_hour(self, client, verified, post, shop):
        await self.ask(client)
        [letter] = await post.arrived()
        stored = await shop.database["one_time_tokens"].find_one({})
        assert timedelta(minutes=59) < stored["expires_at"] - utc_now() <= timedelta(hours=1)
        assert token_in(letter) not in str(stored)
        await shop.database["one_time_tokens"].update_one({}, {"$set": {"expires_at": utc_now()}})
        assert await self.confirm(client, letter) == 400

    async def test_not_after_the_password_was_changed(self, client, verified, post):
        await self.ask(client)
        [letter] = await post.arrived()
        await sign_in(client)
        change = {"current_password": PASSWORD, "new_password": "changed by its owner"}
        assert (await client.put("/users/me/password", json=change)).status_code == 204
        assert await self.confirm(client, letter) == 400
        assert (await post.arrived(2))[1]["subject"] == "Your password was changed"

    async def test_not_when_the_owner_changes_it_at_this_moment(self, client, verified, post, monkeypatch):
        await self.ask(client)
        [letter] = await post.arrived()
        await sign_in(client)
        passwords = client._transport.app.state.services.passwords._passwords
        owners = {"current_password": PASSWORD, "new_password": "changed by its owner"}

        async def hashed_meanwhile(password, address, hashed=passwords.hash):
            if password == NEW_PASSWORD:
                assert (await client.put("/users/me/password", json=owners)).status_code == 204
            return await hashed(password, address)

        monkeypatch.setattr(passwords, "hash", hashed_meanwhile)
        assert await self.confirm(client, letter) == 400
        assert await sign_in(client, owners["new_password"]) == 200

    async def test_not_after_another_address_even_if_the_old_one_is_back(self, client, verified, post):
        await self.ask(client)
        [letter] = await post.arrived()
        await sign_in(client)
        for email in ("other@shop.example", EMAIL):
            change = {"email": email, "current_password": PASSWORD}
            assert (await client.patch("/users/me", json=change)).status_code == 200
        assert await self.confirm(client, letter) == 400

    async def test_whose_mail_was_lost_asks_again(self, client, verified, post, shop, monkeypatch):
        monkeypatch.setattr(queue, "_PAUSES", ())
        post.refusals = 1
        await self.ask(client)
        await client._transport.app.state.services.mail_queue.settled()
        assert (post.letters, await shop.database["one_time_tokens"].count_documents({})) == ([], 1)
        await self.ask(client)
        [letter] = await post.arrived()
        assert await self.confirm(client, letter) == 204

    async def test_a_verification_is_no_reset(self, client, ada, post):
        await sign_in(client)
        await client.post("/users/me/email/verification")
        [letter] = await post.arrived()
        assert await self.confirm(client, letter) == 400

    async def test_is_written_to_verified_addresses_of_active_users_only(self, client, ada, post, shop):
        users = UserRepository(shop.database)
        await users.add(a_user("bob", email="bob@shop.example", email_verified=True, disabled=True))
        await users.add(a_user("cem", email="cem@shop.example", email_verified=True))
        for email in (EMAIL, "bob@shop.example", "nobody@shop.example", "cem@shop.example"):
            await self.ask(client, email)
        await client._transport.app.state.services.mail_queue.settled()
        assert [letter["to"] for letter in post.letters] == ["cem@shop.example"]

    async def test_the_answer_does_not_tell_whether_anybody_has_the_address(self, client, verified, post):
        """Whatever there is to do for an address is done by others: here, by nobody before all have been answered."""
        mail_queue, go_on, seen = client._transport.app.state.services.mail_queue, asyncio.Event(), set()

        async def hold():
            await go_on.wait()
            return ()

        for _ in range(queue._WORKERS):
            mail_queue.put(hold)
        await asyncio.sleep(0)
        for _ in range(3):
            for email in (EMAIL, "nobody@shop.example"):
                waiting = mail_queue._jobs.qsize()
                asking = client.post("/auth/password/reset", json={"email": email})
                response = await asyncio.wait_for(asking, PATIENCE)
                assert mail_queue._jobs.qsize() == waiting + 1
                headers = {k: v for k, v in response.headers.items() if k not in ("x-request-id", "date")}
                seen.add((response.status_code, response.text, str(headers)))
        assert len(seen) == 1
        go_on.set()
        await mail_queue.settled()
        assert post.letters

    async def test_guessing_is_limited(self, limited):
        async with client_of(limited) as client:
            body = {"token": "x" * 43, "new_password": NEW_PASSWORD}
            guessed = [(await client.post("/auth/password/reset/confirm", json=body)).status_code for _ in range(31)]
            assert guessed == [400] * 30 + [429]

    async def test_a_stranger_who_asks_voids_nothing(self, client, verified, post):
        letters = []
        for count in range(1, 4):
            await self.ask(client)
            letters = await post.arrived(count)
        assert await self.confirm(client, letters[0]) == 204

    async def test_three_tokens_are_valid_at_once(self, client, verified, post, shop):
        for count in range(1, 5):
            await self.ask(client)
            letters = await post.arrived(count)
        assert await shop.database["one_time_tokens"].count_documents({}) == 3
        assert await self.confirm(client, letters[0]) == 400
        assert await self.confirm(client, letters[1]) == 204

    async def test_an_address_that_is_the_same_without_case_only_gets_no_token_of_another(self, client, post, shop):
        """Ignoring case, ß is ss, but the mailboxes are two."""
        users = UserRepository(shop.database)
        for name, email in (("mallory", "bob@straße.example"), ("bob", "bob@strasse.example")):
            await users.add(a_user(name, email=email, email_verified=True, sessions=[]))
        await self.ask(client, "bob@strasse.example")
        await client._transport.app.state.services.mail_queue.settled()
        letters = {letter["to"]: letter.get_content() for letter in post.letters}
        assert "account bob " in letters["bob@strasse.example"]
        assert not any("account bob " in text for to, text in letters.items() if to != "bob@strasse.example")

    async def test_one_letter_is_for_all_accounts_with_the_address(self, client, verified, post, shop):
        await UserRepository(shop.database).add(a_user("ada.two", email=EMAIL, email_verified=True, sessions=[]))
        await self.ask(client)
        [letter] = await post.arrived()
        tokens = re.findall(r'"token": "([\w-]{43})"', letter.get_content())
        assert len(tokens) == 2
        for token in tokens:
            body = {"token": token, "new_password": NEW_PASSWORD}
            assert (await client.post("/auth/password/reset/confirm", json=body)).status_code == 204

    async def test_the_address_it_was_confirmed_from_is_known_from_then_on(self, limited, verified, post):
        async with client_of(limited) as client:
            delays = limited.state.services.passwords._delays
            for n in range(ACCOUNT.free):
                await delays.attempt("ada", f"198.51.100.{n}")
            await self.ask(client)
            [letter] = await post.arrived()
            assert [await sign_in(client, "wrong password") for _ in range(2)] == [401, 429]
            assert await self.confirm(client, letter) == 204
            assert [await sign_in(client, "wrong password") for _ in range(3)] == [401] * 3
            assert await sign_in(client, NEW_PASSWORD) == 200


class TestMailsToOneAddress:
    """At most three in an hour, whoever asks, for whichever account and purpose."""

    @pytest.fixture
    async def queued(self, limited):
        mail_queue = limited.state.services.mail_queue

        async def letters_after(asking):
            answers = {(await ask).status_code for ask in asking}
            await mail_queue.settled()
            return answers

        return letters_after

    async def test_resets_are_always_accepted(self, limited, verified, post, queued):
        async with client_of(limited) as client:
            asked = [client.post("/auth/password/reset", json={"email": EMAIL}) for _ in range(30)]
            assert await queued(asked) == {202}
        assert len(post.letters) == 3

    async def test_from_many_clients_too(self, limited, verified, post, queued):
        async def ask(address: str):
            transport = httpx.ASGITransport(limited, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
                return await client.post("/auth/password/reset", json={"email": EMAIL.upper()})

        assert await queued([ask(f"192.0.2.{n}") for n in range(30)]) == {202}
        assert len(post.letters) == 3

    async def test_fifty_accounts_cannot_have_one_victim_asked_to_verify(self, limited, post, queued, shop):
        tokens = AccessTokens(TEST_SECRET.encode(), utc_now)
        async with client_of(limited) as client:
            asked = []
            for n in range(50):
                user = a_user(f"user-{n}", email="Victim@shop.example" if n % 2 else "victim@shop.example")
                await UserRepository(shop.database).add(user)
                token = {"Authorization": f"Bearer {tokens.issue(user.id, user.sessions[0])}"}
                asked.append(client.post("/users/me/email/verification", headers=token))
            assert await queued(asked) == {202}
        assert len(post.letters) == 3

    async def test_strangers_who_enter_a_verified_address_leave_resets_to_its_owner(
        self, limited, verified, post, queued, shop
    ):
        tokens = AccessTokens(TEST_SECRET.encode(), utc_now)
        async with client_of(limited) as client:
            asked = []
            for n in range(5):
                user = a_user(f"user-{n}", email=EMAIL)
                await UserRepository(shop.database).add(user)
                token = {"Authorization": f"Bearer {tokens.issue(user.id, user.sessions[0])}"}
                asked.append(client.post("/users/me/email/verification", headers=token))
            await queued(asked)
            assert len(post.letters) == 1
            await queued([client.post("/auth/password/reset", json={"email": EMAIL})])
        assert post.letters[-1]["subject"] == "Choose a new password"

    async def test_who_asks_for_their_own_again_and_again_is_told_to_wait(self, limited, ada, post):
        async with client_of(limited) as client:
            await sign_in(client)
            asked = [(await client.post("/users/me/email/verification")).status_code for _ in range(4)]
            assert asked == [202] * 3 + [429]
