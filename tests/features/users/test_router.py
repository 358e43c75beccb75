"""/users over HTTP, one class an operation."""

import asyncio

import pytest

from shop_api.features.users.repository import UserRepository
from support.factories import PASSWORD, a_user

CONFIRMED = {"current_password": PASSWORD}
SHOWN = {
    "id",
    "username",
    "role",
    "disabled",
    "email",
    "email_verified",
    "full_name",
    "version",
    "created_at",
    "updated_at",
}


class TestList:
    async def test_is_for_admins(self, anyone, user, admin):
        assert (await anyone.get("/users")).status_code == 401
        assert (await user.get("/users")).status_code == 403
        assert (await admin.get("/users")).status_code == 200

    async def test_shows_no_secrets(self, admin, user):
        users = (await admin.get("/users")).json()["items"]
        assert [shown["username"] for shown in users] == ["ada", "root"]
        for shown in users:
            assert set(shown) == SHOWN

    async def test_filters_sorts_and_pages(self, admin, shop):
        users = UserRepository(shop.database)
        for name, disabled in (("bob", False), ("bea", True), ("cem", False)):
            await users.add(a_user(name, disabled=disabled))

        async def names(query):
            response = await admin.get(f"/users?{query}")
            return [shown["username"] for shown in response.json()["items"]]

        assert await names("sort=username") == ["bea", "bob", "cem", "root"]
        assert await names("sort=-username&limit=2") == ["root", "cem"]
        assert await names("role=admin") == ["root"]
        assert await names("disabled=true") == ["bea"]
        assert await names("q=B&sort=username") == ["bea", "bob"]
        assert await names("q=.*") == []
        page = (await admin.get("/users?sort=username&limit=3&include_total=true")).json()
        assert page["total"] == 4
        assert await names(f"sort=username&limit=3&cursor={page['next_cursor']}") == ["root"]


class TestGet:
    async def test_oneself_by_name_and_as_me(self, user):
        by_name, as_me = await user.get("/users/Ada"), await user.get("/users/me")
        assert by_name.json() == as_me.json()
        assert set(as_me.json()) == SHOWN
        assert as_me.headers["etag"] == '"1"'
        assert as_me.headers["cache-control"] == "no-store"

    async def test_others_are_403_whether_they_exist_or_not(self, user, admin):
        there, not_there = await user.get("/users/root"), await user.get("/users/nobody")
        assert there.status_code == not_there.status_code == 403
        assert there.json()["detail"] == not_there.json()["detail"]

    async def test_an_admin_sees_everyone(self, user, admin):
        assert (await admin.get("/users/ada")).json()["username"] == "ada"
        missing = await admin.get("/users/nobody")
        assert (missing.status_code, missing.json()["code"]) == (404, "user_not_found")

    @pytest.mark.parametrize("name", ["a", "a%20b", "$ne", "%00", "-ab", "a" * 33])
    async def test_what_cannot_be_a_name_is_422(self, admin, name):
        assert (await admin.get(f"/users/{name}")).status_code == 422


