"""POST /register and POST /auth over HTTP."""

import asyncio
from collections.abc import Awaitable

import httpx
import pytest
from structlog.testing import capture_logs

from conftest import client_of, running_app
from shop_api.features.users.repository import UserRepository
from support.factories import PASSWORD, a_user


class TestRegister:
    async def test_adds_a_user(self, anyone):
        response = await anyone.post("/register", json={"username": "Ada", "password": PASSWORD})
        assert response.status_code == 201
        assert response.headers["location"] == "/users/ada"
        assert (response.json()["username"], response.json()["role"]) == ("ada", "user")
        assert "password" not in response.text

    async def test_admin_is_only_for_an_admin_to_give(self, anyone, user, admin):
        body = {"username": "eve", "password": PASSWORD, "role": "admin"}
        assert (await anyone.post("/register", json=body)).status_code == 403
        assert (await user.post("/register", json=body)).status_code == 403
        made = await admin.post("/register", json=body)
        assert (made.status_code, made.json()["role"]) == (201, "admin")

    async def test_a_taken_name_is_409_also_in_capitals(self, anyone, user):
        response = await anyone.post("/register", json={"username": "ADA", "password": PASSWORD})
        assert (response.status_code, response.json()["code"]) == (409, "duplicate_username")

    async def test_of_50_at_once_with_one_name_one_is_added(self, anyone):
        body = {"username": "ada", "password": PASSWORD}
        answers = await asyncio.gather(*(anyone.post("/register", json=body) for _ in range(50)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49

    @pytest.mark.parametrize(
        "name", ["ab", "a" * 33, "-ab", "ab-", "a b", "ädä", "me", "a/b", "$ne", "", None, 1, {}]
    )
    async def test_what_cannot_be_a_name_is_422(self, anyone, name):
        assert (await anyone.post("/register", json={"username": name, "password": PASSWORD})).status_code == 422

    @pytest.mark.parametrize("password", ["short12", "x" * 129, "password123", "12345678", "charles-1815", None, 1])
    async def test_a_bad_password_is_422(self, anyone, password):
        response = await anyone.post("/register", json={"username": "charles-1815", "password": password})
        assert response.status_code == 422

    @pytest.mark.parametrize("password", ["8 chars!", "x" * 64 + "y" * 64, "🐪" * 8, "пароль на каждый день"])
    async def test_any_characters_make_a_password(self, anyone, password):
        body = {"username": "ada", "password": password}
        assert (await anyone.post("/register", json=body)).status_code == 201
        assert (await anyone.post("/auth", json=body)).status_code == 200

    @pytest.mark.parametrize("extra", [{"_id": "x"}, {"disabled": False}, {"version": 2}, {"password_hash": "x"}])
    async def test_other_fields_are_422(self, anyone, extra):
        body = {"username": "ada", "password": PASSWORD, **extra}
        assert (await anyone.post("/register", json=body)).status_code == 422


class TestSignIn:
    @pytest.fixture(autouse=True)
    async def ada(self, shop):
        await UserRepository(shop.database).add(a_user("ada"))

    @pytest.mark.parametrize("typed", ["ada ", " ada", "ADA \u00a0"])
    async def test_spaces_around_the_name_do_not_matter(self, anyone, typed):
        """Keyboards of phones add one."""
        assert (await anyone.post("/auth", json={"username": typed, "password": PASSWORD})).status_code == 200

    async def test_each_is_logged_with_whose_it_was(self, anyone, shop):
        ada = await UserRepository(shop.database).find("ada")
        assert ada is not None
        with capture_logs() as logs:
            for username, password in (("ada", PASSWORD), ("ada", "a wrong password"), ("nobody", PASSWORD)):
                await anyone.post("/auth", json={"username": username, "password": password})
        said = [(line["event"], line["user_id"]) for line in logs if "sign" in line["event"]]
        refused = "a sign-in was refused"
        assert said == [("signed in", ada.id), (refused, ada.id), (refused, None)]

    @pytest.mark.parametrize("form", ["json", "data"])
    async def test_gives_a_token_that_works(self, anyone, form):
        credentials = {"username": "Ada", "password": PASSWORD}
        response = await anyone.post("/auth", **{form: credentials})
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        tokens = response.json()
        assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 900)
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await anyone.get("/users/me", headers=headers)).json()["username"] == "ada"

    async def test_takes_the_whole_oauth2_form(self, anyone):
        form = {
            "grant_type": "password",
            "username": "ada",
            "password": PASSWORD,
            "scope": "",
            "client_id": "",
            "client_secret": "",
        }
        assert (await anyone.post("/auth", data=form)).status_code == 200

    async def test_every_failure_looks_the_same(self, anyone, shop):
        await UserRepository(shop.database).add(a_user("disabled", disabled=True))
        seen = set()
        for username, password in (
            ("ada", "wrong password"),
            ("nobody", PASSWORD),
            ("disabled", PASSWORD),
            ("x", "y"),
        ):
            response = await anyone.post("/auth", json={"username": username, "password": password})
            problem = response.json()
            problem.pop("request_id")
            headers = {k: v for k, v in response.headers.items() if k not in ("x-request-id", "content-length")}
            seen.add((response.status_code, str(problem), str(headers)))
        assert len(seen) == 1
        assert response.status_code == 401
        assert response.json()["code"] == "invalid_credentials"

    @pytest.mark.parametrize(
        "body",
        [
            b"username=ada",
            b"username=ada&username=eve&password=x",
            b"username=ada&password=%ff",
            b"grant_type=code&username=ada&password=x",
            b"username=ada&password=" + "ä".encode(),
            b"&".join(b"a%d=1" % n for n in range(30)),
        ],
    )
    async def test_a_malformed_form_is_422(self, anyone, body):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await anyone.post("/auth", content=body, headers=headers)).status_code == 422

    @pytest.mark.parametrize("username", [{"$ne": None}, {"$gt": ""}, ["ada"], None, 1])
    async def test_a_name_that_is_no_text_is_422(self, anyone, username):
        assert (await anyone.post("/auth", json={"username": username, "password": "x"})).status_code == 422

    async def test_another_scheme_than_bearer_is_no_token(self, anyone):
        response = await anyone.get("/users/me", headers={"Authorization": "Basic YWRhOng="})
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


class TestRateLimits:
    @pytest.fixture
    async def limited(self, app, engines):
        settings = engines.model_copy(update={"rate_limits": "on"})
        async with running_app(settings) as app, client_of(app) as client:
            yield client

    async def test_after_five_failures_an_account_has_to_wait(self, limited):
        def attempt(username: str) -> Awaitable[httpx.Response]:
            return limited.post("/auth", json={"username": username, "password": "wrong password"})

        assert [(await attempt("ada")).status_code for _ in range(5)] == [401] * 5
        # At once: the delay of a second begins with the sixth, whose hash alone can take longer on a busy machine.
        answers = await asyncio.gather(*map(attempt, ("ada", "ada", "ADA")))
        [first, *refused] = sorted(answers, key=lambda answer: answer.status_code)
        assert first.status_code == 401
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert answer.headers["retry-after"] == "1"

    async def test_an_address_takes_thirty_registrations_a_minute(self, limited):
        bodies = ({"username": f"user-{n}", "password": "short"} for n in range(31))
        statuses = {(await limited.post("/register", json=body)).status_code for body in bodies}
        assert statuses == {422}  # refused input costs nothing and is not counted
        bodies = ({"username": f"user-{n}", "password": "password1"} for n in range(31))
        in_turn = [(await limited.post("/register", json=body)).status_code for body in bodies]
        assert in_turn == [422] * 30 + [429]
