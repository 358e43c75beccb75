"""A version names one state of one resource for ever, also when its name is given to another one; and what the
conditional headers make of that."""

import pytest
from pydantic import SecretStr

from shop_api.audit.models import AuditContext
from shop_api.features.users.errors import UserNotFound
from shop_api.features.users.models import Registration, User, UserPatch
from shop_api.features.users.permissions import USERS_WRITE
from shop_api.kernel import versions
from shop_api.kernel.permissions import Caller
from shop_api.storage.mongo.attempts import OnlyAttempt
from support.factories import PASSWORD, a_product

ANY = getattr(versions, "ANY_VERSION", None)
CONTEXT = AuditContext("0", "127.0.0.1", "test")
ITEM = "/products/tea-assam-250"


class TestAProductThatComesBack:
    @pytest.fixture
    async def before(self, admin) -> str:
        """The tag of a product that was deleted and made again."""
        tag: str = (await admin.post("/products", json=a_product(name="First"))).headers["ETag"]
        assert (await admin.delete(ITEM)).status_code == 204
        assert (await admin.post("/products", json=a_product(name="Second"))).status_code == 201
        return tag

    async def test_is_not_what_a_client_holds_of_the_one_before(self, anyone, before):
        for _ in range(2):  # a miss and a hit of the cache
            answer = await anyone.get(ITEM, headers={"If-None-Match": before})
            assert (answer.status_code, answer.json()["name"]) == (200, "Second")

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    async def test_is_not_changed_by_who_means_the_one_before(self, admin, before, method):
        body = {"PUT": a_product(name="Third"), "PATCH": {"name": "Third"}}.get(method)
        answer = await admin.request(method, ITEM, json=body, headers={"If-Match": before})
        assert (answer.status_code, answer.json()["code"]) == (412, "version_conflict")
        assert (await admin.get(ITEM)).json()["name"] == "Second"

    async def test_its_version_is_read_exactly_by_every_json_reader(self, admin, before):
        product = (await admin.get(ITEM)).json()
        assert 1_700_000_000_000 < product["version"] < 2**53
        assert (await admin.patch(ITEM, json={"stock": 7})).json()["version"] == product["version"] + 1


class TestAUserWhoComesBack:
    @pytest.fixture
    async def before(self, shop, admin) -> User:
        """An account, as a request has read it, that was deleted since then; its name is another one's."""
        before: User = await registered(shop)
        assert (await admin.delete("/users/mallory")).status_code == 204
        await registered(shop)
        return before

    @pytest.fixture
    async def caller(self, shop, admin) -> Caller:
        root = await shop.users.get("root")
        return Caller(root.id, frozenset({USERS_WRITE}), root.sessions[0], root)

    async def test_is_not_promoted_by_who_means_the_one_before(self, admin, before):
        headers = {"If-Match": f'"{before.version}"'}
        answer = await admin.patch("/users/mallory", json={"role": "admin"}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (412, "version_conflict")
        assert (await admin.get("/users/mallory")).json()["role"] == "user"

    async def test_is_not_promoted_by_a_request_under_way(self, shop, before, caller):
        with pytest.raises(UserNotFound):
            await shop.users.patch(before, UserPatch(role="admin"), caller, ANY, CONTEXT)
        assert (await shop.users.get("mallory")).role == "user"

    async def test_nor_deleted_by_one(self, shop, before, caller):
        with pytest.raises(UserNotFound):
            await shop.users.remove(before, caller, ANY, CONTEXT)
        assert (await shop.users.get("mallory")).id != before.id

    async def test_nor_given_its_password(self, shop, before):
        with pytest.raises(UserNotFound):
            await shop.users.set_password(before, "another hash", CONTEXT, "password_changed")
        assert await shop.passwords.authenticate("mallory", PASSWORD, "127.0.0.1") is not None


async def registered(shop) -> User:
    user: User = await shop.users.register(
        Registration(username="mallory", password=SecretStr(PASSWORD)),
        None,
        AuditContext.of_process("test"),
        OnlyAttempt(),
    )
    return user


class TestConditions:
    """If-None-Match on what changes something (RFC 9110 §13.1.2), and over several lines (§5.3)."""

    @pytest.fixture
    async def tag(self, admin) -> str:
        tag: str = (await admin.post("/products", json=a_product())).headers["ETag"]
        return tag

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("given", ["*", "{}", "W/{}", '"7", {}'])
    async def test_what_must_not_be_there_is_412(self, admin, tag, method, given):
        body = {"PUT": a_product(stock=7), "PATCH": {"stock": 7}}.get(method)
        answer = await admin.request(method, ITEM, json=body, headers={"If-None-Match": given.format(tag)})
        assert (answer.status_code, answer.json()["code"]) == (412, "version_conflict")
        assert (await admin.get(ITEM)).json()["stock"] == 40

    async def test_accounts_keep_to_it_too(self, admin, user):
        for method, body in (("PATCH", {"role": "admin"}), ("DELETE", None)):
            answer = await admin.request(method, "/users/ada", json=body, headers={"If-None-Match": "*"})
            assert (answer.status_code, answer.json()["code"]) == (412, "version_conflict")

    async def test_another_version_may_be_there(self, admin, tag):
        answer = await admin.patch(ITEM, json={"stock": 7}, headers={"If-None-Match": '"7", "x"'})
        assert answer.status_code == 200

    async def test_what_is_no_list_of_tags_is_422(self, admin, tag):
        answer = await admin.patch(ITEM, json={"stock": 7}, headers={"If-None-Match": "7"})
        assert answer.json()["errors"][0]["loc"] == ["header", "If-None-Match"]

    async def test_nothing_there_is_404_as_without_it(self, admin):
        answer = await admin.put("/products/none", json=a_product(product_id=None), headers={"If-None-Match": "*"})
        assert (answer.status_code, answer.json()["code"]) == (404, "product_not_found")

    @pytest.mark.parametrize("path", [ITEM, "/users/me"])
    async def test_several_lines_are_one_list(self, admin, tag, path):
        for _ in range(2):  # a miss and a hit of the cache
            current = (await admin.get(path)).headers["ETag"]
            lines = [("If-None-Match", '"7"'), ("If-None-Match", current), ("If-None-Match", '"8"')]
            assert (await admin.get(path, headers=lines)).status_code == 304

    async def test_several_lines_of_if_match_are_one_list(self, admin, tag):
        lines = [("If-Match", '"7"'), ("If-Match", tag)]
        assert (await admin.patch(ITEM, json={"stock": 7}, headers=lines)).status_code == 200
