"""GET /audit: what was done to accounts, told to admins and to nobody else, and kept."""

import pytest

from support.factories import PASSWORD


async def entries(admin, **query):
    response = await admin.get("/audit", params=query)
    assert response.status_code == 200, response.text
    return response.json()["items"]


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

    @pytest.mark.parametrize("query", ["action=none", "limit=0", "cursor=x", "before=1"])
    async def test_anything_else_is_422(self, admin, query):
        assert (await admin.get(f"/audit?{query}")).status_code == 422

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_nothing_can_be_written_or_taken_away(self, admin, method):
        assert (await admin.request(method, "/audit")).status_code == 405
