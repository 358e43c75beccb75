"""Requests that create: sent twice with one `Idempotency-Key`, they create once.

After draft-ietf-httpapi-idempotency-key-header and Stripe's practice: the key belongs to the caller, the answer is
kept for 24 hours, and an error is not kept, so that the request can be sent again.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from shop_api.dependencies import Shop, bearer_token
from shop_api.errors import FieldError, InvalidRequest
from shop_api.idempotency.repository import Answer, digest
from shop_api.routing import StrictRoute

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
            key = request.headers.get(HEADER)
            if key is None:
                return await handle(request)
            if not _SANE_KEY.fullmatch(key):
                message = "must be 1 to 255 visible ASCII characters"
                raise InvalidRequest([FieldError(("header", HEADER), "invalid_idempotency_key", message)])
            return await _once(request, key, handle)

        return once


async def _once(request: Request, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    shop: Shop = request.app.state.shop
    token = await bearer_token(request)
    caller = (await shop.auth.user_of(token)).id if token else ""
    claim_id = digest(caller, key)
    earlier = await shop.idempotency_keys.claim(
        claim_id, digest(request.method, request.url.path, await request.body())
    )
    if earlier is not None:
        return Response(earlier.body, earlier.status, {**earlier.headers, "Idempotent-Replayed": "true"})
    try:
        response = await handle(request)
    except Exception:
        await shop.idempotency_keys.release(claim_id)
        raise
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    await shop.idempotency_keys.store(claim_id, Answer(response.status_code, headers, bytes(response.body)))
    return response


_KEPT_HEADERS = ("content-type", "location", "etag", "cache-control")
