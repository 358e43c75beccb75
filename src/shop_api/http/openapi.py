"""The parts of the OpenAPI document that FastAPI cannot derive from the routes."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shop_api import __version__
from shop_api.http.problems import Problem
from shop_api.kernel.schema import LATE_ENUM

_DESCRIPTION = """\
A commerce backend: users, sign-in and products.

- Errors are `application/problem+json` (RFC 9457). `code` is stable, and `type` links to an explanation.
- Lists are paginated. Send `next_cursor` as `cursor` to get the next page.
- Every resource has a `version`, which is also its `ETag`. Send it as `If-Match` with a change to prevent lost
  updates (optimistic concurrency).
- Money is an integer of minor units and an ISO 4217 code.

Sign in with *Authorize*, as an admin to try every operation. On an empty shop the examples work unchanged from top to
bottom; the description of an operation says what to fill in first, if anything.
"""
_REF = "#/components/schemas/"
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_INT32, _LARGE = 2**31 - 1, 2**63
# For `openapi_extra=`: the token is optional.
PUBLIC: dict[str, Any] = {"security": [{}]}

_ETAG_HEADER = {
    "ETag": {"description": "The version, quoted.", "schema": {"type": "string"}, "example": '"1769851800000"'}
}
_LOCATION_HEADER = {"Location": {"description": "The path of the new resource.", "schema": {"type": "string"}}}

# For `responses=`.
ETAG: dict[str, Any] = {"headers": _ETAG_HEADER}
LOCATION: dict[str, Any] = {"headers": _ETAG_HEADER | _LOCATION_HEADER}
CONTENT_ETAG: dict[str, Any] = {
    "headers": {"ETag": {"description": "Names this content, for `If-None-Match`.", "schema": {"type": "string"}}}
}
NOT_MODIFIED: dict[str, Any] = {"description": "What `If-None-Match` names is still current"}


def request_body(models: dict[str, type[BaseModel]]) -> dict[str, Any]:
    """Return an `openapi_extra=` for a body in one of several media types, each with its own model."""
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}} for kind, model in models.items()}
    return {"requestBody": {"required": True, "content": content}}


def describe(
    app: FastAPI,
    tags: Sequence[Mapping[str, str]],
    models: Sequence[type[BaseModel]],
    enums: Mapping[str, Sequence[str]],
) -> None:
    """Make `app` serve the complete document, with the sections `tags` in this order. `models` are the models that no
    route declares as its body or response, `enums` the values of each `late_enum`."""
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(_document(app, tags, models))
            _fill_enums(document, enums)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the extension point that FastAPI documents


def _fill_enums(part: Any, enums: Mapping[str, Sequence[str]]) -> None:
    if isinstance(part, dict):
        if (name := part.pop(LATE_ENUM, None)) is not None:
            part["enum"] = list(enums[name])
        for below in part.values():
            _fill_enums(below, enums)
    elif isinstance(part, list):
        for below in part:
            _fill_enums(below, enums)


def _document(app: FastAPI, tags: Sequence[Mapping[str, str]], models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=__version__,
        summary=app.summary,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=[dict(tag) for tag in tags],
        servers=[{"url": "/", "description": "This instance."}],
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    extra = [(model, "validation") for model in (Problem, *models)]
    _, definitions = models_json_schema(extra, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    document["components"]["schemas"] |= definitions["$defs"]
    _integers(document)
    _open_responses(document)
    for path in document["paths"].values():
        for operation in path.values():
            operation.setdefault("security", [])
            for parameter in operation.get("parameters", []):
                _drop_null(parameter)
                if parameter["in"] == "path" and "examples" in parameter["schema"]:
                    parameter["example"] = parameter["schema"]["examples"][0]  # where Swagger UI looks for it
    return document


def _integers(part: Any) -> None:
    """Convert the bounds of integers to integers, and mark integers that may exceed 32 bits as `int64`, because code
    generators assume 32 bits."""
    if isinstance(part, dict):
        if part.get("type") == "integer":
            for bound in _BOUNDS & part.keys():
                part[bound] = int(part[bound])
            if part.get("maximum", _LARGE) > _INT32 or part.get("minimum", 0) < -_INT32:
                part.setdefault("format", "int64")
        part = list(part.values())
    if isinstance(part, list):
        for below in part:
            _integers(below)


def _open_responses(document: dict[str, Any]) -> None:
    """Allow additional properties in responses, so that new fields do not break generated clients. A schema that is
    used in requests and responses becomes two: the open one, and a closed one with the suffix `In`."""
    schemas = document["components"]["schemas"]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    answered = _reachable([operation.get("responses") for operation in operations], schemas)
    bodies = [operation["requestBody"] for operation in operations if "requestBody" in operation]
    shared = [name for name in sorted(_reachable(bodies, schemas) & answered) if _is_closed(schemas[name])]
    for name in shared:
        schemas[f"{name}In"] = copy.deepcopy(schemas[name]) | {"title": f"{name}In"}
    sent = [*bodies, *(schemas[name] for name in schemas.keys() - answered)]
    for part in sent:
        _rename(part, {f"{_REF}{name}": f"{_REF}{name}In" for name in shared})
    for name in answered:
        if _is_closed(schemas[name]):
            del schemas[name]["additionalProperties"]


def _is_closed(schema: Mapping[str, Any]) -> bool:
    return schema.get("additionalProperties") is False


def _reachable(part: Any, schemas: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = list(_references(part))
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += _references(schemas[name])
    return found


def _references(part: Any) -> Iterator[str]:
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        if isinstance(value, str) and value.startswith(_REF):
            yield value.removeprefix(_REF)
        else:
            yield from _references(value)


def _rename(part: Any, names: Mapping[str, str]) -> None:
    for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if isinstance(value, str):
            part[key] = names.get(value, value)
        else:
            _rename(value, names)


def _drop_null(parameter: dict[str, Any]) -> None:
    """Remove null from the types of an optional parameter, because URLs and headers cannot express null."""
    schema = parameter["schema"]
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        schema.update(kinds[0])
    elif kinds:
        schema["anyOf"] = kinds
