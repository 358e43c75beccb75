"""Requests that create: sent twice with one `Idempotency-Key`, they create once.

After draft-ietf-httpapi-idempotency-key-header and Stripe's practice: the key belongs to the caller, the answer is
kept for 24 hours, and an error is not kept, so that the request can be sent again.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError

from shop_api.http import strict_json
from shop_api.http.dependencies import bearer_token, optional_caller
from shop_api.http.idempotency.repository import IdempotencyKeys, StoredResponse, digest
from shop_api.http.request_state import request_state
from shop_api.http.routing import JSON, StrictRoute, media_type
from shop_api.kernel.errors import FieldError, InvalidRequest, ShopError

HEADER = "Idempotency-Key"
_SANE_KEY = re.compile(r"[!-~]{1,255}")

# For `openapi_extra=`.
PARAMETER: dict[str, Any] = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "description": "Made by the client for this request: sent again with the same key, it takes effect once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }
    ]
}


class CreatingRoute(StrictRoute):
    """A StrictRoute that honours `Idempotency-Key` where it answers 201."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.status_code != 201:
            return handle

        async def once(request: Request) -> Response:
            keys = request.headers.getlist(HEADER)
            if not keys:
                return await handle(request)
            if len(keys) > 1 or not _SANE_KEY.fullmatch(keys[0]):
                message = "must be given once, as 1 to 255 visible ASCII characters"
                raise InvalidRequest([FieldError(("header", HEADER), "invalid_idempotency_key", message)])
            return await _once(request, keys[0], handle)

        return once


async def _once(request: Request, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    keys: IdempotencyKeys = request.app.state.services.idempotency_keys
    state = request_state(request.scope)
    caller = await optional_caller(request, await bearer_token(request))
    body = await request.body()
    if media_type(request) == JSON:
        body = strict_json.canonical(body)
    what = digest(request.method, request.url.path, body)
    # A proxy that asks a second instance, since the first did not answer, hands on the same request id.
    claim = await keys.claim(digest(caller.id if caller else "", key), what, state.request_id)
    if isinstance(claim, StoredResponse):
        return Response(claim.body, claim.status, {**claim.headers, "Idempotent-Replayed": "true"})
    state.new_id = claim.new_id
    try:
        response = await handle(request)
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        await keys.store(claim, StoredResponse(response.status_code, headers, bytes(response.body)))
    except Exception as error:
        await keys.release(claim, undone=isinstance(error, _REFUSALS))
        raise
    return response


_REFUSALS = (ShopError, RequestValidationError)
_KEPT_HEADERS = ("content-type", "location", "etag", "cache-control")
