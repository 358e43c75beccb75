"""No body costs much more than an accepted one of its size, however many mistakes are in it."""

import json
from time import process_time

import pytest

from conftest import Client
from security.conftest import Body, Json, Operation
from support.factories import a_product

KIB = 1024
SMALL, LARGE = 16 * KIB, KIB * KIB
LARGE_BODIES = {"add_product", "replace_product", "patch_product"}
MOST = 10
"""How many times as much a refused body may cost as an accepted one of the same size."""


def limit_of(operation: Operation) -> int:
    return LARGE if operation.id in LARGE_BODIES else SMALL


def filled(head: str, piece: str, tail: str, size: int) -> bytes:
    """`head`, as many numbered pieces as fit, and `tail`."""
    room = size - len(head) - len(tail)
    pieces: list[str] = []
    while room > 0:
        pieces.append(piece.replace("#", f"{len(pieces):x}"))
        room -= len(pieces[-1]) + 1
    return (head + ",".join(pieces[:-1]) + tail).encode()


SHAPES = {
    "unknown fields": ("{", '"#":0', "}"),
    "empty names": ('{"a":[', '""', "]}"),
    "fields of the price": ('{"price":{', '"#":0', "}}"),
    "attributes": ('{"attributes":{', '"#":[]', "}}"),
    "names of attributes": ('{"attributes":{', '"$#":0', "}}"),
    "tags": ('{"tags":[', "0", "]}"),
    "images": ('{"images":[', '"#"', "]}"),
    "containers": ('{"tags":[', "[]", "]}"),
    "escapes": ('{"a":[', '"\\\\"', "]}"),
    "objects": ("[", '{"#":{}}', "]"),
}


def hostile(size: int) -> dict[str, bytes]:
    levels, digits = size // 2, size - 100
    return {
        **{name: filled(*shape, size) for name, shape in SHAPES.items()},
        "levels": b"[" * levels + b"]" * levels,
        "digits": b'{"stock":' + b"9" * digits + b"}",
        "fraction": b'{"stock":0.' + b"9" * digits + b"}",
        "commas": b'{"description":"' + b"," * digits + b'"}',
        "surrogates": b'{"name":"' + rb"\ud83d\ude00" * (digits // 12) + b'"}',
        "no end": b'{"name":"' + b"," * digits,
        "backslashes": b'{"name":"' + b"\\" * digits,
    }


@pytest.fixture(scope="module", params=[SMALL, LARGE], ids=["16 KiB", "1 MiB"])
def size(request) -> int:
    return request.param


async def cost(client: Client, method: str, url: str, content: bytes, enough: float = 0) -> float:
    """The processor time of this request: the least of three attempts, or the first of at most `enough`."""
    spent: list[float] = []
    while len(spent) < 3 and min(spent, default=enough + 1) > enough:
        started = process_time()
        answer = await client.request(method, url, content=content, headers={"Content-Type": "application/json"})
        spent.append(process_time() - started)
        assert answer.status_code < 500
        assert answer.status_code != 413
    return min(spent)


async def accepted(client: Client, size: int) -> float:
    """What one of this size costs that is taken."""
    body = json.dumps(a_product(product_id="tea", description="x" * 5000)).encode()
    assert (await client.put("/products/tea", content=body, headers={"Content-Type": "application/json"})).is_success
    return await cost(client, "PUT", "/products/tea", body.ljust(size))


async def test_no_body_costs_ten_times_an_accepted_one(admin: Client, operations: list[Operation], size: int):
    assert (await admin.post("/products", json=a_product(product_id="tea"))).status_code == 201
    bodies, control = hostile(size), await accepted(admin, size)
    dear, compared = {}, 0
    for operation in operations:
        if operation.json_bodies() and limit_of(operation) >= size:
            for name, content in bodies.items():
                compared += 1
                spent = await cost(admin, operation.method, operation.url(), content, MOST * control)
                if spent > MOST * control:
                    dear[operation.id, name] = spent / control
    assert compared >= 3 * len(bodies)
    assert dear == {}


@pytest.mark.parametrize("name", hostile(SMALL))
async def test_a_refused_body_is_told_of_at_most_a_hundred_errors(admin: Client, name: str):
    answer = await admin.post("/products", content=hostile(LARGE)[name], headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert len(answer.json().get("errors", [])) <= 100


class TestErrors:
    @pytest.mark.parametrize(("wrong", "shown"), [(1, 1), (100, 100), (101, 1), (900, 1)])
    async def test_more_than_a_hundred_are_one(self, anyone: Client, wrong: int, shown: int):
        body = {"username": "ada", "password": "correct horse battery"} | {f"f{n}": 0 for n in range(wrong)}
        errors = (await anyone.post("/register", json=body)).json()["errors"]
        assert len(errors) == shown
        assert (errors[0]["code"] == "too_many_errors") == (wrong > 100)

    async def test_none_is_built_beyond_a_hundred(self, operations: list[Operation], anyone: Client):
        """Every closed object says so itself, as a mistake in a model would otherwise show only under attack."""
        for operation in operations:
            for body in operation.json_bodies():
                if not any(body.closed_objects()):
                    continue
                mistakes = {f"f{n}": 0 for n in range(101)}
                answer = await _sent(anyone, operation, body, mistakes)
                if answer["code"] == "invalid_request":
                    assert [error["code"] for error in answer["errors"]] == ["too_many_errors"], operation

    async def test_a_body_of_a_thousand_values_is_read_and_a_larger_one_is_not(self, admin: Client):
        for count, code in ((900, "invalid_request"), (1001, "malformed_body")):
            answer = await admin.post("/products", json=a_product(tags=["tea"] * count))
            assert answer.json()["code"] == code

    async def test_commas_and_brackets_in_texts_do_not_count(self, admin: Client):
        for text in (",[{" * 3000, '",' * 4000, "\\," * 4000):
            answer = await admin.post("/products", json=a_product(description=text, product_id=None))
            assert answer.status_code == 201
            assert answer.json()["description"] == text


async def _sent(client: Client, operation: Operation, body: Body, value: Json) -> Json:
    answer = await client.request(
        operation.method, operation.url(), content=json.dumps(value), headers={"Content-Type": body.media_type}
    )
    return answer.json()


class TestLimits:
    async def test_each_operation_takes_as_much_as_it_needs(self, admin: Client, operations: list[Operation]):
        for operation in operations:
            for body in operation.json_bodies():
                limit = limit_of(operation)
                for size, refused in ((limit, False), (limit + 1, True)):
                    answer = await admin.request(
                        operation.method,
                        operation.url(),
                        content=b"{}".ljust(size),
                        headers={"Content-Type": body.media_type},
                    )
                    assert (answer.status_code == 413) == refused, operation
                    if refused:
                        assert answer.json()["code"] == "body_too_large"
                        named = "1 MiB" if limit == LARGE else "16 KiB"
                        assert named in answer.json()["detail"]
                        assert answer.headers["connection"] == "close"

    async def test_so_it_is_without_an_announced_length(self, anyone: Client):
        async def parts():
            for _ in range(17):
                yield b" " * KIB

        answer = await anyone.post("/register", content=parts(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert "16 KiB" in answer.json()["detail"]

    @pytest.mark.parametrize("url", ["/nowhere", "/health/live", "/openapi.json"])
    async def test_so_it_is_where_nothing_takes_a_body(self, anyone: Client, url: str):
        answer = await anyone.post(url, content=b" " * (SMALL + 1))
        assert answer.status_code == 413
