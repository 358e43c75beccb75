"""GET /audit: what was done to accounts and products, told to admins and to nobody else, and kept."""

from datetime import timedelta

import pytest

from shop_api.kernel.clock import utc_now
from support.factories import PASSWORD, a_product


async def entries(admin, **query):
    response = await admin.get("/audit", params=query)
    assert response.status_code == 200, response.text
    return response.json()["items"]


def cursor_of(page):
    return page.json()["next_cursor"]


class TestList:
    async def test_is_for_admins(self, anyone, user, admin):
        assert (await anyone.get("/audit")).status_code == 401
        assert (await user.get("/audit")).status_code == 403
        response = await admin.get("/audit")
        assert (response.status_code, response.json()) == (200, {"items": [], "next_cursor": None})
        assert response.headers["cache-control"] == "no-store"

    async def test_tells_who_what_when_and_from_where(self, admin, user):
        changed = await admin.patch("/users/ada", json={"role": "admin", "disabled": True})
        ada = changed.json()
        by_action = {entry["action"]: entry for entry in await entries(admin)}
        assert set(by_action) == {"role_changed", "user_disabled"}
        entry = by_action["role_changed"]
        assert entry["subject"] == {"type": "user", "id": ada["id"], "username": "ada"}
        assert entry["actor"]["username"] == "root"
        assert (entry["before"], entry["after"]) == ({"role": "user"}, {"role": "admin"})
        assert entry["address"] == "127.0.0.1"
        assert entry["request_id"] == changed.headers["x-request-id"]
        assert entry["at"].endswith("Z")
        await admin.patch("/users/ada", json={"disabled": False})
        assert (await entries(admin))[0]["action"] == "user_enabled"

    async def test_of_the_deleted_no_name_stays(self, admin, user):
        await admin.delete("/users/ada")
        [entry] = await entries(admin)
        assert entry["action"] == "user_deleted"
        assert entry["subject"]["username"] is None
        assert entry["before"] == {"role": "user", "disabled": False}

    async def test_a_password_is_told_of_and_not_told(self, admin, user):
        new = "a wholly different one"
        await user.put("/users/me/password", json={"current_password": PASSWORD, "new_password": new})
        [entry] = await entries(admin)
        assert (entry["action"], entry["before"], entry["after"]) == ("password_changed", {}, {})

    async def test_what_was_refused_or_changed_nothing_is_not_there(self, admin, user):
        await admin.patch("/users/root", json={"role": "user"})  # the last admin
        await admin.patch("/users/ada", json={"role": "user"})
        await user.patch("/users/ada", json={"full_name": "Ada"})
        await admin.patch("/users/ada", json={"disabled": True}, headers={"If-Match": '"7"'})
        assert await entries(admin) == []

    async def test_filters_and_pages(self, admin, user, sign_in):
        await sign_in("bob")
        for name in ("ada", "bob"):
            await admin.patch(f"/users/{name}", json={"role": "admin"})
            await admin.patch(f"/users/{name}", json={"disabled": True})
        bob = (await admin.get("/users/bob")).json()["id"]
        assert [entry["action"] for entry in await entries(admin, subject_id=bob)] == [
            "user_disabled",
            "role_changed",
        ]
        assert len(await entries(admin, action="role_changed")) == 2
        assert await entries(admin, actor_id=bob) == []
        walked, cursor = [], None
        while True:
            query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
            page = (await admin.get("/audit", params=query)).json()
            walked += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert walked == await entries(admin)
        assert len(walked) == 4

    async def test_filters_by_what_was_changed(self, admin, user):
        ada = (await admin.patch("/users/ada", json={"disabled": True})).json()["id"]
        await admin.post("/products", json=a_product())
        await admin.patch("/products/tea-assam-250", json={"status": "draft"})
        [of_product] = await entries(admin, subject_type="product")
        assert of_product["subject"] == {"type": "product", "id": "tea-assam-250", "username": None}
        assert await entries(admin, subject_id="tea-assam-250") == [of_product]
        [of_user] = await entries(admin, subject_type="user")
        assert await entries(admin, subject_type="user", subject_id=ada) == [of_user]
        assert await entries(admin, subject_type="product", subject_id=ada) == []

    async def test_entries_from_before_there_were_products_are_about_users(self, admin, user, shop):
        ada, root = [(await admin.get(f"/users/{name}")).json()["id"] for name in ("ada", "root")]
        await admin.patch("/users/ada", json={"role": "admin"})
        old = {
            "_id": "old",
            "at": utc_now() - timedelta(days=1),
            "action": "user_enabled",
            "subject_id": ada,
            "actor_id": root,
            "address": "127.0.0.1",
            "request_id": "r",
            "before": {"disabled": True},
            "after": {"disabled": False},
        }
        await shop.database["audit"].insert_one(old)
        for query in ({}, {"subject_id": ada}, {"subject_type": "user"}, {"subject_type": "user", "subject_id": ada}):
            newer, older = await entries(admin, **query)
            assert (newer["action"], older["id"]) == ("role_changed", "old")
            assert older["subject"] == {"type": "user", "id": ada, "username": "ada"}
        [exported] = [
            e for e in (await user.get("/users/me/export")).json()["audit"] if e["action"] == "user_enabled"
        ]
        assert (exported["about_me"], exported["by_me"]) == (True, False)
        pages = [await admin.get("/audit?limit=1&subject_type=user")]
        pages.append(await admin.get("/audit", params={**pages[0].request.url.params, "cursor": cursor_of(pages[0])}))
        assert [page.json()["items"][0]["action"] for page in pages] == ["role_changed", "user_enabled"]

    @pytest.mark.parametrize("query", ["action=none", "subject_type=none", "limit=0", "cursor=x", "before=1"])
    async def test_anything_else_is_422(self, admin, query):
        assert (await admin.get(f"/audit?{query}")).status_code == 422

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_nothing_can_be_written_or_taken_away(self, admin, method):
        assert (await admin.request(method, "/audit")).status_code == 405


