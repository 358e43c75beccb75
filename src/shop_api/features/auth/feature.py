"""Registration, sign-in, sessions and the caller's own account."""

from shop_api.features.auth.account_router import router as account_router
from shop_api.features.auth.email_router import router as email_router
from shop_api.features.auth.invariants import SESSIONS_HAVE_USERS
from shop_api.features.auth.jwks_router import router as jwks_router
from shop_api.features.auth.models import Credentials, PasswordForm, Refresh, RefreshForm
from shop_api.features.auth.one_time_tokens import ONE_TIME_TOKENS
from shop_api.features.auth.repository import SESSIONS
from shop_api.features.auth.router import router
from shop_api.features.feature import Feature, Tag

feature = Feature(
    name="auth",
    routers=(router, account_router, email_router, jwks_router),
    tags=(
        Tag("Auth", "Registration, sign-in, e-mail verification and password reset."),
        Tag("Account", "The caller's own account: data export, password and sessions."),
    ),
    models=(Credentials, PasswordForm, Refresh, RefreshForm),
    collections=(SESSIONS, ONE_TIME_TOKENS),
    invariants=(SESSIONS_HAVE_USERS,),
)
