"""Dependencies that all routers share: the caller, the client's address, preconditions and ids of a request.

The services are at `app.state.services`; http/ uses only its `authenticate` and `idempotency_keys`.
"""

from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.security import OAuth2PasswordBearer
from fastapi.security.base import SecurityBase

from shop_api.audit.models import AuditContext
from shop_api.http.etags import IF_MATCH_PATTERN, joined, parse_if_match, parse_if_none_match
from shop_api.http.request_state import request_state
from shop_api.kernel.errors import Forbidden, Unauthenticated, UnknownClient
from shop_api.kernel.permissions import Authenticate, Caller, CallerLookup, Permission
from shop_api.kernel.versions import ExpectedVersions
from shop_api.storage.mongo.attempts import Attempt, OnlyAttempt

# All dependencies are coroutines, even without an await, because the framework runs plain functions in threads. Each
# reads what it can from the request itself, because every nested dependency costs time on every request.

_SCHEME = OAuth2PasswordBearer(
    tokenUrl="auth", auto_error=False, description="Enter a username and a password; leave the other fields empty."
)


class _Bearer(SecurityBase):
    """A dependency on the access token, which the OpenAPI document shows as our security scheme."""

    model, scheme_name = _SCHEME.model, _SCHEME.scheme_name


async def optional_caller(request: Request) -> Caller | None:
    """Return the caller, or None if no token was sent. An invalid token still raises InvalidToken."""
    token = await _SCHEME(request)
    if token is None:
        return None
    authenticate: Authenticate = request.app.state.services.authenticate
    caller = await authenticate(token)
    request_state(request.scope).user_id = caller.id  # for the log
    return caller


class _OptionalCaller(_Bearer):
    async def __call__(self, request: Request) -> Caller | None:
        return await optional_caller(request)


OptionalCallerDep = Annotated[Caller | None, Depends(_OptionalCaller())]
"""The caller, or None if no token was sent. An invalid token still raises InvalidToken."""


class _CallerLookup(_Bearer):
    async def __call__(self, request: Request) -> CallerLookup:
        return partial(optional_caller, request)


CallerLookupDep = Annotated[CallerLookup, Depends(_CallerLookup())]
"""A function that looks up the caller. Most public reads do not depend on the caller and never call it."""


class _Token(_Bearer):
    async def __call__(self, request: Request) -> str:
        token = await _SCHEME(request)
        if token is None:
            raise Unauthenticated
        return token


TokenDep = Annotated[str, Depends(_Token())]
"""The access token, not yet verified. Raises Unauthenticated if none was sent."""


class _Caller(_Bearer):
    async def __call__(self, request: Request) -> Caller:
        caller = await optional_caller(request)
        if caller is None:
            raise Unauthenticated
        return caller


CallerDep = Annotated[Caller, Depends(_Caller())]
"""The authenticated caller, as currently stored. Raises Unauthenticated if no token was sent."""


class Requirement:
    """A dependency that returns the caller, or raises Forbidden if they lack `permission`."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, caller: CallerDep) -> Caller:
        if not caller.may(self.permission):
            raise Forbidden("Only an admin is allowed to do this.")
        return caller


def Requires(permission: Permission) -> Any:  # noqa: N802  # capitalized like Depends
    """Require a permission in a handler's signature: `caller: Annotated[Caller, Requires(PRODUCTS_WRITE)]`."""
    return Depends(Requirement(permission))


async def _expected(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(
            max_length=1000,
            description='The `ETag` of the version to change, such as `"3"`; 412 if it is no longer current.',
            json_schema_extra={"pattern": IF_MATCH_PATTERN},
        ),
    ] = None,
    if_none_match: Annotated[
        str | None,
        Header(
            max_length=1000,
            description="412 if one of these `ETag`s is current, or with `*` if the resource exists.",
            json_schema_extra={"pattern": IF_MATCH_PATTERN},
        ),
    ] = None,
) -> ExpectedVersions:
    headers = request.headers
    return ExpectedVersions(
        parse_if_match(joined(headers, "If-Match")), parse_if_none_match(joined(headers, "If-None-Match"))
    )


ExpectedVersionsDep = Annotated[ExpectedVersions, Depends(_expected)]
"""The versions that If-Match and If-None-Match require or exclude."""


async def _attempt(request: Request) -> Attempt:
    state = request_state(request.scope)
    state.attempt = state.attempt or OnlyAttempt()
    return state.attempt


AttemptDep = Annotated[Attempt, Depends(_attempt)]
"""This attempt to create a resource, one of those with the same `Idempotency-Key`."""


_NAT64 = IPv6Network("64:ff9b::/96")


async def client_address(request: Request) -> str:
    """Return the address of the peer, or the one that a trusted proxy reports. For IPv6, return the /64 network; an
    IPv4 address that is mapped (RFC 4291 §2.5.5.2) or translated (RFC 6052) is returned as IPv4.

    Raises UnknownClient for anything that is no address: limits and delays of one client would apply to others."""
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        raise UnknownClient from None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or (_translated(address) if address in _NAT64 else address)
    if isinstance(address, IPv4Address):
        return str(address)
    # One household or server has a whole /64 network, and could use a new address for every attempt.
    return str(IPv6Network((int(address), 64), strict=False))


def _translated(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)


AddressDep = Annotated[str, Depends(client_address)]
"""The address of the peer, or the one that a trusted proxy reports; for IPv6, the /64 network."""


async def _request_id(request: Request) -> str:
    return request_state(request.scope).request_id


RequestIdDep = Annotated[str, Depends(_request_id)]
"""The id that identifies the request in the log."""


async def _audit_context(request: Request, caller: CallerDep) -> AuditContext:
    address, state = await client_address(request), request_state(request.scope)
    return AuditContext(caller.id, address, state.request_id, caller)


AuditContextDep = Annotated[AuditContext, Depends(_audit_context)]
"""The caller, their address and the request id, for the audit log."""
