"""The errors of requests with an `Idempotency-Key` that a client can see."""

from shop_api.kernel.errors import Conflict, FieldError, InvalidRequest


class IdempotencyInProgress(Conflict):
    """The same request, with the same `Idempotency-Key`, is being carried out at this moment. Send it again after
    `Retry-After` seconds for its answer."""

    code, title = "idempotency_in_progress", "The same request is being carried out"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class IdempotencyKeyReused(InvalidRequest):
    """This `Idempotency-Key` came with another request before. Make a new key for every new request."""

    code, title = "idempotency_key_reused", "The Idempotency-Key belongs to another request"

    def __init__(self) -> None:
        message = "came with another request before"
        super().__init__([FieldError(("header", "Idempotency-Key"), "idempotency_key_reused", message)])


KEYED = (IdempotencyInProgress, IdempotencyKeyReused)
