"""A client sets what an operation lists and nothing else, and is told what an answer lists and nothing else."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import jsonschema_rs
import pytest

from shop_api.storage.mongo.instances import INSTANCES
from support.factories import PASSWORD, a_product

NOT_FOR_CLIENTS: dict[str, Any] = {
    "_id": "0",
    "id": "0",
    "role": "admin",
    "version": 7,
    "created_at": "2001-01-01T00:00:00Z",
    "updated_at": "2001-01-01T00:00:00Z",
    "password_hash": "$argon2id$v=19$m=47104,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
    "disabled": False,
    "email_verified": True,
    "sessions": [],
    "$set": {"role": "admin"},
    "$unset": {"disabled": ""},
}
# What else is set at its own risk: who may, is a matter of the operation.
LEGAL = {("register", "role"), ("patch_user", "role"), ("patch_user", "disabled")}


async def stored(shop) -> dict[str, list[Any]]:
    """All documents, by collection, without the heartbeats, which change by themselves."""
    names = sorted(set(await shop.database.list_collection_names()) - {INSTANCES.name})
    return {name: await shop.database[name].find({}).sort("_id", 1).to_list(None) for name in names}


@pytest.fixture
async def caller(admin):
    """An admin in a shop where what the examples speak of exists."""
    assert (await admin.post("/products", json=a_product())).status_code == 201
    assert (await admin.post("/register", json={"username": "ada", "password": PASSWORD})).status_code == 201
    return admin


class TestRequests:
    def test_only_these_operations_list_such_fields(self, operations):
        listed = {
            (operation.id, name)
            for operation in operations
            for body in operation.bodies
            for name in body.schema["properties"]
            if name in NOT_FOR_CLIENTS
        }
        assert listed == LEGAL

    async def test_a_field_that_is_not_listed_is_422_and_nothing_is_stored(self, caller, shop, operations):
        before, refused, otherwise = await stored(shop), 0, []
        for operation in operations:
            for body in operation.json_bodies():
                for place in body.closed_objects():
                    for name, value in NOT_FOR_CLIENTS.items():
                        if (operation.id, name) in LEGAL:
                            continue
                        response = await caller.request(
                            operation.method,
                            operation.url(),
                            content=json.dumps(body.with_value((*place, name), value)),
                            headers={"Content-Type": body.media_type},
                        )
                        locs = [fault["loc"] for fault in response.json().get("errors", [])]
                        if response.status_code == 422 and ["body", *place, name] in locs:
                            refused += 1
                        else:
                            otherwise.append((operation.id, place, name, response.status_code, locs))
        assert otherwise == []
        assert refused >= 90
        assert await stored(shop) == before

    async def test_without_such_a_field_none_of_these_bodies_is_422(self, caller, operations):
        answers = {
            operation.id: await caller.request(
                operation.method,
                operation.url(),
                content=json.dumps(body.example()),
                headers={"Content-Type": body.media_type},
            )
            for operation in operations
            for body in operation.json_bodies()
        }
        assert {name: answer.text for name, answer in answers.items() if answer.status_code == 422} == {}

    async def test_nobody_but_an_admin_makes_an_admin(self, anyone, user, shop):
        before = await stored(shop)
        body = {"username": "eve", "password": PASSWORD, "role": "admin"}
        for client in (anyone, user):
            assert (await client.post("/register", json=body)).status_code == 403
        assert await stored(shop) == before

    @pytest.mark.parametrize("change", [{"role": "admin"}, {"role": "user"}, {"disabled": True}, {"disabled": False}])
    async def test_nobody_but_an_admin_changes_role_or_disabled_not_even_to_what_they_are(self, user, shop, change):
        before = await stored(shop)
        assert (await user.patch("/users/me", json={"full_name": "Ada", **change})).status_code == 403
        assert await stored(shop) == before


# Each finds what those before it have made.
ORDER = ["POST", "GET", "PUT", "PATCH", "DELETE"]


def closed(schema: Any) -> Any:
    """`schema` with no other members in any object than those it lists."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    deeper = {name: closed(value) for name, value in schema.items()}
    return deeper | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else deeper


