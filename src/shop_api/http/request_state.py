"""The state of a request that the middleware layers and the routes share."""

from dataclasses import dataclass

from starlette.types import Scope

from shop_api.storage.mongo.attempts import Attempt

_KEY = "shop"
REFUSAL = "shop.refusal"
"""The scope key of the ShopError with which the protocol rejected the request."""


@dataclass(slots=True)
class RequestState:
    """The state of one request, kept in the `state` of its ASGI scope. Copies of the scope share it."""

    request_id: str = ""
    """Identifies the request in the log and in problem responses."""
    user_id: str | None = None
    """The caller's id once authenticated, for the log."""
    cache: str | None = None
    """`hit` or `miss` if the HTTP cache was looked up, for the log and the trace."""
    overloaded: bool = False
    """Whether the request was rejected because too many were in flight."""
    client_left: bool = False
    """Whether the client disconnected before its body was complete."""
    body_arrived: float = 0.0
    """The `time.perf_counter` value at which the body was complete; 0 without a body."""
    attempt: Attempt | None = None
    """This attempt to create a resource, one of those with the same `Idempotency-Key`; None without a key."""


def request_state(scope: Scope) -> RequestState:
    """Return the state of the request with this scope. The first call creates it."""
    states: dict[str, RequestState] = scope.setdefault("state", {})
    if _KEY not in states:
        states[_KEY] = RequestState()
    return states[_KEY]