class TestPatch:
    async def test_oneself(self, user):
        response = await user.patch(
            "/users/me", json={"email": "ada@shop.example", "full_name": "Ada L", **CONFIRMED}
        )
        assert (response.status_code, response.json()["email"]) == (200, "ada@shop.example")
        assert response.headers["etag"] == '"2"'
        removed = await user.patch("/users/me", json={"email": None, **CONFIRMED})
        assert (removed.json()["email"], removed.json()["full_name"]) == (None, "Ada L")

    @pytest.mark.parametrize("patch", [{"role": "admin"}, {"disabled": True}, {"full_name": "A", "role": "user"}])
    async def test_nobody_promotes_themselves(self, user, patch):
        assert (await user.patch("/users/me", json=patch)).status_code == 403
        assert (await user.get("/users/me")).json()["version"] == 1

    async def test_an_admin_changes_role_and_disabled_but_no_personal_data(self, admin, user):
        assert (await admin.patch("/users/ada", json={"role": "admin"})).json()["role"] == "admin"
        assert (await admin.patch("/users/ada", json={"email": "x@shop.example"})).status_code == 403

    @pytest.mark.parametrize(
        "patch",
        [{"_id": "x"}, {"version": 5}, {"password_hash": "x"}, {"$set": {}}, {"username": "x"}, {"role": None}],
    )
    async def test_other_fields_are_422(self, user, patch):
        assert (await user.patch("/users/me", json=patch)).status_code == 422

    async def test_a_stale_version_is_412(self, user):
        await user.patch("/users/me", json={"full_name": "A"})
        response = await user.patch("/users/me", json={"full_name": "B"}, headers={"If-Match": '"1"'})
        assert (response.status_code, response.json()["current_version"]) == (412, 2)

    async def test_demoting_and_disabling_work_at_once(self, sign_in, admin):
        other = await sign_in("other", role="admin")
        assert (await other.get("/users")).status_code == 200
        await admin.patch("/users/other", json={"role": "user"})
        refused = await other.get("/users")
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
        third = await sign_in("third")
        assert (await third.get("/users")).status_code == 403
        await admin.patch("/users/third", json={"disabled": True})
        refused = await third.get("/users/me")
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")

    async def test_enabling_again_brings_no_sign_in_back(self, admin, user):
        await admin.patch("/users/ada", json={"disabled": True})
        await admin.patch("/users/ada", json={"disabled": False})
        assert (await user.get("/users/me")).status_code == 401

    async def test_promoting_keeps_the_sign_in(self, admin, user):
        await admin.patch("/users/ada", json={"role": "admin"})
        assert (await user.get("/users")).status_code == 200

    async def test_another_address_is_not_verified(self, user, shop):
        await shop.database["users"].update_one({"username": "ada"}, {"$set": {"email_verified": True}})
        assert (await user.patch("/users/me", json={"full_name": "Ada"})).json()["email_verified"]
        assert not (await user.patch("/users/me", json={"email": "ada@shop.example", **CONFIRMED})).json()[
            "email_verified"
        ]

    @pytest.mark.parametrize("given", [{}, {"current_password": "a wrong one"}, {"current_password": None}])
    async def test_another_address_needs_the_password(self, user, given):
        refused = await user.patch("/users/me", json={"email": "eve@shop.example", "full_name": "Eve", **given})
        assert (refused.status_code, refused.json()["code"]) == (403, "wrong_password")
        unchanged = (await user.get("/users/me")).json()
        assert (unchanged["email"], unchanged["full_name"]) == (None, None)

    @pytest.mark.parametrize("patch", [{"role": "user"}, {"disabled": True}])
    async def test_the_last_admin_stays(self, admin, patch):
        response = await admin.patch("/users/me", json=patch)
        assert (response.status_code, response.json()["code"]) == (409, "last_admin")
        assert (await admin.get("/users/me")).json()["role"] == "admin"


class TestDelete:
    async def test_oneself(self, user, anyone):
        assert (await user.delete("/users/me")).status_code == 204
        assert (await user.get("/users/me")).status_code == 401
        response = await anyone.post("/auth", json={"username": "ada", "password": PASSWORD})
        assert response.status_code == 401

    async def test_an_admin_deletes_others_whose_tokens_end_at_once(self, admin, user):
        assert (await admin.delete("/users/ada")).status_code == 204
        assert (await admin.delete("/users/ada")).status_code == 404
        assert (await user.get("/users/me")).status_code == 401

    async def test_a_new_user_of_the_name_is_somebody_else(self, admin, user, anyone):
        await admin.delete("/users/ada")
        await anyone.post("/register", json={"username": "ada", "password": PASSWORD})
        assert (await user.get("/users/me")).status_code == 401

    async def test_a_user_deletes_nobody_else(self, user, admin):
        assert (await user.delete("/users/root")).status_code == 403

    async def test_a_stale_version_is_412(self, user):
        await user.patch("/users/me", json={"full_name": "A"})
        assert (await user.delete("/users/me", headers={"If-Match": '"1"'})).status_code == 412

    async def test_the_last_admin_stays(self, admin):
        response = await admin.delete("/users/root")
        assert (response.status_code, response.json()["code"]) == (409, "last_admin")

    async def test_of_ten_admins_who_leave_at_once_one_stays(self, sign_in):
        async def leave(admin):
            """On a busy machine, ten in turn may take longer than a transaction may: then it is tried again."""
            while (status := (await admin.delete("/users/me")).status_code) == 503:
                pass
            return status

        admins = [await sign_in(f"admin{n}", role="admin") for n in range(10)]
        assert sorted(await asyncio.gather(*map(leave, admins))) == [204] * 9 + [409]
