"""The route class that rejects invalid queries, media types and JSON before the handler runs."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from shop_api.http import strict_json
from shop_api.kernel.errors import FieldError, InvalidRequest, UnsupportedMediaType
from shop_api.kernel.schema import MAX_ERRORS

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
FORM = "application/x-www-form-urlencoded"


class StrictRoute(APIRoute):
    """Rejects unknown and repeated query parameters (422), unsupported media types (415) and JSON that is not I-JSON
    (400). PATCH also accepts the media type of RFC 7396."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if options.get("status_code") == 204:
            options["response_class"] = Response  # the default class sets a media type even without a body
        options["generate_unique_id_function"] = _operation_id
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = dict(_query_parameters(self.dependant))
        accepted = [MERGE_PATCH, JSON] if "PATCH" in (self.methods or ()) else [JSON]
        has_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            _refuse_unknown_query(request, known)
            if has_body:
                if media_type(request) not in accepted:
                    raise UnsupportedMediaType(accepted)
                # Read here, because the framework turns every error while reading a body into the same 400.
                value = strict_json.loads(await request.body())
                request = _ParsedRequest(request, value)
            return await handle(request)

        return strict


def _operation_id(route: APIRoute) -> str:
    return route.name


class _ParsedRequest(Request):
    def __init__(self, request: Request, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._body = request._body
        self._json = value


def media_type(request: Request) -> str:
    """Return the media type of Content-Type in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Yield the names of all query parameters, and whether each can be given more than once."""
    for field in dependant.query_params:
        fields = getattr(field.field_info.annotation, "model_fields", {field.alias: field.field_info})
        for name, info in fields.items():
            yield info.alias or name, get_origin(info.annotation) is list
    for below in dependant.dependencies:
        yield from _query_parameters(below)


def _refuse_unknown_query(request: Request, known: Mapping[str, bool]) -> None:
    seen: set[str] = set()
    errors = []
    for name, value in request.query_params.multi_items():
        if name not in known:
            errors.append(FieldError(("query", name[:100]), "unknown_parameter", "Unknown query parameter"))
        elif name in seen and not known[name]:
            errors.append(FieldError(("query", name), "repeated_parameter", "Give this parameter only once"))
        elif "\0" in value:
            errors.append(FieldError(("query", name), "invalid_character", "NUL is not allowed"))
        seen.add(name)
        if len(errors) == MAX_ERRORS:
            break
    if errors:
        raise InvalidRequest(errors)
