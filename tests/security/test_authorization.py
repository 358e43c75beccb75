"""Who may do what: the whole table, and every cell of it tried.

Each operation is sent for six kinds of caller, with a request that is good as far as their rights go: what is refused
for another reason than who asks would not show whether it is refused for that. An operation that is not in the table
fails.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest

from conftest import client_of
from shop_api.container import Services
from shop_api.features import FEATURES
from shop_api.features.feature import permissions_of
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import utc_now
from shop_api.security.tokens import AccessTokens
from shop_api.storage.mongo.transactions import Transactions
from support.authorization import required
from support.factories import PASSWORD, TEST_SECRET, a_product, a_session, a_user

CALLERS = ("anonymous", "user", "other", "admin", "disabled", "deleted")
"""`user` is ada, whom the paths name; `other` is somebody else without rights."""


def rights(anonymous: int, user: int, other: int, admin: int, gone: int = 401) -> dict[str, int]:
    """The status for each caller; the disabled and the deleted are refused alike."""
    return dict(zip(CALLERS, (anonymous, user, other, admin, gone, gone), strict=True))


def public(status: int = 200) -> dict[str, int]:
    """For everybody, whatever token they send."""
    return dict.fromkeys(CALLERS, status)


def for_admins(status: int) -> dict[str, int]:
    return rights(401, 403, 403, status)


def for_oneself(status: int) -> dict[str, int]:
    """On /users/me: everybody signed in, about themselves."""
    return rights(401, status, status, status)


def for_its_user(status: int) -> dict[str, int]:
    """On /users/ada: ada and admins."""
    return rights(401, status, 403, status)


@dataclass(frozen=True)
class Row:
    """An operation, a request that is good, and what each caller is answered."""

    operation: str
    method: str
    path: str
    expected: Mapping[str, int]
    json: Any = None

    def __str__(self) -> str:
        return self.operation


PRODUCT = "tea-assam-250"
NEW_USER = {"username": "newcomer", "password": "a password of the newcomer"}
NEW_PASSWORD = "another password than before"
PASSWORDS = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
NO_TOKEN = "A" * 43
RESET = {"token": NO_TOKEN, "new_password": NEW_PASSWORD}

TABLE = [
    # operation, method, path, who gets what, body
    Row("get_home", "GET", "/", public()),
    Row("get_problem", "GET", "/problems/not_found", public()),
    Row("get_liveness", "GET", "/health/live", public()),
    Row("get_readiness", "GET", "/health/ready", public()),
    Row("get_jwks", "GET", "/.well-known/jwks.json", public()),
    Row("list_products", "GET", "/products", public()),
    Row("list_products all", "GET", "/products?status=draft", for_admins(200)),
    Row("count_facets", "GET", "/products/facets", public()),
    Row("get_product", "GET", f"/products/{PRODUCT}", public()),
    Row("get_product draft", "GET", "/products/draft", rights(404, 404, 404, 200)),
    Row("add_product", "POST", "/products", for_admins(201), a_product(product_id="new")),
    Row("replace_product", "PUT", f"/products/{PRODUCT}", for_admins(200), a_product(stock=1)),
    Row("patch_product", "PATCH", f"/products/{PRODUCT}", for_admins(200), {"stock": 2}),
    Row("import_products", "POST", "/products/import", for_admins(415)),
    Row("get_import", "GET", f"/imports/{'0' * 36}", for_admins(404)),
    Row("cancel_import", "DELETE", f"/imports/{'0' * 36}", for_admins(404)),
    Row("delete_product", "DELETE", f"/products/{PRODUCT}", for_admins(204)),
    Row("register", "POST", "/register", rights(201, 201, 201, 201), NEW_USER),
    Row("register admin", "POST", "/register", rights(403, 403, 403, 201), {**NEW_USER, "role": "admin"}),
    Row("sign_in", "POST", "/auth", public(), {"username": "ada", "password": PASSWORD}),
    Row("refresh_session", "POST", "/auth/refresh", public(401), {"refresh_token": NO_TOKEN}),
    # It is signed by us and not expired: whoever holds it may end its session, also when that has ended already.
    Row("sign_out", "POST", "/auth/logout", rights(401, 204, 204, 204, gone=204)),
    Row("request_verification", "POST", "/users/me/email/verification", rights(401, 409, 409, 409)),
    Row("verify_email", "POST", "/auth/email/verification", public(400), {"token": NO_TOKEN}),
    Row("request_password_reset", "POST", "/auth/password/reset", public(202), {"email": "a@shop.example"}),
    Row("reset_password", "POST", "/auth/password/reset/confirm", public(400), RESET),
    Row("list_users", "GET", "/users", for_admins(200)),
    Row("get_user", "GET", "/users/ada", for_its_user(200)),
    Row("get_user me", "GET", "/users/me", for_oneself(200)),
    Row("get_user nobody", "GET", "/users/nobody", rights(401, 403, 403, 404)),
    Row("patch_user", "PATCH", "/users/ada", rights(401, 200, 403, 403), {"full_name": "Ada"}),
    Row("patch_user role", "PATCH", "/users/ada", for_admins(200), {"role": "admin"}),
    Row("patch_user disabled", "PATCH", "/users/ada", for_admins(200), {"disabled": True}),
    Row("patch_user me role", "PATCH", "/users/me", rights(401, 403, 403, 200), {"role": "admin"}),
    Row("delete_user", "DELETE", "/users/ada", for_its_user(204)),
    Row("change_password", "PUT", "/users/me/password", for_oneself(204), PASSWORDS),
    Row("list_sessions", "GET", "/users/me/sessions", for_oneself(200)),
    Row("end_all_sessions", "DELETE", "/users/me/sessions", for_oneself(204)),
    Row("end_session", "DELETE", "/users/me/sessions/session-of-ada", rights(401, 204, 404, 404)),
    Row("export_user", "GET", "/users/me/export", for_oneself(200)),
    Row("list_audit", "GET", "/audit", for_admins(200)),
]


@pytest.fixture
async def callers(app, shop: Services) -> Callable[[str], Awaitable[httpx.AsyncClient]]:
    """`await callers("user")`: a client with the token of such a caller."""
    users, tokens = UserRepository(shop.database), AccessTokens(TEST_SECRET.encode(), utc_now)
    names = ("ada", "other", "disabled", "deleted", "root")
    for name in names:
        new = a_user(name, "admin" if name == "root" else "user", sessions=[f"session-of-{name}"])
        await users.add(new)
        await shop.database["sessions"].insert_one(a_session(new))
    by_name = {name: user for name in names if (user := await users.find(name))}
    await users.change(by_name["disabled"], {"disabled": True}, utc_now())
    await Transactions(shop.database).run(partial(users.remove, by_name["deleted"]))

    async def caller(kind: str) -> httpx.AsyncClient:
        if kind == "anonymous":
            return client_of(app)
        name = {"user": "ada", "admin": "root"}.get(kind, kind)
        token = tokens.issue(by_name[name].id, f"session-of-{name}")
        return client_of(app, Authorization=f"Bearer {token}")

    async with await caller("admin") as admin:
        assert (await admin.post("/products", json=a_product())).status_code == 201
        assert (await admin.post("/products", json=a_product(product_id="draft", status="draft"))).status_code == 201
    return caller


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("row", TABLE, ids=str)
async def test_each_caller_gets_what_the_table_says(callers, row, caller):
    async with await callers(caller) as client:
        response = await client.request(row.method, row.path, json=row.json)
    assert response.status_code == row.expected[caller], response.text
    if response.status_code == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"


def test_no_operation_is_missing(operations):
    listed = {row.operation.split()[0] for row in TABLE}
    assert {operation.id for operation in operations} == listed


async def test_what_names_a_permission_is_for_those_who_hold_it(app, callers, operations):
    by_id = {operation.id: operation for operation in operations}
    rows = required(app)
    assert len(rows) >= 6
    for row in rows:
        operation = by_id[row.operation]
        bodies = operation.json_bodies()
        for caller in CALLERS:
            async with await callers(caller) as client:
                body = bodies[0].example() if bodies else None
                status = (await client.request(row.method, operation.url(), json=body)).status_code
            if caller == "admin" and "admin" in row.permission.roles:
                assert status not in (401, 403), row
            else:
                assert status == (403 if caller in ("user", "other") else 401), (row, caller)


def test_every_permission_belongs_to_a_feature(app):
    declared = permissions_of(FEATURES)
    assert len({permission.name for permission in declared}) == len(declared)
    assert {row.permission for row in required(app)} <= set(declared)


def test_every_row_is_what_the_document_calls_it(operations):
    by_id = {operation.id: operation for operation in operations}
    for row in TABLE:
        operation = by_id[row.operation.split()[0]]
        segments = zip(operation.path.split("/"), row.path.partition("?")[0].split("/"), strict=True)
        assert operation.method == row.method
        assert all(ours == theirs or ours.startswith("{") for ours, theirs in segments), row
