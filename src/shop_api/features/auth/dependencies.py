"""Dependencies of the auth routers."""

from typing import Annotated

from fastapi import Depends, Request

from shop_api.audit.models import AuditContext
from shop_api.features.auth.email_service import EmailService
from shop_api.features.auth.export import ExportService
from shop_api.features.auth.models import ClientInfo
from shop_api.features.auth.service import AuthService
from shop_api.features.users.models import User, account_of
from shop_api.http.dependencies import (
    AddressDep,
    AttemptDep,
    CallerDep,
    OptionalCallerDep,
    RequestIdDep,
    client_address,
)
from shop_api.security.signing_keys.store import SigningKeyStore

_MAX_USER_AGENT_LENGTH = 500


async def _auth(request: Request) -> AuthService:
    auth: AuthService = request.app.state.services.auth
    return auth


async def _email(request: Request) -> EmailService:
    email: EmailService = request.app.state.services.email
    return email


async def _exports(request: Request) -> ExportService:
    exports: ExportService = request.app.state.services.exports
    return exports


async def _signing_keys(request: Request) -> SigningKeyStore | None:
    folder: SigningKeyStore | None = request.app.state.services.signing_keys
    return folder


ExportServiceDep = Annotated[ExportService, Depends(_exports)]
SigningKeysDep = Annotated[SigningKeyStore | None, Depends(_signing_keys)]
AuthServiceDep = Annotated[AuthService, Depends(_auth)]
EmailServiceDep = Annotated[EmailService, Depends(_email)]


async def _current_user(caller: CallerDep) -> User:
    return account_of(caller)


CurrentUserDep = Annotated[User, Depends(_current_user)]
"""The caller's account as currently stored."""


async def _client_info(request: Request) -> ClientInfo:
    user_agent = request.headers.get("user-agent")
    return ClientInfo(await client_address(request), user_agent[:_MAX_USER_AGENT_LENGTH] if user_agent else None)


ClientInfoDep = Annotated[ClientInfo, Depends(_client_info)]
"""The client's address and user agent, for the list of sessions."""


async def _registration_context(
    caller: OptionalCallerDep, attempt: AttemptDep, address: AddressDep, request_id: RequestIdDep
) -> AuditContext:
    return AuditContext(caller.id if caller else attempt.new_id, address, request_id, caller)


RegistrationContextDep = Annotated[AuditContext, Depends(_registration_context)]
"""The audit context of a registration. The actor is the caller, or the new user if no token was sent."""
