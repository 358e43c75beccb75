"""The caller's authority is read when it is used: it may have ended since the request began."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from shop_api.container import Services
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import utc_now
from shop_api.storage.mongo.transactions import Transactions
from support.factories import PASSWORD, a_product, a_user

Meanwhile = Callable[[Services, str], Awaitable[None]]
NEWCOMER = {"username": "mallory", "password": PASSWORD, "role": "admin"}


async def changed(shop: Services, username: str, **changes: Any) -> None:
    await shop.database["users"].update_one({"username": username}, {"$set": changes, "$inc": {"version": 1}})


async def demoted(shop: Services, username: str) -> None:
    await changed(shop, username, role="user")


async def disabled(shop: Services, username: str) -> None:
    await changed(shop, username, disabled=True)


async def signed_out(shop: Services, username: str) -> None:
    await changed(shop, username, sessions=[])


async def deleted(shop: Services, username: str) -> None:
    await shop.database["users"].delete_one({"username": username})


ENDS = {demoted: 403, disabled: 401, signed_out: 401, deleted: 401}


@pytest.fixture
async def other_admin(shop: Services) -> None:
    """So that the caller is not the last one."""
    await UserRepository(shop.database).add(a_user("owner", "admin"))


@pytest.fixture
def before_the_write(shop: Services, monkeypatch: pytest.MonkeyPatch) -> Callable[[Meanwhile, str], None]:
    """`before_the_write(end, "root")`: it happens when all has been checked and the transaction is about to begin."""

    def arrange(end: Meanwhile, username: str) -> None:
        run = Transactions.run

        async def delayed(self: Transactions, work: Any) -> Any:
            monkeypatch.setattr(Transactions, "run", run)
            await end(shop, username)
            return await run(self, work)

        monkeypatch.setattr(Transactions, "run", delayed)

    return arrange


async def everything(shop: Services) -> dict[str, list[Any]]:
    names = ("users", "sessions", "audit", "products")
    return {name: [document async for document in shop.database[name].find().sort("_id")] for name in names}


BY_ADMINS = {
    "register an admin": ("POST", "/register", NEWCOMER),
    "promote": ("PATCH", "/users/ada", {"role": "admin"}),
    "disable": ("PATCH", "/users/ada", {"disabled": True}),
    "delete": ("DELETE", "/users/ada", None),
}
BY_THEMSELVES = {
    "change the password": (
        "PUT",
        "/users/me/password",
        {"current_password": PASSWORD, "new_password": "another good one"},
    ),
    "change the address": ("PATCH", "/users/me", {"email": "a@shop.example", "current_password": PASSWORD}),
    "change the name": ("PATCH", "/users/me", {"full_name": "Ada"}),
    "delete": ("DELETE", "/users/me", None),
    "end all sessions": ("DELETE", "/users/me/sessions", None),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("operation", BY_ADMINS)
@pytest.mark.usefixtures("other_admin", "user")
async def test_of_an_admin_it_is_read_in_the_transaction(shop, admin, before_the_write, operation, end):
    method, path, body = BY_ADMINS[operation]
    before_the_write(end, "root")
    assert (await admin.request(method, path, json=body)).status_code == ENDS[end]
    users = {user["username"]: user for user in (await everything(shop))["users"]}
    assert "mallory" not in users
    assert (users["ada"]["role"], users["ada"]["disabled"]) == ("user", False)


@pytest.mark.parametrize("end", [disabled, signed_out, deleted])
@pytest.mark.parametrize("operation", BY_THEMSELVES)
async def test_of_everybody_about_themselves(shop, user, before_the_write, operation, end):
    method, path, body = BY_THEMSELVES[operation]
    before_the_write(end, "ada")
    assert (await user.request(method, path, json=body)).status_code == 401
    after = await everything(shop)
    assert after["audit"] == []
    assert len(after["sessions"]) == 1


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.usefixtures("other_admin")
async def test_while_a_password_is_hashed_it_may_end(shop, admin, monkeypatch, end):
    hashes = shop.passwords._passwords

    async def slow(password: str, client: str, hashed: Any = hashes.hash) -> str:
        found: str = await hashed(password, client)
        await end(shop, "root")
        return found

    monkeypatch.setattr(hashes, "hash", slow)
    assert (await admin.post("/register", json=NEWCOMER)).status_code == ENDS[end]
    assert await shop.database["users"].find_one({"username": "mallory"}) is None


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/products", a_product(product_id="new")),
        ("PUT", "/products/tea-assam-250", a_product(stock=1)),
        ("PATCH", "/products/tea-assam-250", {"price": {"amount": 1, "currency": "INR"}}),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["", "keyed"])
@pytest.mark.usefixtures("other_admin")
async def test_while_a_body_arrives_it_may_end(shop, admin, end, method, path, body, headers):
    assert (await admin.post("/products", json=a_product())).status_code == 201
    before = (await everything(shop))["products"]
    text = json.dumps(body).encode()

    async def slowly():
        yield text[:10]
        await end(shop, "root")
        yield text[10:]

    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    answer: httpx.Response = await admin.request(
        method, path, content=slowly(), headers={"Content-Type": kind, **headers}
    )
    assert answer.status_code == ENDS[end]
    assert (await everything(shop))["products"] == before


async def test_nobody_ends_the_session_of_another_with_its_id(shop, user, sign_in):
    await sign_in("bob")
    bob = await shop.users.get("bob")
    assert (await user.delete(f"/users/me/sessions/{bob.sessions[0]}")).status_code == 404
    assert len((await everything(shop))["sessions"]) == 2


class TestRecentSignIn:
    """Who deletes their own account has signed in just before."""

    @pytest.fixture
    async def an_old_one(self, shop, user) -> None:
        began = utc_now().replace(year=utc_now().year - 1)
        await shop.database["sessions"].update_many({}, {"$set": {"created_at": began}})

    @pytest.mark.parametrize("path", ["/users/me", "/users/ada"])
    @pytest.mark.usefixtures("an_old_one")
    async def test_without_one_it_is_refused(self, user, shop, path):
        refused = await user.delete(path)
        assert (refused.status_code, refused.json()["code"]) == (403, "recent_sign_in_required")
        assert (await user.get("/users/me")).status_code == 200

    async def test_with_one_it_is_done(self, user):
        assert (await user.delete("/users/me")).status_code == 204

    @pytest.mark.usefixtures("an_old_one")
    async def test_an_admin_who_deletes_another_needs_none(self, admin, shop):
        await shop.database["sessions"].delete_many({})
        assert (await admin.delete("/users/ada")).status_code == 204
