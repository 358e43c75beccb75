"""What the layers around a request tell each other about it."""

from dataclasses import dataclass

from starlette.types import Scope

_KEY = "shop"
REFUSAL = "shop.refusal"
"""Where the scope of a request that is not HTTP as it should be has the error that says so."""


@dataclass(slots=True)
class RequestState:
    """The state of one request, in the `state` of its ASGI scope; copies of the scope share it."""

    request_id: str = ""
    """Names the request in the log and in problems."""
    user_id: str | None = None
    """The caller, once known; for the log."""
    cache: str | None = None
    """`hit` or `miss` where the HTTP cache was asked; for the log and the trace."""
    overloaded: bool = False
    """Whether it was rejected because too many requests were in flight."""
    client_left: bool = False
    """Whether the client was gone before its body was complete."""
    body_arrived: float = 0.0
    """When the body was complete, by `time.perf_counter`; 0 if there was none."""
    new_id: str | None = None
    """The id for what the request creates, the same at each attempt with one `Idempotency-Key`."""


def request_state(scope: Scope) -> RequestState:
    """Return the state of the request with this scope, which is made where nobody has asked for it yet."""
    states: dict[str, RequestState] = scope.setdefault("state", {})
    if _KEY not in states:
        states[_KEY] = RequestState()
    return states[_KEY]
