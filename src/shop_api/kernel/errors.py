"""The base classes of all client-visible errors, and the errors that belong to no single feature.

Each class is one problem type: `status` is its HTTP status, `code` its stable machine-readable name, `title` its
human-readable name, and its docstring the text of `/problems/<code>`. problems.py renders them; docs/errors.md
lists them. Errors of a single feature are in the errors.py of that feature.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """One invalid value of a request: its location (`("body", "price", "amount")`), a stable code and a message."""

    loc: tuple[str | int, ...]
    code: str
    message: str


class ShopError(Exception):
    """Base class of all errors that are rendered as a problem response."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title

    @property
    def headers(self) -> dict[str, str]:
        return {}

    @property
    def members(self) -> dict[str, object]:
        """Extension members of the problem (RFC 9457 §3.2)."""
        return {}

    @classmethod
    def kinds(cls) -> Iterator[type["ShopError"]]:
        """Yield every concrete subclass, recursively."""
        for kind in cls.__subclasses__():
            if "code" in vars(kind):
                yield kind
            yield from kind.kinds()

    @classmethod
    def description(cls) -> str:
        """The docstring as one paragraph; the title if there is none."""
        return " ".join((inspect.getdoc(cls) or cls.title).split())


# 400


class MalformedBody(ShopError):
    """The body is not JSON (RFC 8259) in UTF-8: a syntax error, a duplicate key, NaN or Infinity, a number out of
    range, a NUL or an unpaired surrogate in a string, too deep nesting, or more than 1000 values."""

    status, code, title = 400, "malformed_body", "The body is not valid JSON"


class BadRequest(ShopError):
    """The request is not valid HTTP."""

    status, code, title = 400, "bad_request", "Bad request"


class UnknownClient(ShopError):
    """The client's IP address is unknown: the connection has none, or a trusted proxy reports something else than one
    IP address in `X-Forwarded-For`. Only the operator can change that."""

    status, code, title = 400, "unknown_client", "The address of the client is unknown"


class PreflightRefused(ShopError):
    """A CORS preflight from an allowed origin asks for something that no page may do: a method that the service
    does not have, or a request from a public network to a private one."""

    status, code, title = 400, "preflight_refused", "Pages may not send such a request"


# 401, 403


class Unauthenticated(ShopError):
    """This operation needs a valid access token in `Authorization: Bearer …`. A token is valid until it expires or
    its session ends: by signing out of it, by a new password set elsewhere, or because the user is deleted, disabled
    or demoted. Get a new one from `POST /auth/refresh` or `POST /auth`."""

    status, code, title = 401, "unauthenticated", "Sign in first"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class InvalidToken(Unauthenticated):
    """The access token is not valid: it is expired or malformed, was not issued by this service, or its session has
    ended."""

    status, code, title = 401, "invalid_token", "The access token is not valid"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}  # RFC 6750 §3.1


class Forbidden(ShopError):
    """You are signed in, but your role or identity does not allow this."""

    status, code, title = 403, "forbidden", "Not allowed"


# 404, 405


class NotFound(ShopError):
    """There is nothing at this path."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(ShopError):
    """This path exists, but not with this method; `Allow` lists those it has."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"

    def __init__(self, allow: Sequence[str]) -> None:
        super().__init__(f"This path takes {', '.join(allow)}.")
        self.allow = allow

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(self.allow)}


# 409, 412


class Conflict(ShopError):
    """The request conflicts with the stored state."""

    status: ClassVar[int] = 409


class VersionConflict(ShopError):
    """The current version of the resource is not in `If-Match`, or it is in `If-None-Match`. Read the resource
    again, apply your change to it, and send the result with the new version (`current_version`)."""

    status, code, title = 412, "version_conflict", "The resource has changed"

    def __init__(self, current_version: int) -> None:
        super().__init__(f"The resource is at version {current_version}.")
        self.current_version = current_version

    @property
    def members(self) -> dict[str, object]:
        return {"current_version": self.current_version}


# 408, 413, 414, 415, 422, 431


class RequestTimeout(ShopError):
    """The request did not arrive in time: the head within 10 seconds, the body within 10 more, or as
    fast as 16 KiB a second if that takes longer. Nothing of it was carried out."""

    status, code, title = 408, "request_timeout", "The request did not arrive in time"

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # RFC 9110 §15.5.9


class UriTooLong(ShopError):
    """The path and the query have more than 8 KiB together."""

    status, code, title = 414, "uri_too_long", "The URL is longer than 8 KiB"

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}


class HeadersTooLarge(ShopError):
    """The head of the request has more than 100 header lines, or more than 32 KiB."""

    status, code, title = 431, "headers_too_large", "The headers are larger than 32 KiB or more than 100"

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}


class BodyTooLarge(ShopError):
    """The body is larger than this operation reads: 1 MiB where a product is sent, 16 KiB elsewhere. `detail` names
    the limit."""

    status, code, title = 413, "body_too_large", "The body is too large"

    def __init__(self, max_bytes: int | None = None) -> None:
        super().__init__(None if max_bytes is None else f"The body may have {_size(max_bytes)} at most.")

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # the rest of the body is not read


def _size(number: int) -> str:
    return f"{number >> 20} MiB" if number >> 20 else f"{number >> 10} KiB"


class UnsupportedMediaType(ShopError):
    """This operation does not accept the body's `Content-Type`; `Accept` lists those it does."""

    status, code, title = 415, "unsupported_media_type", "Unsupported Content-Type"

    def __init__(self, accepted: Sequence[str]) -> None:
        super().__init__(f"Send one of: {', '.join(accepted)}.")
        self.accepted = accepted

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept": ", ".join(self.accepted)}  # RFC 9110 §15.5.16


class InvalidRequest(ShopError):
    """Some values are missing, of the wrong type or out of range; `errors` lists each one."""

    status: ClassVar[int] = 422
    code: ClassVar[str] = "invalid_request"
    title: ClassVar[str] = "The request is not valid"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, e.loc))}: {e.message}" for e in errors[:3]))
        self.errors = errors

    @property
    def members(self) -> dict[str, object]:
        return {"errors": [error._asdict() for error in self.errors]}


# 429, 500, 503


class TryLater(ShopError):
    """Base class of errors after which the request may succeed in `retry_after` seconds."""

    def __init__(self, retry_after: int, detail: str | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class RateLimited(TryLater):
    """The rate limit is exceeded. Retry after the number of seconds in `Retry-After`."""

    status, code, title = 429, "rate_limited", "Too many attempts"


class InternalError(ShopError):
    """An unexpected error in the service. `request_id` identifies the request in the log."""

    status, code, title = 500, "internal_error", "Something went wrong on our side"


class DatabaseUnavailable(TryLater):
    """The database does not respond, or it can store nothing because its disk is full or failing. A change that was
    not acknowledged may or may not have been stored: read before you retry."""

    status, code, title = 503, "database_unavailable", "The database does not answer"


class Overloaded(TryLater):
    """This instance has too many requests in flight and sheds load. The request had no effect: retry it after
    `Retry-After` seconds."""

    status, code, title = 503, "overloaded", "Too many requests at the same time"


class UpstreamUnavailable(ShopError):
    """No instance of the service answered the load balancer, which sends this response. A change may or may not
    have been stored: read before you retry, or send it with an `Idempotency-Key`."""

    status, code, title = 502, "upstream_unavailable", "No instance of the service answered"


class NotReady(ShopError):
    """This instance cannot serve requests now. A load balancer should use another one."""

    status, code, title = 503, "not_ready", "Not ready"
