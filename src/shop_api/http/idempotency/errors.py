"""The errors of requests with an `Idempotency-Key` that a client can see."""

from shop_api.kernel.errors import FieldError, InvalidRequest, TryLater


class IdempotencyInProgress(TryLater):
    """The same request, with the same `Idempotency-Key`, is being carried out at this moment. Send it again after
    `Retry-After` seconds for its answer."""

    status, code, title = 409, "idempotency_in_progress", "The same request is being carried out"


class IdempotencyKeyReused(InvalidRequest):
    """This `Idempotency-Key` came with another request before. Make a new key for every new request."""

    code, title = "idempotency_key_reused", "The Idempotency-Key belongs to another request"

    def __init__(self) -> None:
        message = "came with another request before"
        super().__init__([FieldError(("header", "Idempotency-Key"), "idempotency_key_reused", message)])


KEYED = (IdempotencyInProgress, IdempotencyKeyReused)
