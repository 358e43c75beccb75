"""The `…Dep` names for what every router may ask of a request: who sends it, from where, and what it expects.

The service itself is at `app.state.services`; of it, only `authenticate` and `idempotency_keys` are known in http/.
"""

from functools import partial
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.security import OAuth2PasswordBearer
from uuid_utils import uuid7

from shop_api.audit.models import AuditContext
from shop_api.http.etags import IF_MATCH_PATTERN, joined, parse_if_match, parse_if_none_match
from shop_api.http.request_state import request_state
from shop_api.kernel.errors import Forbidden, Unauthenticated
from shop_api.kernel.permissions import Authenticate, Caller, CallerLookup, Permission
from shop_api.kernel.versions import ExpectedVersions

# All of these are coroutines, also where nothing waits, since the framework runs others in threads. And each asks the
# request itself, since every step between two of them is paid for at every request.

bearer_token = OAuth2PasswordBearer(
    tokenUrl="auth", auto_error=False, description="Sign in with a username and a password, and leave the rest empty."
)
_BearerToken = Annotated[str | None, Depends(bearer_token)]


async def optional_caller(request: Request, token: _BearerToken) -> Caller | None:
    """The caller, or None if no token was sent. An invalid token still raises InvalidToken."""
    if token is None:
        return None
    authenticate: Authenticate = request.app.state.services.authenticate
    caller = await authenticate(token)
    request_state(request.scope).user_id = caller.id  # for the log
    return caller


OptionalCallerDep = Annotated[Caller | None, Depends(optional_caller)]
"""The caller, or None if no token was sent. An invalid token still raises InvalidToken."""


async def _caller_lookup(request: Request, token: _BearerToken) -> CallerLookup:
    return partial(optional_caller, request, token)


CallerLookupDep = Annotated[CallerLookup, Depends(_caller_lookup)]
"""Who asks, looked up only when it is asked for: most public reads are the same for everybody."""


async def _token(request: Request, token: _BearerToken) -> str:
    if token is None:
        raise Unauthenticated
    return token


TokenDep = Annotated[str, Depends(_token)]
"""The access token of a request that has to have one; it is not checked yet."""


async def _caller(caller: OptionalCallerDep) -> Caller:
    if caller is None:
        raise Unauthenticated
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
"""The caller: a signed-in user, as stored now."""


class Requirement:
    """A dependency that lets only callers with `permission` pass."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, caller: CallerDep) -> Caller:
        if not caller.may(self.permission):
            raise Forbidden("This needs an admin.")
        return caller


def Requires(permission: Permission) -> Any:  # noqa: N802  # reads as a part of the signature, like Depends
    """For the signature of a handler: `caller: Annotated[Caller, Requires(PRODUCTS_WRITE)]`."""
    return Depends(Requirement(permission))


async def _expected(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(
            max_length=1000,
            description='The `ETag` of the version to change, such as `"3"`; 412 if there is another by now.',
            json_schema_extra={"pattern": IF_MATCH_PATTERN},
        ),
    ] = None,
    if_none_match: Annotated[
        str | None,
        Header(
            max_length=1000,
            description="The opposite: 412 if one of these `ETag`s is current; with `*`, if there is one at all.",
            json_schema_extra={"pattern": IF_MATCH_PATTERN},
        ),
    ] = None,
) -> ExpectedVersions:
    headers = request.headers
    return ExpectedVersions(
        parse_if_match(joined(headers, "If-Match")), parse_if_none_match(joined(headers, "If-None-Match"))
    )


ExpectedVersionsDep = Annotated[ExpectedVersions, Depends(_expected)]
"""The versions that If-Match and If-None-Match allow the change to apply to."""


async def _new_id(request: Request) -> str:
    return request_state(request.scope).new_id or str(uuid7())


NewIdDep = Annotated[str, Depends(_new_id)]
"""Names what this request creates: with an `Idempotency-Key` the same each time it is tried, so that what an attempt
before has made is found."""


async def client_address(request: Request) -> str:
    """Return the client's address: the peer, or what a trusted proxy says of it; of IPv6 the /64 network."""
    host = request.client.host if request.client else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    # One household or server has a whole /64 of IPv6, and could take a new address for every attempt.
    return host if address.version == 4 else str(ip_network((address, 64), strict=False))


AddressDep = Annotated[str, Depends(client_address)]
"""Where the request comes from: the peer, or what a trusted proxy says of it; of IPv6 the /64 network."""


async def _request_id(request: Request) -> str:
    return request_state(request.scope).request_id


RequestIdDep = Annotated[str, Depends(_request_id)]
"""Names the request in the log."""


async def _audit_context(request: Request, caller: CallerDep) -> AuditContext:
    return AuditContext(caller.id, await client_address(request), request_state(request.scope).request_id)


AuditContextDep = Annotated[AuditContext, Depends(_audit_context)]
"""Who asks, and from where, for the audit log."""
