"""No text costs more for what it consists of: each is bounded in length before anything is computed on it."""

import json
from time import process_time
from urllib.parse import urlencode

import pytest

from conftest import Client
from security.conftest import Body, Json, Operation, Place, _said
from shop_api.security.passwords import MAX_CODE_POINTS, normalised

ROOM = 15_000
"""Bytes of a text that fits into the smallest body that is read."""
MOST = 10
"""How many times as much a hostile text may cost as an ASCII one of the same size."""
NOISE = 0.002
"""Seconds of the processor that other tasks of this process may take in between."""
# What sorting, case folding, composing and mail addresses take longest for.
HOSTILE = {
    "marks": "\u0316\u0301",
    "expanding": "\ufdfa",
    "jamo": "\u1100\u1161\u11a8",
    "dots": "a.",
    "at": "@a",
    "labels": "\u00fc.",
    "blanks": " \u3000",
    "dashes": "a-",
}


def of_size(size: int, piece: str) -> str:
    return piece * (size // len(piece.encode()))


def is_text(schema: Json) -> bool:
    return _said(schema).get("type") == "string"


def texts(body: Body) -> list[Place]:
    return [place for place, schema in body.places() if place and is_text(schema)]


def encoded(body: Body, place: Place, text: str) -> bytes:
    value = body.with_value(place, text)
    if body.media_type.endswith("json"):
        return json.dumps(value, ensure_ascii=False).encode()
    return urlencode({place[0]: text, **{k: v for k, v in value.items() if k != place[0]}}).encode()


async def cost(client: Client, operation: Operation, body: Body, content: bytes, enough: float = 0) -> float:
    """The processor time of this request: the least of three attempts, or the first of at most `enough`."""
    spent: list[float] = []
    while len(spent) < 3 and min(spent, default=enough + 1) > enough:
        started = process_time()
        answer = await client.request(
            operation.method, operation.url(), content=content, headers={"Content-Type": body.media_type}
        )
        spent.append(process_time() - started)
        assert answer.status_code < 500
        assert answer.status_code != 413
    return min(spent)


def bounded(schema: Json) -> bool:
    said = _said(schema)
    return "maxLength" in said or "enum" in said or "const" in said or said.get("format") == "date-time"


class TestDocument:
    def test_every_text_of_a_body_has_a_length(self, operations):
        unbounded = {
            (operation.id, place)
            for operation in operations
            for body in operation.bodies
            for place, schema in body.places()
            if is_text(schema) and not bounded(schema)
        }
        assert unbounded == set()

    def test_every_text_of_a_query_has_a_length(self, operations):
        """One in a path or in a header is as long as its line at most."""
        unbounded = {
            (operation.id, name)
            for operation in operations
            for name, schema in operation.named("query").items()
            if is_text(schema) and not bounded(schema)
        }
        assert unbounded == set()


class TestCost:
    @pytest.mark.parametrize("kind", HOSTILE)
    async def test_a_hostile_text_costs_what_an_ascii_one_costs(self, admin, operations, kind):
        """Of every text of every body, as an admin, who gets furthest."""
        compared, dear = 0, {}
        for operation in operations:
            for body in operation.bodies:
                for place in texts(body):
                    size = ROOM if body.media_type.endswith("json") else ROOM // 3
                    hostile = encoded(body, place, of_size(size, HOSTILE[kind]))
                    plain = encoded(body, place, of_size(size, "a"))
                    control = await cost(admin, operation, body, plain, NOISE)
                    spent = await cost(admin, operation, body, hostile, MOST * control + NOISE)
                    compared += 1
                    if spent > MOST * control + NOISE:
                        dear[operation.id, place] = spent / control
        assert compared > 30
        assert dear == {}

    def test_a_password_of_marks_that_is_short_enough_costs_little(self):
        """What gets as far as being normalised."""
        marks = of_size(2 * MAX_CODE_POINTS, HOSTILE["marks"])
        spent = []
        for password in (marks, "a" * MAX_CODE_POINTS):
            started = process_time()
            for _ in range(20):
                normalised(password)
            spent.append((process_time() - started) / 20)
        assert spent[0] < spent[1] + NOISE