class TestActions:
    """Each change that is told of, by what it says."""

    @staticmethod
    async def newest(admin):
        entry = (await entries(admin))[0]
        return entry["action"], entry["before"], entry["after"]

    async def test_a_registration_of_oneself(self, admin, anyone):
        body = {"username": "bob", "password": PASSWORD, "email": "bob@shop.example"}
        bob = (await anyone.post("/register", json=body)).json()["id"]
        [entry] = await entries(admin)
        after = {"role": "user", "disabled": False, "email_verified": False}
        assert (entry["action"], entry["before"], entry["after"]) == ("user_registered", {}, after)
        assert (entry["actor"]["id"], entry["subject"]["id"]) == (bob, bob)
        assert "shop.example" not in str(entry)

    async def test_a_registration_by_an_admin(self, admin):
        await admin.post("/register", json={"username": "bob", "password": PASSWORD, "role": "admin"})
        [entry] = await entries(admin)
        assert (entry["actor"]["username"], entry["subject"]["username"]) == ("root", "bob")
        assert entry["after"] == {"role": "admin", "disabled": False}

    async def test_a_registration_that_is_repeated_is_one(self, admin, anyone):
        body = {"username": "bob", "password": PASSWORD}
        for _ in range(2):
            assert (await anyone.post("/register", json=body, headers={"Idempotency-Key": '"k"'})).status_code == 201
        assert len(await entries(admin)) == 1

    async def test_an_address_is_told_of_and_not_told(self, admin, user):
        for email in ("ada@shop.example", "lovelace@shop.example", None):
            await user.patch("/users/me", json={"email": email, "current_password": PASSWORD})
        told = [(entry["before"], entry["after"]) for entry in (await entries(admin))[::-1]]
        unverified = {"email_verified": False}
        assert told == [({}, unverified), (unverified, unverified), (unverified, {})]
        assert {entry["action"] for entry in await entries(admin)} == {"email_changed"}

    async def test_a_price(self, admin):
        await admin.post("/products", json=a_product())
        await admin.put("/products/tea-assam-250", json=a_product(price={"amount": 5, "currency": "EUR"}))
        before = {"price_amount": 2500, "price_currency": "INR"}
        assert await self.newest(admin) == ("price_changed", before, {"price_amount": 5, "price_currency": "EUR"})

    async def test_a_status(self, admin):
        await admin.post("/products", json=a_product())
        changed = await admin.patch("/products/tea-assam-250", json={"status": "archived"})
        assert await self.newest(admin) == ("status_changed", {"status": "active"}, {"status": "archived"})
        [entry] = await entries(admin)
        assert (entry["actor"]["username"], entry["request_id"]) == ("root", changed.headers["x-request-id"])

    async def test_a_price_and_a_status_at_once_are_two(self, admin):
        await admin.post("/products", json=a_product())
        await admin.patch("/products/tea-assam-250", json={"status": "draft", "price": {"amount": 1}})
        assert sorted(entry["action"] for entry in await entries(admin)) == ["price_changed", "status_changed"]

    async def test_a_product_that_is_deleted(self, admin):
        await admin.post("/products", json=a_product())
        await admin.delete("/products/tea-assam-250")
        before = {"price_amount": 2500, "price_currency": "INR", "status": "active"}
        assert await self.newest(admin) == ("product_deleted", before, {})

    async def test_what_was_refused_is_not_there(self, admin, user):
        await admin.post("/products", json=a_product())
        stale = {"If-Match": '"7"'}
        await admin.patch("/products/tea-assam-250", json={"price": {"amount": 1}}, headers=stale)
        await admin.delete("/products/tea-assam-250", headers=stale)
        await admin.delete("/products/none")
        await user.delete("/products/tea-assam-250")
        await admin.patch("/products/tea-assam-250", json={"stock": 1})
        assert await entries(admin) == []
