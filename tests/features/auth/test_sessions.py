"""Sessions: refresh tokens, signing out, one's own list of sign-ins, and the password."""

import asyncio
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from conftest import client_of, running_app
from shop_api.features.auth.errors import InvalidCredentials
from shop_api.features.auth.models import ClientInfo
from shop_api.features.auth.refresh_tokens import RefreshToken
from shop_api.features.auth.service import ABSOLUTE_LIFETIME, IDLE_TIMEOUT, LEEWAY
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import utc_now
from shop_api.storage.mongo.client import time_limit
from support.delays import FREE, MOST, before_a_delay
from support.factories import PASSWORD, a_user
from support.patience import PATIENCE

NEW_PASSWORD = "a wholly different one"


@pytest.fixture
async def ada(shop):
    user = a_user("ada", sessions=[])
    await UserRepository(shop.database).add(user)
    return user


@pytest.fixture
async def signed_in(anyone, ada):
    """`await signed_in()`: the tokens of another sign-in of ada's."""

    async def sign_in(password=PASSWORD, **headers):
        response = await anyone.post("/auth", json={"username": "ada", "password": password}, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    return sign_in


def bearer(tokens):
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def refreshed(client, tokens, **headers):
    return await client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}, headers=headers)


async def later(shop, tokens, time):
    """The session of these tokens, as it is after some time without use."""
    sessions, session_id = shop.database["sessions"], tokens["refresh_token"].partition(".")[0]
    session = await sessions.find_one({"_id": session_id})
    await sessions.update_one({"_id": session_id}, {"$set": {"last_used_at": session["last_used_at"] - time}})


async def works(client, tokens):
    status = (await client.get("/users/me", headers=bearer(tokens))).status_code
    assert status in (200, 401)
    return status == 200


class TestRefresh:
    async def test_gives_a_new_pair_and_spends_the_old_one(self, anyone, signed_in):
        first = await signed_in()
        response = await refreshed(anyone, first)
        second = response.json()
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        assert set(second) == {"access_token", "token_type", "expires_in", "refresh_token"}
        assert second["refresh_token"] != first["refresh_token"]
        assert await works(anyone, second)
        assert (await refreshed(anyone, second)).status_code == 200

    async def test_takes_the_oauth2_form(self, anyone, signed_in):
        data = {"grant_type": "refresh_token", "refresh_token": (await signed_in())["refresh_token"]}
        assert (await anyone.post("/auth/refresh", data=data)).status_code == 200

    async def test_a_spent_one_ends_its_session_and_no_other(self, anyone, signed_in, shop):
        first, other = await signed_in(), await signed_in()
        second = (await refreshed(anyone, first)).json()
        await later(shop, first, LEEWAY)
        refused = await refreshed(anyone, first)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_refresh_token")
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert not await works(anyone, second)
        assert (await refreshed(anyone, second)).status_code == 401
        assert await works(anyone, other)
        assert (await refreshed(anyone, other)).status_code == 200

    async def test_also_one_that_was_spent_long_ago(self, anyone, signed_in):
        first = tokens = await signed_in()
        for _ in range(20):
            tokens = (await refreshed(anyone, tokens)).json()
        assert (await refreshed(anyone, first)).status_code == 401
        assert not await works(anyone, tokens)

    async def test_an_invented_one_ends_nothing(self, anyone, signed_in):
        tokens = await signed_in()
        real = RefreshToken.read(tokens["refresh_token"])
        for invented in (real._replace(family="A" * 22), RefreshToken.first(real.session_id)):
            response = await anyone.post("/auth/refresh", json={"refresh_token": str(invented)})
            assert response.status_code == 401
        assert await works(anyone, tokens)
        assert (await refreshed(anyone, tokens)).status_code == 200

    @pytest.mark.parametrize("token", ["x", "a.b.c", "." * 100, "é" * 50, f"{'0' * 36}.{'A' * 22}.{'B' * 43}"])
    async def test_anything_else_is_401(self, anyone, token):
        assert (await anyone.post("/auth/refresh", json={"refresh_token": token})).status_code == 401

    async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(self, anyone, signed_in):
        tokens = await signed_in()
        body = {"refresh_token": tokens["access_token"]}
        assert (await anyone.post("/auth/refresh", json=body)).status_code in (401, 422)
        assert not await works(anyone, {"access_token": tokens["refresh_token"]})

    async def test_only_hashes_are_stored(self, signed_in, shop):
        tokens = await signed_in()
        stored = str([document async for document in shop.database["sessions"].find({})])
        _, family, secret = tokens["refresh_token"].split(".")
        assert family not in stored
        assert secret not in stored

    async def test_ends_when_it_is_not_used_and_at_the_latest_after_half_a_year(self, anyone, signed_in, shop):
        tokens = await signed_in()
        stored = await shop.database["sessions"].find_one({})
        assert stored["expires_at"] - stored["created_at"] == IDLE_TIMEOUT
        began = utc_now() - ABSOLUTE_LIFETIME + timedelta(hours=1)
        await shop.database["sessions"].update_one({}, {"$set": {"created_at": began}})
        tokens = (await refreshed(anyone, tokens)).json()
        stored = await shop.database["sessions"].find_one({})
        assert stored["expires_at"] - stored["created_at"] == ABSOLUTE_LIFETIME
        await shop.database["sessions"].update_one({}, {"$set": {"expires_at": utc_now()}})
        assert (await refreshed(anyone, tokens)).status_code == 401


