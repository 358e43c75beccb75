"""The client-visible errors of requests with an `Idempotency-Key`."""

from shop_api.kernel.errors import FieldError, InvalidRequest, TryLater


class IdempotencyInProgress(TryLater):
    """A request with the same `Idempotency-Key` is still in progress. Send it again after `Retry-After` seconds to
    get its response."""

    status, code, title = 409, "idempotency_in_progress", "The same request is still in progress"


class IdempotencyKeyReused(InvalidRequest):
    """This `Idempotency-Key` was used for a different request. Generate a new key for every new request."""

    code, title = "idempotency_key_reused", "The Idempotency-Key was used for another request"

    def __init__(self) -> None:
        message = "was used for another request"
        super().__init__([FieldError(("header", "Idempotency-Key"), "idempotency_key_reused", message)])


KEYED = (IdempotencyInProgress, IdempotencyKeyReused)
