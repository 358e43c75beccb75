"""/register, /auth and /auth/refresh: registration, sign-in and refresh token rotation."""

from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ValidationError

from shop_api.features.auth.dependencies import AuthServiceDep, ClientInfoDep, RegistrationContextDep
from shop_api.features.auth.errors import InvalidCredentials, InvalidRefreshToken
from shop_api.features.auth.models import Credentials, PasswordForm, Refresh, RefreshForm, Tokens
from shop_api.features.users.models import Registration, UserOut
from shop_api.features.users.service import DuplicateUsername
from shop_api.http import strict_json
from shop_api.http.dependencies import AttemptDep, OptionalCallerDep
from shop_api.http.etags import etag
from shop_api.http.idempotency.errors import KEYED
from shop_api.http.idempotency.route import PARAMETER, CreatingRoute
from shop_api.http.openapi import LOCATION, PUBLIC, request_body
from shop_api.http.problems import BODY, field_errors, problems
from shop_api.http.routing import FORM, JSON, media_type
from shop_api.kernel.errors import (
    FieldError,
    Forbidden,
    InvalidRequest,
    InvalidToken,
    RateLimited,
    UnsupportedMediaType,
)

router = APIRouter(tags=["Auth"], route_class=CreatingRoute)
AsJson = TypeVar("AsJson", bound=BaseModel)
AsForm = TypeVar("AsForm", bound=BaseModel)


@router.post(
    "/register",
    status_code=201,
    responses=problems(*BODY, *KEYED, InvalidToken, Forbidden, DuplicateUsername, RateLimited) | {201: LOCATION},
    openapi_extra=PUBLIC | PARAMETER,
)
async def register(
    body: Registration,
    caller: OptionalCallerDep,
    context: RegistrationContextDep,
    attempt: AttemptDep,
    auth: AuthServiceDep,
    response: Response,
) -> UserOut:
    """Register a user. Anyone can register a user; only an admin can register an admin."""
    user = await auth.register(body, caller, context, attempt)
    response.headers["Location"] = f"/users/{user.username}"
    response.headers["ETag"] = etag(user.version)
    response.headers["Cache-Control"] = "no-store"
    return UserOut.of(user)


async def _credentials(request: Request) -> Credentials | PasswordForm:
    return await _either(request, Credentials, PasswordForm)


async def _refresh(request: Request) -> Refresh | RefreshForm:
    return await _either(request, Refresh, RefreshForm)


async def _either(request: Request, as_json: type[AsJson], as_form: type[AsForm]) -> AsJson | AsForm:
    """Parse the body as JSON or as an OAuth2 form, by its media type."""
    kind, body = media_type(request), await request.body()
    try:
        if kind == JSON:
            return as_json.model_validate(strict_json.loads(body))
        if kind == FORM:
            return as_form.model_validate(_form(body))
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
    body: Annotated[Credentials | PasswordForm, Depends(_credentials)],
    client: ClientInfoDep,
    auth: AuthServiceDep,
    response: Response,
) -> Tokens:
    """Sign in with username and password, as JSON or as the OAuth2 password form (RFC 6749 §4.3)."""
    response.headers["Cache-Control"] = "no-store"
    return await auth.sign_in(body.username, body.password.get_secret_value(), client)


@router.post(
    "/auth/refresh",
    responses=problems(*BODY, InvalidRefreshToken),
    openapi_extra=request_body({JSON: Refresh, FORM: RefreshForm}),
)
async def refresh_session(
    body: Annotated[Refresh | RefreshForm, Depends(_refresh)],
    client: ClientInfoDep,
    auth: AuthServiceDep,
    response: Response,
) -> Tokens:
    """Exchange a refresh token, valid once, for new tokens, as JSON or as the OAuth2 form (RFC 6749 §6). To try it,
    fill in the `refresh_token` of a sign-in."""
    response.headers["Cache-Control"] = "no-store"
    return await auth.refresh(body.refresh_token, client)
