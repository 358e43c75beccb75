"""Problem responses: every 4xx and 5xx as `application/problem+json` (RFC 9457)."""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from shop_api.http.request_state import request_state
from shop_api.kernel.errors import (
    BadRequest,
    BodyTooLarge,
    DatabaseUnavailable,
    FieldError,
    InternalError,
    InvalidRequest,
    InvalidToken,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RequestTimeout,
    ShopError,
    Unauthenticated,
    UnsupportedMediaType,
    UriTooLong,
    VersionConflict,
)
from shop_api.kernel.messages import in_words, place
from shop_api.kernel.schema import MAX_ERRORS, Schema
from shop_api.storage.mongo.client import PyMongoError, unavailable

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger()


class ProblemField(Schema):
    """One invalid value in the request."""

    loc: list[str | int]
    """The location of the value, such as `["body", "price", "amount"]` or `["query", "limit"]`."""
    code: str
    """The stable, machine-readable name of the error."""
    message: str
    """A human-readable explanation."""


class Problem(Schema):
    """An error response (RFC 9457)."""

    type: str = Field(examples=["/problems/not_found"])
    """The problem type, as the path of a page that explains it."""
    title: str
    status: int
    detail: str
    instance: str
    """The path of the request."""
    code: str
    """The stable, machine-readable name of the problem type."""
    request_id: str
    """Identifies the request in the log."""
    current_version: int | None = None
    """The current version of the resource. Only with `version_conflict`."""
    errors: list[ProblemField] | None = None
    """The invalid values of the request. Only with `invalid_request` and its more specific types."""


def problem_response(error: ShopError, scope: Scope) -> JSONResponse:
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    body = {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": path.decode("ascii", "replace")[:500],
        "code": error.code,
        "request_id": request_state(scope).request_id,
        **error.members,
    }
    headers = {"Cache-Control": "no-store", **error.headers}
    return JSONResponse(body, error.status, headers, media_type=MEDIA_TYPE)


ANY = (UriTooLong, InvalidRequest, InternalError, DatabaseUnavailable, Overloaded)
BODY = (MalformedBody, RequestTimeout, BodyTooLarge, UnsupportedMediaType)
SIGNED_IN = (Unauthenticated, InvalidToken)


def problems(*errors: type[ShopError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route: one entry per status, with the codes it can carry. Includes `ANY`."""
    by_status: dict[int, list[type[ShopError]]] = {}
    kinds: tuple[type[ShopError], ...] = (*errors, *ANY)
    for error in kinds:
        by_status.setdefault(error.status, []).append(error)
    return {status: _documented(kinds) for status, kinds in sorted(by_status.items())}


def _documented(kinds: Iterable[type[ShopError]]) -> dict[str, Any]:
    kinds = list(kinds)
    return {
        "description": " or ".join(kind.title for kind in kinds),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {kind.code: {"summary": kind.title, "value": _example(kind)} for kind in kinds},
            }
        },
    }


def _example(kind: type[ShopError]) -> Mapping[str, object]:
    example: dict[str, object] = {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.title,
        "instance": "/",
        "code": kind.code,
        "request_id": "0198c5b2-7d6e-7c3a-9f54-3a1f7c1d2e90",
    }
    if issubclass(kind, InvalidRequest):
        field = {"loc": ["body", "name"], "code": "missing", "message": "Field required"}
        example |= {"detail": "body.name: Field required", "errors": [field]}
    if kind is VersionConflict:
        example["current_version"] = 1769851800001
    return example


def add_problem_handlers(app: FastAPI) -> None:
    """Register exception handlers that turn every error in `app` into a problem response."""

    @app.exception_handler(ShopError)
    async def known(request: Request, error: ShopError) -> JSONResponse:
        return problem_response(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = ({**one, "loc": _place(one["loc"], error.body)} for one in error.errors())
        return problem_response(InvalidRequest(field_errors(found)), request.scope)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        return problem_response(_from_framework(error, request), request.scope)

    @app.exception_handler(PyMongoError)
    async def database(request: Request, error: PyMongoError) -> JSONResponse:
        if not unavailable(error):
            raise error
        log.error("the database does not answer, or stores nothing", reason=str(error)[:500])
        return problem_response(DatabaseUnavailable(retry_after=1), request.scope)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return problem_response(InternalError(), request.scope)  # RequestContextMiddleware logs the cause


def field_errors(errors: Iterable[Mapping[str, Any]], *prefix: str) -> list[FieldError]:
    """Return Pydantic's errors, at most MAX_ERRORS, without the rejected input, which may be a password."""
    found: dict[tuple[str | int, ...], FieldError] = {}
    for error in errors:
        loc = (*prefix, *map(_short, error["loc"]))
        if loc not in found:
            found[loc] = FieldError(loc, error["type"], in_words(error))
        if len(found) == MAX_ERRORS:
            break
    return [*found.values()]


def _place(loc: tuple[str | int, ...], body: object) -> tuple[str | int, ...]:
    return ("body", *place(loc[1:], body)) if loc[0] == "body" else loc


def _short(part: str | int) -> str | int:
    return part[:100] if isinstance(part, str) else part  # a malicious key can be as long as the body


def _from_framework(error: HTTPException, request: Request) -> ShopError:
    match error.status_code:
        case 404:
            return NotFound()
        case 405:
            return MethodNotAllowed(_allowed(request))
        case 413:
            return BodyTooLarge()
        case status if status < 500:
            return BadRequest()
        case _:
            return InternalError()


def _allowed(request: Request) -> list[str]:
    """Return all methods of this path. The framework's own `Allow` lists only those of the first matching route."""
    scope: Scope = dict(request.scope) | {"path_params": {}}
    fitting = [r for r in iter_route_contexts(request.app.routes) if r.matches(scope)[0] is not Match.NONE]
    exact = [route for route in fitting if route.path == scope["path"]]
    methods = {method for route in exact or fitting for method in route.methods or ()}
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)
