"""The API as its own OpenAPI document tells it, so that an operation is attacked from the day it is added."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from shop_api.app import create_app
from shop_api.settings import Settings

Json = Any
Place = tuple[str | int, ...]
"""Where something stands in a body: `("price", "amount")`, `("tags", 0)`; `()` is the body itself."""


@dataclass(frozen=True)
class Body:
    """A kind of request body, by its schema."""

    media_type: str
    schema: Json

    def example(self) -> Json:
        return _example(self.schema)

    def with_value(self, place: Place, value: Json) -> Json:
        """The example with `value` at `place`."""
        return _planted(self.schema, place, value)

    def places(self) -> Iterator[tuple[Place, Json]]:
        """Everything that can be said in it, and the schema of each."""
        return _places(self.schema)

    def objects(self) -> Iterator[Place]:
        """Where names are expected, the body itself included."""
        return (place for place, schema in self.places() if _said(schema).get("type") == "object")

    def closed_objects(self) -> Iterator[Place]:
        """Those of them that take only the names they list."""
        return (place for place, schema in self.places() if "properties" in _said(schema))


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str
    tag: str
    parameters: list[Json]
    bodies: list[Body]
    responses: dict[str, Json]

    def __str__(self) -> str:
        return self.id

    def named(self, where: str) -> dict[str, Json]:
        """The schemas of its parameters in the path or in the query, by name."""
        return {p["name"]: p["schema"] for p in self.parameters if p["in"] == where}

    def json_bodies(self) -> list[Body]:
        return [body for body in self.bodies if body.media_type.endswith("json")]

    def examples(self, where: str) -> dict[str, Json]:
        return {name: _example(schema) for name, schema in self.named(where).items()}

    def url(self, **given: str) -> str:
        """Its address, with examples for the parameters that are not given."""
        values = {**self.examples("path"), **given}
        return self.path.format_map({name: quote(value, safe="") for name, value in values.items()})


@pytest.fixture(scope="session")
def operations(engines: Settings) -> list[Operation]:
    """All of them."""
    document = create_app(engines).openapi()
    plain = _inlined(document["paths"], document)
    return [
        Operation(
            id=details["operationId"],
            method=method.upper(),
            path=path,
            tag=details["tags"][0],
            parameters=details.get("parameters", []),
            bodies=[
                Body(kind, content["schema"])
                for kind, content in details.get("requestBody", {}).get("content", {}).items()
                if content["schema"].get("format") != "binary"  # a file, which has tests of its own
            ],
            responses=details["responses"],
        )
        for path, methods in plain.items()
        for method, details in methods.items()
    ]


def _inlined(part: Json, document: Json) -> Json:
    """`part` with what its references mean in their place."""
    if isinstance(part, list):
        return [_inlined(item, document) for item in part]
    if not isinstance(part, dict):
        return part
    if isinstance(reference := part.get("$ref"), str):
        target = document
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]
        return _inlined(target, document)
    return {name: _inlined(value, document) for name, value in part.items()}


def _said(schema: Json) -> Json:
    """What a schema means where a value is given: of several forms the first, which is never null."""
    return schema["anyOf"][0] if "anyOf" in schema else schema


def _example(schema: Json) -> Json:
    schema = _said(schema)
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema["type"]:
        case "object":
            return {name: _example(schema["properties"][name]) for name in schema.get("required", [])}
        case "array":
            return []
        case "integer" | "number":
            return int(schema.get("minimum", 1))
        case "boolean":
            return False
        case _:
            return "ada@shop.example" if schema.get("format") == "email" else "example"


def _children(schema: Json) -> Iterator[tuple[str | int, Json]]:
    yield from schema.get("properties", {}).items()
    for values in schema.get("patternProperties", {}).values():
        yield "name", values
    if "items" in schema:
        yield 0, schema["items"]


def _places(schema: Json, place: Place = ()) -> Iterator[tuple[Place, Json]]:
    yield place, schema
    for step, below in _children(_said(schema)):
        yield from _places(below, (*place, step))


def _planted(schema: Json, place: Place, value: Json) -> Json:
    if not place:
        return value
    step, *rest = place
    below = dict(_children(_said(schema))).get(step)
    planted = _planted(below, tuple(rest), value) if rest else value
    return [planted] if isinstance(step, int) else {**_example(schema), step: planted}
