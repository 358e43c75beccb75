"""Nothing a client sends is ever an operator, a path into a document or a name that a language gives meaning to.

Every operation of the OpenAPI document is attacked, at each place in its bodies and each parameter of its query and
its path. A listener of the driver sees all commands that reach the database meanwhile. At each place the suite tries
one in four of what there is to try, beginning with another one each time; `make fuzz` tries all of it.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

import httpx
import jsonschema_rs
import pytest
from pydantic import SecretStr
from pymongo import monitoring

from conftest import client_of, running_app
from support.factories import PASSWORD, a_product

pytestmark = pytest.mark.long

ONE_IN = int(os.environ.get("SHOP_TEST_INJECTION_ONE_IN", "4"))
CANARY = "canary7f3a"
OPERATORS = [
    *(
        "$ne",
        "$gt",
        "$gte",
        "$in",
        "$nin",
        "$exists",
        "$type",
        "$regex",
        "$where",
        "$function",
        "$accumulator",
        "$expr",
    ),
    *("$jsonSchema", "$elemMatch", "$or", "$not", "$set", "$unset", "$inc", "$push", "$rename", "$lookup", "$out"),
    *("$merge", "$replaceRoot"),
]
NEVER_AROUND_TEXT = {"$ne", "$nin", "$type", "$regex", "$where", "$function", "$accumulator", "$expr", "$jsonSchema"}
"""Operators that make more of a text than a text to compare with."""
CODE = f"function() {{ return '{CANARY}' }}"
NAMES = [
    *OPERATORS,
    "a.b",
    "role.$ne",
    "password_hash.x",
    "_id",
    "__proto__",
    "__proto__.role",
    "__class__",
    "$",
    ".",
]
"""Of members, in JSON and in the brackets of a query."""
OBJECTS: list[Any] = [
    *({operator: CANARY} for operator in OPERATORS),
    *([{operator: [CANARY]}] for operator in OPERATORS[::5]),
    {"$not": {"$regex": CANARY}},
    {"$function": {"body": CODE, "args": [], "lang": "js"}},
    {"$expr": {"$function": {"body": CODE, "args": [], "lang": "js"}}},
    {"$or": [{}, {"username": CANARY}]},
    {"__proto__": {"role": CANARY}},
    {"password_hash.x": CANARY},
]
TEXTS = [
    *(json.dumps({operator: CANARY}) for operator in ("$ne", "$gt", "$in", "$regex", "$where", "$function", "$expr")),
    *(f"{begun}{CANARY}" for begun in ("$ne:", "$where:", "$$ROOT.", "$password_hash ", "^.*", "{$ne: null} ")),
    f"'; return '{CANARY}' == '{CANARY}",
    f"__proto__[{CANARY}]",
]
"""What is an operator only to one who reads it as one; in a search or a name it is a text like any other."""
FORM = "application/x-www-form-urlencoded"


class Listener(monitoring.CommandListener):
    """Sees what the driver sends, and keeps what of it has the canary in it."""

    def __init__(self) -> None:
        self.commands = 0
        self.marked: list[Any] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.commands += 1
        if CANARY in repr(event.command):
            self.marked.append(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


@pytest.fixture(scope="module")
async def watched(engines) -> AsyncIterator[tuple[httpx.AsyncClient, Listener]]:
    """The first admin of a shop with a few products, and what the database is asked."""
    listener = Listener()
    monitoring.register(listener)  # for the clients made from now on
    first = {"admin_username": "root", "admin_password": SecretStr(PASSWORD)}
    # Without the cache, so that every request that may reach the database does.
    settings = engines.model_copy(update={"mongo_db": f"{engines.mongo_db}-injection", "cache": "off", **first})
    async with running_app(settings) as app, client_of(app) as client:
        signed_in = await client.post("/auth", json={"username": "root", "password": PASSWORD})
        client.headers["Authorization"] = f"Bearer {signed_in.json()['access_token']}"
        for n in range(20):
            await client.post("/products", json=a_product(product_id=f"tea-{n}", name="a" * 199 + "!"))
        yield client, listener
        await app.state.services.database.client.drop_database(settings.mongo_db)


@pytest.fixture
async def shop(watched) -> httpx.AsyncClient:
    client, listener = watched
    listener.commands, listener.marked = 0, []
    for path, body in (("/register", {"username": "ada", "password": PASSWORD}), ("/products", a_product())):
        assert (await client.post(path, json=body)).status_code in (201, 409)
    return client


@pytest.fixture
def listener(watched) -> Listener:
    return watched[1]


Attack = tuple[str, httpx.Request]
"""What it is, and the request."""


async def others_than(
    expected: set[int], client: httpx.AsyncClient, attacks: list[Attack]
) -> Counter[tuple[str, int]]:
    """Carries the attacks out, some at a time; which of them were answered otherwise than expected, and how."""
    waiting, others = iter(attacks), Counter[tuple[str, int]]()

    async def attacker() -> None:
        for what, request in waiting:
            status = (await client.send(request)).status_code
            if status not in expected:
                others[what, status] += 1

    await asyncio.gather(*(attacker() for _ in range(8)))
    return others


T = TypeVar("T")
_turns = count()


def some(of: Sequence[T]) -> Sequence[T]:
    """One in ONE_IN of them, each time others."""
    return of[next(_turns) % ONE_IN :: ONE_IN]


def fits(schema: Any, value: Any) -> bool:
    return bool(jsonschema_rs.is_valid(schema, value))


def in_bodies(client, operations) -> Iterator[Attack]:
    """Objects in the place of each value, and names in the place of each name."""
    for operation in operations:
        for body in operation.json_bodies():
            values = [(place, given) for place, _ in body.places() for given in some(OBJECTS)]
            names = [((*place, name), CANARY) for place in body.objects() for name in some(NAMES)]
            for place, given in values + names:
                content = json.dumps(body.with_value(place, given))
                headers = {"Content-Type": body.media_type}
                request = client.build_request(operation.method, operation.url(), content=content, headers=headers)
                yield f"{operation} {place[:2]} {str(given)[:60]}", request


def in_forms(client, operations) -> Iterator[Attack]:
    """Brackets behind the names that a form needs, as PHP and Express read them."""
    for operation in operations:
        for body in operation.bodies:
            if body.media_type != FORM:
                continue
            for needed in body.schema["required"]:
                for name in some(NAMES):
                    form = {**body.example(), f"{needed}[{name}]": CANARY}
                    del form[needed]
                    request = client.build_request(operation.method, operation.url(), data=form)
                    yield f"{operation} {needed}[{name}]", request


def in_queries(client, operations) -> Iterator[Attack]:
    """The same behind the names of query parameters, and names of their own."""
    for operation in operations:
        known = operation.named("query")
        names = [*some(NAMES), *(f"{known_name}[{name}]" for known_name in known for name in some(NAMES))]
        names += [f"{name}.$ne" for name in known]
        for name in names:
            request = client.build_request(operation.method, operation.url(), params={name: CANARY})
            yield f"{operation} ?{name}", request
        for name, schema in known.items() if operation.tag != "Imports" else ():  # without a file, they are 415
            for text in some(TEXTS):
                if not fits(schema, text):
                    request = client.build_request(operation.method, operation.url(), params={name: text})
                    yield f"{operation} ?{name}={text}", request


def in_paths(client, operations) -> Iterator[tuple[Any, Attack]]:
    """In the place of an id, and the schema of that."""
    ids = [*TEXTS, *(f"{name}-{CANARY}" for name in NAMES), *(f"[{name}]{CANARY}" for name in NAMES)]
    for operation in operations:
        bodies = operation.json_bodies()
        for name, schema in operation.named("path").items():
            for text in some(ids):
                request = client.build_request(
                    operation.method,
                    operation.url(**{name: text}),
                    content=json.dumps(bodies[0].example()) if bodies else None,
                    headers={"Content-Type": bodies[0].media_type} if bodies else None,
                )
                yield fits(schema, text), (f"{operation} /{text}", request)


def around_canary(part: Any) -> set[str]:
    """The operators of a command that have the canary somewhere below, or in their own name."""
    if CANARY not in repr(part):
        return set()
    if isinstance(part, Mapping):
        own = {name for name, below in part.items() if name.startswith("$") and CANARY in repr((name, below))}
        return own.union(*map(around_canary, part.values()))
    return set().union(*map(around_canary, part)) if isinstance(part, list | tuple) else set()


class TestOperators:
    async def test_none_is_accepted_anywhere_and_none_reaches_the_database(self, shop, listener, operations):
        attacks = [attack for kind in (in_bodies, in_forms, in_queries) for attack in kind(shop, operations)]
        attacks += [attack for fitting, attack in in_paths(shop, operations) if not fitting]
        assert len(attacks) >= 5_000 / ONE_IN
        assert await others_than({422}, shop, attacks) == {}
        assert listener.commands > 1_000 / ONE_IN
        assert listener.marked == []


def texts(client, operations) -> Iterator[Attack]:
    """What looks like an operator wherever a text of that form is welcome."""
    for operation in operations:
        for body in operation.json_bodies():
            for place, schema in body.places():
                for text in some(TEXTS):
                    if fits(schema, text):
                        content = json.dumps(body.with_value(place, text))
                        headers = {"Content-Type": body.media_type}
                        url = operation.url()
                        request = client.build_request(operation.method, url, content=content, headers=headers)
                        yield f"{operation} {place} {text}", request
        for name, schema in operation.named("query").items() if operation.tag != "Imports" else ():
            for text in some(TEXTS):
                if fits(schema, text):
                    request = client.build_request(operation.method, operation.url(), params={name: text})
                    yield f"{operation} ?{name}={text}", request


class TestTexts:
    async def test_what_looks_like_an_operator_is_no_more_than_the_text_it_is(self, shop, listener, operations):
        attacks = list(texts(shop, operations))
        assert len(attacks) > 300 / ONE_IN
        assert await others_than({200, 201, 204, 400, 401, 403, 404, 409, 422}, shop, attacks) == {}
        assert listener.marked != []
        assert set().union(*map(around_canary, listener.marked)) & NEVER_AROUND_TEXT == set()

    async def test_as_an_id_it_is_not_found(self, shop, listener, operations):
        attacks = [attack for fitting, attack in in_paths(shop, operations) if fitting]
        assert len(attacks) > 100 / ONE_IN
        assert await others_than({404, 422}, shop, attacks) == {}
        assert listener.marked != []
        assert set().union(*map(around_canary, listener.marked)) & NEVER_AROUND_TEXT == set()

    @pytest.mark.parametrize("text", ["$$ROOT", "$name", "$version", "$$NOW", "{$ne: null}", "$literal"])
    async def test_it_comes_back_as_it_went_in(self, shop, text):
        said = {"name": text, "description": text, "brand": text, "attributes": {"text": text}}
        for method in ("PUT", "PATCH"):
            await shop.put("/products/tea-assam-250", json=a_product(attributes={}))
            await shop.request(method, "/products/tea-assam-250", json=a_product(**said))
            stored = (await shop.get("/products/tea-assam-250")).json()
            assert {name: stored[name] for name in said} == said
        assert (await shop.patch("/users/me", json={"full_name": text})).json()["full_name"] == text
        assert (await shop.get("/users/me")).json()["full_name"] == text

    @pytest.mark.parametrize("text", ["$$ROOT", "$password_hash", '{"$ne": null}'])
    async def test_a_header_is_only_text_too(self, shop, listener, text):
        headers = dict.fromkeys(
            ("User-Agent", "X-Request-ID", "If-None-Match", "X-Forwarded-For"), f"{text} {CANARY}"
        )
        account = {"username": "ada", "password": PASSWORD}
        tokens = (await shop.post("/auth", json=account, headers=headers)).json()
        refreshed = await shop.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}, headers=headers)
        mine = headers | {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
        [newest, *_] = (await shop.get("/users/me/sessions", headers=mine)).json()["items"]
        assert newest["user_agent"] == headers["User-Agent"]
        assert set().union(*map(around_canary, listener.marked)) & NEVER_AROUND_TEXT == set()

    def test_the_listener_would_notice_an_operator(self):
        command = {"find": "users", "filter": {"$and": [{"username": {"$ne": CANARY}}]}, "$db": "shop"}
        assert around_canary(command) == {"$and", "$ne"}
        assert around_canary({"filter": {f"${CANARY}": 1, "a": {"$in": ["b"]}}}) == {f"${CANARY}"}


class TestRegularExpressions:
    @pytest.mark.parametrize("path", ["/products", "/products/facets", "/users"])
    @pytest.mark.parametrize("bomb", ["(a+)+$", "^(a|a?)+$", "(.*a){25}", "^(([a-z])+.)+[A-Z]([a-z])+$", ".*" * 16])
    async def test_a_bomb_is_a_search_for_text_and_takes_as_little_as_any(self, shop, path, bomb):
        async def seconds(text: str) -> float:
            started = time.perf_counter()
            response = await shop.get(path, params={"q": text})
            assert response.status_code == 200
            return time.perf_counter() - started

        taken: dict[str, list[float]] = {text: [] for text in (bomb, "w" * len(bomb))}
        for _ in range(5):
            for text, each in taken.items():
                each.append(await seconds(text))
        dangerous, harmless = (min(each) for each in taken.values())
        assert dangerous < 5 * harmless + 0.05  # the time of an expression that explodes has no such bound
