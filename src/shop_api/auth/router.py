"""POST /register and POST /auth."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError

from shop_api import strict_json
from shop_api.auth.models import Credentials, PasswordForm, Tokens
from shop_api.dependencies import AddressDep, AuthServiceDep, OptionalUserDep, UserServiceDep
from shop_api.errors import (
    DuplicateUsername,
    FieldError,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    InvalidToken,
    RateLimited,
    UnsupportedMediaType,
)
from shop_api.etags import etag
from shop_api.idempotency.route import PARAMETER, CreatingRoute
from shop_api.openapi import LOCATION, PUBLIC, request_body
from shop_api.problems import BODY, KEYED, field_errors, problems
from shop_api.routing import FORM, JSON, media_type
from shop_api.tokens import LIFETIME
from shop_api.users.models import Registration, UserOut

router = APIRouter(tags=["Auth"], route_class=CreatingRoute)


@router.post(
    "/register",
    status_code=201,
    responses=problems(*BODY, *KEYED, InvalidToken, Forbidden, DuplicateUsername, RateLimited) | {201: LOCATION},
    openapi_extra=PUBLIC | PARAMETER,
)
async def register(
    given: Registration,
    caller: OptionalUserDep,
    address: AddressDep,
    auth: AuthServiceDep,
    users: UserServiceDep,
    response: Response,
) -> UserOut:
    """Adds an account. Anyone can add a user; only an admin another admin."""
    await auth.limit_registration(given.username, address)
    user = await users.register(given, caller)
    response.headers["Location"] = f"/users/{user.username}"
    response.headers["ETag"] = etag(user.version)
    response.headers["Cache-Control"] = "no-store"
    return UserOut.of(user)


async def _credentials(request: Request) -> Credentials | PasswordForm:
    """The sign-in in the body, in either form."""
    kind, body = media_type(request), await request.body()
    try:
        if kind == JSON:
            return Credentials.model_validate(strict_json.loads(body))
        if kind == FORM:
            return PasswordForm.model_validate(_form(body))
    except ValidationError as error:
        raise InvalidRequest(field_errors(error.errors(), "body")) from None
    raise UnsupportedMediaType([JSON, FORM])


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise InvalidRequest([FieldError(("body",), "malformed_form", "Not a form in UTF-8")]) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):  # RFC 6749 §3.2: parameters must not be included more than once
        raise InvalidRequest([FieldError(("body",), "repeated_parameter", "Give each parameter once")])
    return fields


@router.post(
    "/auth",
    responses=problems(*BODY, InvalidCredentials, RateLimited),
    openapi_extra=request_body({JSON: Credentials, FORM: PasswordForm}),
)
async def sign_in(
    given: Annotated[Credentials | PasswordForm, Depends(_credentials)],
    address: AddressDep,
    auth: AuthServiceDep,
    response: Response,
) -> Tokens:
    """Signs in with a username and a password, as JSON or as the OAuth2 password form (RFC 6749 §4.3)."""
    token = await auth.sign_in(given.username, given.password.get_secret_value(), address)
    response.headers["Cache-Control"] = "no-store"
    return Tokens(access_token=token, token_type="bearer", expires_in=int(LIFETIME.total_seconds()))  # noqa: S106