def requests(client, operation, known) -> Iterator[httpx.Request]:
    """As the examples and what is `known` have it, with each parameter of the query, and in several wrong ways."""
    right: dict[str, Any] = {"method": operation.method, "url": operation.url(**known)}
    for body in operation.bodies:
        content = {**body.example(), **{name: known[name] for name in body.schema["properties"] if name in known}}
        given = json.dumps(content) if body.media_type.endswith("json") else urlencode(content)
        right |= {"content": given, "headers": {"Content-Type": body.media_type}}
        yield client.build_request(**right)
        for wrong in ("{", "{}"):
            yield client.build_request(**right | {"content": wrong})
        yield client.build_request(**right | {"headers": {"Content-Type": "text/plain"}})
    yield client.build_request(**right)
    yield client.build_request(**right | {"headers": {**right.get("headers", {}), "If-Match": '"99"'}})
    yield client.build_request(**right | {"headers": {**right.get("headers", {}), "Accept": "text/html"}})
    yield client.build_request(**right | {"params": {"unknown": "1"}})
    for name, value in operation.examples("query").items():
        yield client.build_request(**right | {"params": {name: json.dumps(value).strip('"')}})
    if operation.named("path"):
        nothing = dict.fromkeys(operation.named("path"), "nothing")
        yield client.build_request(**right | {"url": operation.url(**nothing)})


class TestAnswers:
    async def test_none_says_more_than_is_documented(self, sign_in, anyone, operations):
        known: dict[str, str] = {}
        undocumented, seen = [], Counter[tuple[str, str]]()
        for number, operation in enumerate(sorted(operations, key=lambda o: ORDER.index(o.method))):
            # Callers of its own, since it may end their sessions.
            names = {"admin": f"root-{number}", "user": f"user-{number}"}
            accounts = [await sign_in(name, role, email=f"{name}@shop.example") for role, name in names.items()]
            for client in (*accounts, anyone):
                for request in requests(client, operation, known):
                    answer = await client.send(request)
                    kind, fault = answer.headers.get("content-type", "").partition(";")[0], None
                    if (documented := operation.responses.get(str(answer.status_code))) is None:
                        fault = "this status"
                    elif "content" not in documented:
                        fault = "a body with this status" if answer.content else None
                    elif kind not in documented["content"]:
                        fault = f"{kind!r} with this status"
                    elif kind.endswith("json"):
                        seen[operation.id, kind] += 1
                        try:
                            jsonschema_rs.validate(closed(documented["content"][kind]["schema"]), answer.json())
                        except jsonschema_rs.ValidationError as error:
                            fault = error.message
                        known |= {n: v for n, v in answer.json().items() if n == "code" or n.endswith("_token")}
                    if fault:
                        undocumented.append((operation.id, answer.status_code, fault))
        assert undocumented == []
        # Broad enough to mean something: each was refused in some way, and each that has something to tell told it.
        assert {o.id for o in operations if not seen[o.id, "application/problem+json"]} == set()
        telling = {
            o.id
            for o in operations
            for r in o.responses.values()
            if "application/json" in r.get("content", {}) and o.tag != "Imports"
        }
        assert {name for name in telling if not seen[name, "application/json"]} == set()

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/nothing"), ("GET", "/products/"), ("TRACE", "/products"), ("POST", "/docs")]
    )
    async def test_nor_does_a_problem_outside_of_all_operations(self, anyone, operations, method, path):
        problem = operations[0].responses["422"]["content"]["application/problem+json"]["schema"]
        jsonschema_rs.validate(closed(problem), (await anyone.request(method, path)).json())

    @pytest.mark.parametrize("extra", [{"password_hash": "x"}, {"links": {"docs": "", "x": ""}}])
    def test_the_check_would_notice(self, operations, extra):
        """One member too many, at the top or deeper."""
        [home] = [operation for operation in operations if operation.id == "get_home"]
        schema = closed(home.responses["200"]["content"]["application/json"]["schema"])
        links = {"docs": "", "openapi": "", "products": ""}
        shown = {"name": "shop_api", "version": "1", "status": "up", "mongo": "up", "redis": "up"}
        answer = {**shown, "products": 1, "users": 1, "links": links}
        assert jsonschema_rs.is_valid(schema, answer)
        merged = {**answer, **extra, **({"links": {**links, **extra["links"]}} if "links" in extra else {})}
        assert not jsonschema_rs.is_valid(schema, merged)
