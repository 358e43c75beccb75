"""The `…Dep` names by which routers ask for what they need: who asks, from where, and which service."""

from functools import partial
from ipaddress import ip_address, ip_network
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from fastapi.security import OAuth2PasswordBearer
from uuid_utils import uuid7

from shop_api.audit.models import Origin
from shop_api.container import Shop
from shop_api.features.auth.email_service import EmailService
from shop_api.features.auth.models import Device
from shop_api.features.auth.service import AuthService
from shop_api.features.products.service import ProductService
from shop_api.features.users.models import User, Visitor
from shop_api.features.users.service import UserService
from shop_api.http.etags import IF_MATCH_PATTERN, Expected, parse_if_match
from shop_api.http.request_state import request_state
from shop_api.kernel.errors import Forbidden, Unauthenticated

# All of these are coroutines, also where nothing waits, since the framework runs others in threads. And each asks the
# request itself, since every step between two of them is paid for at every request.


async def _shop(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


ShopDep = Annotated[Shop, Depends(_shop)]


async def _auth(request: Request) -> AuthService:
    return (await _shop(request)).auth


async def _users(request: Request) -> UserService:
    return (await _shop(request)).users


async def _products(request: Request) -> ProductService:
    return (await _shop(request)).products


async def _email(request: Request) -> EmailService:
    return (await _shop(request)).email


AuthServiceDep = Annotated[AuthService, Depends(_auth)]
UserServiceDep = Annotated[UserService, Depends(_users)]
EmailServiceDep = Annotated[EmailService, Depends(_email)]
ProductServiceDep = Annotated[ProductService, Depends(_products)]

bearer_token = OAuth2PasswordBearer(
    tokenUrl="auth", auto_error=False, description="Sign in with a username and a password, and leave the rest empty."
)


async def _optional_user(request: Request, token: Annotated[str | None, Depends(bearer_token)]) -> User | None:
    if token is None:
        return None
    user = await (await _auth(request)).user_of(token)
    request_state(request.scope).user_id = user.id  # for the log
    return user


OptionalUserDep = Annotated[User | None, Depends(_optional_user)]
"""Who asks, None without a token; a token that is not valid is refused all the same."""


async def _visitor(request: Request, token: Annotated[str | None, Depends(bearer_token)]) -> Visitor:
    return partial(_optional_user, request, token)


async def _token(request: Request, token: Annotated[str | None, Depends(bearer_token)]) -> str:
    if token is None:
        raise Unauthenticated
    return token


TokenDep = Annotated[str, Depends(_token)]
"""The access token of a request that has to have one; it is not checked yet."""


VisitorDep = Annotated[Visitor, Depends(_visitor)]
"""Who asks, looked up only when it is asked for: most public reads are the same for everybody."""


async def _current_user(user: OptionalUserDep) -> User:
    if user is None:
        raise Unauthenticated
    return user


CurrentUserDep = Annotated[User, Depends(_current_user)]
"""Who asks: a signed-in user, as stored now."""


async def _admin(user: CurrentUserDep) -> User:
    if not user.is_admin:
        raise Forbidden("This needs an admin.")
    return user


AdminDep = Annotated[User, Depends(_admin)]
"""Who asks: an admin, as stored now."""


async def _addressed_user(
    username: Annotated[
        str,
        Path(
            description="A username, or `me`.",
            pattern="^([A-Za-z0-9][A-Za-z0-9._-]{1,30}[A-Za-z0-9]|me)$",
            examples=["ada"],
        ),
    ],
    caller: CurrentUserDep,
    users: UserServiceDep,
) -> User:
    name = username.lower()
    if name in ("me", caller.username):
        return caller
    if not caller.is_admin:  # before looking, so that the answer does not tell who exists
        raise Forbidden("Only an admin can see other users.")
    return await users.get(name)


AddressedUserDep = Annotated[User, Depends(_addressed_user)]
"""The user that the path names, if the caller may see that one."""


async def _expected(
    if_match: Annotated[
        str | None,
        Header(
            max_length=1000,
            description='The `ETag` of the version to change, such as `"3"`; 412 if there is another by now.',
            json_schema_extra={"pattern": IF_MATCH_PATTERN},
        ),
    ] = None,
) -> Expected:
    return parse_if_match(if_match)


ExpectedDep = Annotated[Expected, Depends(_expected)]
"""The versions that If-Match allows the change to apply to."""


async def _creation(request: Request) -> str:
    return request_state(request.scope).creation or str(uuid7())


CreationDep = Annotated[str, Depends(_creation)]
"""Names what this request creates: with an `Idempotency-Key` the same each time it is tried, so that what an attempt
before has made is found."""


async def _address(request: Request) -> str:
    host = request.client.host if request.client else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    # One household or server has a whole /64 of IPv6, and could take a new address for every attempt.
    return host if address.version == 4 else str(ip_network((address, 64), strict=False))


AddressDep = Annotated[str, Depends(_address)]
"""Where the request comes from: the peer, or what a trusted proxy says of it; of IPv6 the /64 network."""


_LONGEST_USER_AGENT = 500


async def _device(request: Request) -> Device:
    user_agent = request.headers.get("user-agent")
    return Device(await _address(request), user_agent[:_LONGEST_USER_AGENT] if user_agent else None)


DeviceDep = Annotated[Device, Depends(_device)]
"""Where the request comes from, for the list of sign-ins."""


async def _origin(request: Request, user: CurrentUserDep) -> Origin:
    return Origin(user.id, await _address(request), request_state(request.scope).request_id)


OriginDep = Annotated[Origin, Depends(_origin)]
"""Who asks, and from where, for the audit log."""
