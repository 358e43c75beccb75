"""The caller's own account: data export, password and sessions. Operations that end the current session come last,
so that the examples in the OpenAPI document work from top to bottom."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from shop_api.features.auth.dependencies import AuthServiceDep, CurrentUserDep, EmailServiceDep, ExportServiceDep
from shop_api.features.auth.errors import NoEmail, SessionNotFound
from shop_api.features.auth.models import Accepted, Export, PasswordChange, SessionList, SessionOut
from shop_api.features.users.service import WrongPassword
from shop_api.http.dependencies import AuditContextDep, CallerDep, TokenDep
from shop_api.http.problems import BODY, SIGNED_IN, problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.errors import RateLimited

router = APIRouter(tags=["Account"], route_class=StrictRoute)


@router.get("/users/me/export", response_model=Export, responses=problems(*SIGNED_IN))
async def export_user(user: CurrentUserDep, caller: CallerDep, exports: ExportServiceDep) -> Response:
    """Return all data stored about the caller, except hashes of secrets."""
    pieces = exports.stream(user, caller.session_id)
    # Before the response starts, so that a database that does not answer is a problem, not a closed connection.
    first = await anext(pieces)
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(_continued(first, pieces), headers=headers, media_type="application/json")


async def _continued(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for piece in rest:
        yield piece


@router.post("/users/me/email/verification", status_code=202, responses=problems(*SIGNED_IN, NoEmail, RateLimited))
async def request_verification(user: CurrentUserDep, email: EmailServiceDep) -> Accepted:
    """Send a verification token to the caller's e-mail address. Does nothing if the address is already verified.
    To try it, give your account an address."""
    await email.ask_verification(user)
    return Accepted(status="accepted")


@router.put("/users/me/password", status_code=204, responses=problems(*SIGNED_IN, *BODY, WrongPassword, RateLimited))
async def change_password(
    body: PasswordChange,
    user: CurrentUserDep,
    token: TokenDep,
    context: AuditContextDep,
    auth: AuthServiceDep,
) -> None:
    """Change the caller's password and end all their other sessions. To try it, fill in your password."""
    current, new = body.current_password, body.new_password.get_secret_value()
    await auth.change_password(user, auth.session_of(token), current, new, context)


@router.get("/users/me/sessions", responses=problems(*SIGNED_IN))
async def list_sessions(
    user: CurrentUserDep, token: TokenDep, auth: AuthServiceDep, response: Response
) -> SessionList:
    """List the caller's active sessions: time of sign-in, and time, address and user agent of last use."""
    response.headers["Cache-Control"] = "no-store"
    current = auth.session_of(token)
    return SessionList(items=[SessionOut.of(session, current) for session in await auth.sessions(user)])


@router.delete("/users/me/sessions", status_code=204, responses=problems(*SIGNED_IN))
async def end_all_sessions(caller: CallerDep, auth: AuthServiceDep) -> None:
    """End all of the caller's sessions, including the current one."""
    await auth.end_sessions(caller)


@router.delete("/users/me/sessions/{session_id}", status_code=204, responses=problems(*SIGNED_IN, SessionNotFound))
async def end_session(
    session_id: Annotated[str, Path(description="A session id from `GET /users/me/sessions`.")],
    caller: CallerDep,
    auth: AuthServiceDep,
) -> None:
    """End one of the caller's sessions immediately. To try it, fill in the id of a session."""
    await auth.end_session(caller, session_id)


@router.post("/auth/logout", status_code=204, responses=problems(*SIGNED_IN))
async def sign_out(token: TokenDep, auth: AuthServiceDep) -> None:
    """End the current session and its refresh token immediately. Succeeds if the session has already ended."""
    await auth.sign_out(token)