class TestLeeway:
    """Two tabs of one browser may refresh at once. A thief may not."""

    async def test_twenty_at_once_from_one_client_get_the_same_next_one(self, anyone, signed_in, shop):
        tokens = await signed_in()
        answers = await asyncio.gather(*(refreshed(anyone, tokens) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        assert await works(anyone, answers[-1].json())
        assert (await refreshed(anyone, answers[0].json())).status_code == 200
        assert await shop.database["sessions"].count_documents({}) == 1

    async def test_of_twenty_clients_at_once_one_wins_at_most_and_then_the_session_ends(
        self, anyone, signed_in, shop
    ):
        tokens = await signed_in()
        answers = await asyncio.gather(
            *(refreshed(anyone, tokens, **{"user-agent": f"browser {n}"}) for n in range(20))
        )
        won = [answer.json() for answer in answers if answer.status_code == 200]
        assert len(won) == 1
        assert not await works(anyone, won[0])
        assert await shop.database["sessions"].count_documents({}) == 0

    async def test_where_another_secret_is_in_use_the_session_goes_on(self, anyone, signed_in, shop, monkeypatch):
        """As while the instances are restarted with a new one."""
        first = await signed_in()
        second = (await refreshed(anyone, first)).json()
        with monkeypatch.context() as patch:
            patch.setattr(shop.auth, "_refresh_key", b"another")
            assert (await refreshed(anyone, first)).status_code == 401
        assert await works(anyone, second)
        assert (await refreshed(anyone, second)).status_code == 200

    async def test_a_thief_with_another_client_ends_the_session(self, anyone, signed_in):
        first = await signed_in()
        second = (await refreshed(anyone, first)).json()
        assert (await refreshed(anyone, first, **{"user-agent": "thief"})).status_code == 401
        assert not await works(anyone, second)
        assert (await refreshed(anyone, second)).status_code == 401

    async def test_a_thief_who_comes_first_is_found_out_by_the_owner(self, anyone, signed_in):
        first = await signed_in()
        stolen = (await refreshed(anyone, first, **{"user-agent": "thief"})).json()
        assert (await refreshed(anyone, first)).status_code == 401
        assert not await works(anyone, stolen)

    async def test_it_ends_once_the_next_one_is_used(self, anyone, signed_in):
        first = await signed_in()
        second = (await refreshed(anyone, first)).json()
        third = (await refreshed(anyone, second)).json()
        assert (await refreshed(anyone, first)).status_code == 401
        assert not await works(anyone, third)

    async def test_and_after_ten_seconds(self, anyone, signed_in, shop):
        first = await signed_in()
        second = (await refreshed(anyone, first)).json()
        await later(shop, first, LEEWAY - timedelta(seconds=5))
        assert (await refreshed(anyone, first)).json()["refresh_token"] == second["refresh_token"]
        await later(shop, first, timedelta(seconds=6))
        assert (await refreshed(anyone, first)).status_code == 401
        assert not await works(anyone, second)


class TestSignOut:
    async def test_ends_this_session_at_once_and_no_other(self, anyone, signed_in):
        tokens, other = await signed_in(), await signed_in()
        assert (await anyone.post("/auth/logout", headers=bearer(tokens))).status_code == 204
        assert not await works(anyone, tokens)
        assert (await refreshed(anyone, tokens)).status_code == 401
        assert await works(anyone, other)

    async def test_twice_is_no_error(self, anyone, signed_in):
        tokens = await signed_in()
        for _ in range(2):
            assert (await anyone.post("/auth/logout", headers=bearer(tokens))).status_code == 204

    async def test_without_a_good_token_it_is_401(self, anyone):
        assert (await anyone.post("/auth/logout")).status_code == 401
        assert (await anyone.post("/auth/logout", headers={"Authorization": "Bearer x"})).status_code == 401


class TestSessions:
    async def test_shows_since_when_and_from_where(self, anyone, signed_in):
        old = await signed_in(**{"User-Agent": "old phone"})
        await signed_in(**{"User-Agent": "x" * 2000})
        response = await anyone.get("/users/me/sessions", headers=bearer(old))
        shown = response.json()["items"]
        assert response.headers["cache-control"] == "no-store"
        assert [(item["current"], item["user_agent"]) for item in shown] == [(False, "x" * 500), (True, "old phone")]
        fields = {"id", "current", "address", "user_agent", "created_at", "last_used_at", "expires_at"}
        assert {*shown[0]} == fields
        assert shown[0]["address"] == "127.0.0.1"

    async def test_a_refresh_is_a_use(self, anyone, signed_in):
        tokens = await signed_in(**{"User-Agent": "one"})
        body = {"refresh_token": tokens["refresh_token"]}
        await anyone.post("/auth/refresh", json=body, headers={"User-Agent": "two"})
        [shown] = (await anyone.get("/users/me/sessions", headers=bearer(tokens))).json()["items"]
        assert shown["user_agent"] == "two"
        assert shown["last_used_at"] > shown["created_at"]

    async def test_one_can_be_ended(self, anyone, signed_in):
        here, there = await signed_in(), await signed_in()
        sessions = (await anyone.get("/users/me/sessions", headers=bearer(here))).json()["items"]
        [other] = [session["id"] for session in sessions if not session["current"]]
        for status in (204, 404):
            response = await anyone.delete(f"/users/me/sessions/{other}", headers=bearer(here))
            assert response.status_code == status
        assert response.json()["code"] == "session_not_found"
        assert not await works(anyone, there)
        assert await works(anyone, here)

    async def test_of_somebody_else_it_is_404(self, anyone, signed_in, user_b):
        tokens = await signed_in()
        [mine] = (await anyone.get("/users/me/sessions", headers=bearer(tokens))).json()["items"]
        assert (await user_b.delete(f"/users/me/sessions/{mine['id']}")).status_code == 404
        assert await works(anyone, tokens)

    @pytest.fixture
    async def user_b(self, sign_in):
        return await sign_in("bob")

    async def test_all_can_be_ended(self, anyone, signed_in, shop):
        all_of_them = [await signed_in() for _ in range(3)]
        assert (await anyone.delete("/users/me/sessions", headers=bearer(all_of_them[0]))).status_code == 204
        assert not any([await works(anyone, tokens) for tokens in all_of_them])
        assert await shop.database["sessions"].count_documents({}) == 0

    async def test_the_oldest_ends_when_there_are_too_many(self, anyone, signed_in, shop):
        first = await signed_in()
        await shop.database["users"].update_one(
            {"username": "ada"}, {"$push": {"sessions": {"$each": [f"s{n}" for n in range(99)]}}}
        )
        assert await works(anyone, first)
        assert await works(anyone, await signed_in())
        assert not await works(anyone, first)

    async def test_nothing_stays_of_the_oldest_when_there_are_too_many(self, anyone, signed_in, shop):
        first = await signed_in()
        await shop.database["users"].update_one(
            {"username": "ada"}, {"$push": {"sessions": {"$each": [f"s{n}" for n in range(99)]}}}
        )
        last = await signed_in()
        left = [document["_id"] async for document in shop.database["sessions"].find({})]
        assert left == [last["refresh_token"].partition(".")[0]] != [first["refresh_token"].partition(".")[0]]

    @pytest.mark.parametrize("change", [{"password_hash": "another"}, {"disabled": True}])
    async def test_a_sign_in_under_way_while_the_account_changes_gives_nothing(self, shop, ada, monkeypatch, change):
        found = shop.passwords.authenticate

        async def authenticate(*given):
            user = await found(*given)
            await UserRepository(shop.database).change(user, change, utc_now())
            return user

        monkeypatch.setattr(shop.passwords, "authenticate", authenticate)
        with pytest.raises(InvalidCredentials):
            await shop.auth.sign_in("ada", PASSWORD, ClientInfo("127.0.0.1", None))
        assert (await shop.database["users"].find_one({"_id": ada.id}))["sessions"] == []
        assert await shop.database["sessions"].count_documents({}) == 0


class TestEndedByOthers:
    """Whoever is disabled or demoted is signed out, and nothing of their sign-ins stays."""

    @staticmethod
    async def left(shop):
        root = await shop.users.get("root")
        return await shop.database["sessions"].count_documents({"user_id": {"$ne": root.id}})

    async def test_disabling_deletes_the_session_documents(self, signed_in, admin, shop):
        await signed_in()
        await signed_in()
        assert await self.left(shop) == 2
        await admin.patch("/users/ada", json={"disabled": True})
        assert await self.left(shop) == 0

    async def test_demoting_deletes_them_and_promoting_does_not(self, signed_in, admin, shop):
        await signed_in()
        await admin.patch("/users/ada", json={"role": "admin"})
        assert await self.left(shop) == 1
        await admin.patch("/users/ada", json={"role": "user"})
        assert await self.left(shop) == 0

    async def test_those_of_others_stay(self, anyone, signed_in, admin, shop):
        await signed_in()
        await UserRepository(shop.database).add(a_user("bob", sessions=[]))
        await anyone.post("/auth", json={"username": "bob", "password": PASSWORD})
        await admin.patch("/users/ada", json={"disabled": True})
        assert await self.left(shop) == 1


class TestPassword:
    async def change(self, client, tokens, current=PASSWORD, new=NEW_PASSWORD):
        body = {"current_password": current, "new_password": new}
        return await client.put("/users/me/password", json=body, headers=bearer(tokens))

    async def test_ends_all_other_sessions(self, anyone, signed_in, shop):
        here, there = await signed_in(), await signed_in()
        assert (await self.change(anyone, here)).status_code == 204
        assert await works(anyone, here)
        assert (await refreshed(anyone, here)).status_code == 200
        assert not await works(anyone, there)
        assert (await refreshed(anyone, there)).status_code == 401
        assert await shop.database["sessions"].count_documents({}) == 1
        assert await works(anyone, await signed_in(NEW_PASSWORD))
        old = await anyone.post("/auth", json={"username": "ada", "password": PASSWORD})
        assert old.status_code == 401

    async def test_a_wrong_current_one_changes_nothing(self, anyone, signed_in):
        tokens = await signed_in()
        refused = await self.change(anyone, tokens, current="wrong password")
        assert (refused.status_code, refused.json()["code"]) == (403, "wrong_password")
        assert await works(anyone, await signed_in())

    @pytest.mark.parametrize("weak", ["short", "password1", "x" * 129])
    async def test_a_weak_new_one_is_422(self, anyone, signed_in, weak):
        tokens = await signed_in()
        response = await self.change(anyone, tokens, new=weak)
        assert (response.status_code, response.json()["errors"][0]["loc"]) == (422, ["body", "new_password"])
        assert weak not in response.text
        assert await works(anyone, await signed_in())

    async def test_of_twenty_at_once_with_the_same_old_one_one_wins(self, anyone, signed_in, shop):
        tokens = [await signed_in() for _ in range(4)]
        news = [f"{NEW_PASSWORD} {n}" for n in range(4)]
        answers = await asyncio.gather(
            *(self.change(anyone, held, new=new) for held, new in zip(tokens, news, strict=True))
        )
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(204) == 1
        assert set(statuses) <= {204, 401, 403}
        winner = statuses.index(204)
        assert [await works(anyone, held) for held in tokens] == [n == winner for n in range(4)]
        assert await works(anyone, await signed_in(news[winner]))

    async def test_attempts_are_delayed_like_sign_ins(self, engines, app, anyone, signed_in):
        tokens = await signed_in()
        settings = engines.model_copy(update={"rate_limits": "on"})
        async with running_app(settings) as limited, client_of(limited) as client:

            async def attempt(n):
                return (await self.change(client, tokens, current=f"wrong {n}")).status_code

            statuses = await before_a_delay(attempt)
        assert set(statuses) == {403}
        assert FREE <= len(statuses) <= MOST


class Peak(NamedTuple):
    size: int
    bytes: int


class TestExport:
    async def test_has_everything_and_no_secret(self, anyone, signed_in, admin, ada):
        await signed_in()
        await admin.patch("/users/ada", json={"role": "admin"})
        tokens = await signed_in()
        response = await anyone.get("/users/me/export", headers=bearer(tokens))
        export = response.json()
        assert response.headers["cache-control"] == "no-store"
        assert export["user"]["username"] == "ada"
        assert len(export["sessions"]) == 2
        [entry] = export["audit"]
        assert (entry["action"], entry["about_me"], entry["by_me"]) == ("role_changed", True, False)
        assert (entry["before"], entry["after"], entry["address"]) == ({"role": "user"}, {"role": "admin"}, None)
        assert "hash" not in response.text
        assert ada.password_hash not in response.text

    async def test_has_every_entry_once_and_in_order(self, anyone, signed_in, shop, ada):
        tokens = await signed_in()
        entries = await self.add_entries(shop, ada, 3000)
        export = (await anyone.get("/users/me/export", headers=bearer(tokens))).json()
        assert list(export) == ["exported_at", "user", "sessions", "audit"]
        expected = sorted((e for e in entries if e["concerns_ada"]), key=lambda e: (e["at"], e["_id"]))
        assert [entry["after"]["role"] for entry in export["audit"]] == [entry["_id"] for entry in expected]
        told = [(entry["about_me"], entry["by_me"]) for entry in export["audit"]]
        assert told == [(e["subject_id"] == ada.id, e["actor_id"] == ada.id) for e in expected]

    async def test_takes_no_more_memory_for_more_entries(self, app, signed_in, shop, ada):
        tokens = await signed_in()
        await self.add_entries(shop, ada, 2000)
        await self.peak(app, tokens)
        few = await self.peak(app, tokens)
        await self.add_entries(shop, ada, 10_000)
        many = await self.peak(app, tokens)
        with time_limit(PATIENCE):  # longer than an operation of the service may take
            await shop.database["audit"].delete_many({})
        assert many.size > 4 * few.size
        assert many.bytes < 1.5 * few.bytes

    async def test_a_failure_in_the_middle_leaves_the_document_incomplete(self, app, signed_in, shop, ada):
        """The connection is closed without the last chunk, so that no client takes the part for the whole."""
        tokens = await signed_in()
        [*_, last] = sorted(await self.add_entries(shop, ada, 3000), key=lambda e: (e["at"], e["_id"]))
        change = {"$set": {"before": {"not": {"a": ["state"]}}}, "$unset": {"address": ""}}
        await shop.database.command(
            "update", "audit", updates=[{"q": {"_id": last["_id"]}, "u": change}], bypassDocumentValidation=True
        )
        messages: list[Any] = []
        with pytest.raises(Exception, match=r"."):
            await self.ask(app, tokens, messages.append)
        assert messages[0]["status"] == 200
        assert all(message["more_body"] for message in messages[1:])

    async def test_a_failure_at_the_beginning_is_a_problem(self, anyone, signed_in, shop, ada):
        tokens = await signed_in()
        [entry] = await self.add_entries(shop, ada, 1)
        change = {"$unset": {"address": ""}}
        await shop.database.command(
            "update", "audit", updates=[{"q": {"_id": entry["_id"]}, "u": change}], bypassDocumentValidation=True
        )
        assert (await anyone.get("/users/me/export", headers=bearer(tokens))).status_code == 500

    async def test_head_has_the_same_head_and_no_body(self, anyone, signed_in):
        tokens = await signed_in()
        response = await anyone.head("/users/me/export", headers=bearer(tokens))
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"] == "no-store"

    @staticmethod
    async def add_entries(shop, ada, count):
        """Entries of the audit log, in no order: in turn by ada about another, about ada by another, by ada about
        herself, and about a product that has ada's id."""
        kinds = [
            ("user", "other", ada.id),
            ("user", ada.id, "other"),
            ("user", ada.id, ada.id),
            ("product", ada.id, "other"),
        ]
        entries = []
        for n in range(count):
            subject_type, subject_id, actor_id = kinds[n % 4]
            entry_id = str(uuid4())
            entry = {
                "_id": entry_id,
                "at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n * 7919 % count // 3),
                "action": "role_changed",
                "subject_type": subject_type,
                "subject_id": subject_id,
                "actor_id": actor_id,
                "address": "local",
                "request_id": "r",
                "before": {"role": "user"},
                "after": {"role": entry_id},
            }
            entries.append({**entry, "concerns_ada": n % 4 != 3})
        for start in range(0, count, 1000):
            await shop.database["audit"].insert_many(
                [{k: v for k, v in e.items() if k != "concerns_ada"} for e in entries[start : start + 1000]]
            )
        return entries

    @staticmethod
    async def ask(app, tokens, send):
        """Send the request without a client, which would keep the whole body."""
        headers = [(b"host", b"shop.test"), (b"authorization", bearer(tokens)["Authorization"].encode())]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/users/me/export",
            "raw_path": b"/users/me/export",
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "server": ("shop.test", 80),
            "client": ("127.0.0.1", 1),
        }
        requests = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            return requests.pop() if requests else await asyncio.Future()

        async def told(message):
            send(message)

        await app(scope, receive, told)

    async def peak(self, app, tokens):
        """The size of the response, and the most memory that was in use for it at once."""
        sizes = []
        tracemalloc.start()
        try:
            await self.ask(app, tokens, lambda message: sizes.append(len(message.get("body", b""))))
            return Peak(sum(sizes), tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()


class TestErasure:
    async def test_nothing_personal_stays(self, anyone, signed_in, shop, ada):
        await anyone.patch(
            "/users/me",
            json={"full_name": "Ada Lovelace", "email": "ada@shop.example", "current_password": PASSWORD},
            headers=bearer(await signed_in(**{"User-Agent": "her own phone"})),
        )
        tokens = await signed_in()
        assert (await anyone.delete("/users/me", headers=bearer(tokens))).status_code == 204
        left = []
        for name in await shop.database.list_collection_names():
            left += [str(document) async for document in shop.database[name].find({})]
        for personal in ("lovelace", "shop.example", "her own phone", "'ada'", "argon2"):
            assert [text for text in left if personal in text.lower()] == []
