"""E-mail verification and password reset."""

from fastapi import APIRouter

from shop_api.features.auth.dependencies import EmailServiceDep
from shop_api.features.auth.errors import InvalidOneTimeToken
from shop_api.features.auth.models import Accepted, EmailToken, PasswordReset, ResetRequest
from shop_api.http.dependencies import AddressDep, RequestIdDep
from shop_api.http.problems import BODY, problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.errors import RateLimited

router = APIRouter(tags=["Auth"], route_class=StrictRoute)

_ANSWER = Accepted(status="accepted")


@router.post("/auth/email/verification", status_code=204, responses=problems(*BODY, InvalidOneTimeToken, RateLimited))
async def verify_email(
    body: EmailToken, address: AddressDep, email: EmailServiceDep, request_id: RequestIdDep
) -> None:
    """Verify the e-mail address that the token was sent to. To try it, fill in the token from the e-mail."""
    await email.verify(body.token, address, request_id)


@router.post("/auth/password/reset", status_code=202, responses=problems(*BODY, RateLimited))
async def request_password_reset(body: ResetRequest, address: AddressDep, email: EmailServiceDep) -> Accepted:
    """Send a password reset token to a verified e-mail address. The response is the same if no user has it."""
    await email.ask_reset(body.email, address)
    return _ANSWER


@router.post(
    "/auth/password/reset/confirm", status_code=204, responses=problems(*BODY, InvalidOneTimeToken, RateLimited)
)
async def reset_password(
    body: PasswordReset, address: AddressDep, email: EmailServiceDep, request_id: RequestIdDep
) -> None:
    """Set a new password and end all sessions. To try it, fill in the token from the e-mail."""
    await email.reset(body.token, body.new_password.get_secret_value(), address, request_id)
