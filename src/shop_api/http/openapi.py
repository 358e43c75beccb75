"""What the OpenAPI document says beyond what FastAPI reads off the routes."""

from collections.abc import Mapping, Sequence
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

- Errors are `application/problem+json` (RFC 9457); `code` is stable, and `type` leads to an explanation.
- Lists come in pages: give `next_cursor` as `cursor` for the next one.
- Every resource has a `version`, which is also its `ETag`: send it as `If-Match` with a change, and nobody's work
  is overwritten unseen.
- Money is an integer of minor units and an ISO 4217 code.

Sign in with *Authorize*, as an admin to try everything. The examples work as they are, on an empty shop, from top to
bottom; where one has to be filled in first, it says so.
"""
# For `openapi_extra=`: a token is welcome but not needed.
PUBLIC: dict[str, Any] = {"security": [{}]}

_ETAG_HEADER = {
    "ETag": {"description": "The version, quoted.", "schema": {"type": "string"}, "example": '"1769851800000"'}
}
_LOCATION_HEADER = {"Location": {"description": "Its address.", "schema": {"type": "string"}}}

# For `responses=`.
ETAG: dict[str, Any] = {"headers": _ETAG_HEADER}
LOCATION: dict[str, Any] = {"headers": _ETAG_HEADER | _LOCATION_HEADER}
CONTENT_ETAG: dict[str, Any] = {
    "headers": {"ETag": {"description": "Names this content, for `If-None-Match`.", "schema": {"type": "string"}}}
}
NOT_MODIFIED: dict[str, Any] = {"description": "What `If-None-Match` names is still current"}


def request_body(models: dict[str, type[BaseModel]]) -> dict[str, Any]:
    """For `openapi_extra=`: a body in one of several media types, each with its own model."""
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}} for kind, model in models.items()}
    return {"requestBody": {"required": True, "content": content}}


def describe(
    app: FastAPI,
    tags: Sequence[Mapping[str, str]],
    models: Sequence[type[BaseModel]],
    enums: Mapping[str, Sequence[str]],
) -> None:
    """Makes `app` serve the finished document, with these sections in this order. `models` are those that no route
    names as its own body or response, `enums` the values of each `late_enum`."""
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(_document(app, tags, models))
            _fill_enums(document, enums)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


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
    for path in document["paths"].values():
        for operation in path.values():
            operation.setdefault("security", [])
            for parameter in operation.get("parameters", []):
                _drop_null(parameter)
                if parameter["in"] == "path" and "examples" in parameter["schema"]:
                    parameter["example"] = parameter["schema"]["examples"][0]  # where Swagger UI looks for it
    return document


def _drop_null(parameter: dict[str, Any]) -> None:
    """An optional parameter is absent, never null: there is no way to write that in a URL or a header."""
    schema = parameter["schema"]
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        schema.update(kinds[0])
    elif kinds:
        schema["anyOf"] = kinds
