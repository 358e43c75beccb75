"""Models of sign-in, sessions, data export, e-mail verification and password reset."""

from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shop_api.audit.models import ActionOut, AuditEntry, State
from shop_api.features.users.models import NewPassword, UserOut
from shop_api.kernel.schema import Email, RequestBody, Schema, Timestamp
from shop_api.security.passwords import MAX_CODE_POINTS


class Credentials(RequestBody):
    """Sign-in credentials as JSON."""

    username: Annotated[str, Field(min_length=1, max_length=64, examples=["ada"])]
    password: Annotated[
        SecretStr, Field(min_length=1, max_length=MAX_CODE_POINTS, examples=["correct horse battery"])
    ]


class PasswordForm(BaseModel):
    """The OAuth2 password form (RFC 6749 §4.3.2). Unknown parameters are ignored, as §3.2 requires."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Literal["password"] = "password"  # the grant's name
    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[
        SecretStr, Field(min_length=1, max_length=MAX_CODE_POINTS, json_schema_extra={"format": "password"})
    ]


RefreshTokenText = Annotated[str, Field(min_length=1, max_length=200, description="The session's newest token.")]


class Refresh(RequestBody):
    """A refresh token to exchange, as JSON."""

    refresh_token: RefreshTokenText


class RefreshForm(BaseModel):
    """The OAuth2 refresh form (RFC 6749 §6). Unknown parameters are ignored, as §3.2 requires."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Literal["refresh_token"] = "refresh_token"  # the grant's name
    refresh_token: RefreshTokenText


class Tokens(Schema):
    """An access token and a refresh token (RFC 6749 §5.1)."""

    access_token: str
    """Send it as `Authorization: Bearer …`."""
    token_type: Literal["bearer"]
    expires_in: Annotated[int, Field(examples=[900])]
    """Seconds until the access token expires."""
    refresh_token: str
    """Valid once, for `POST /auth/refresh`, which returns the next one. Reusing it ends the session, except that the
    same client gets the same next one for ten seconds: two tabs may refresh at once."""


class PasswordChange(RequestBody):
    """A change of the caller's own password."""

    current_password: Annotated[
        SecretStr, Field(min_length=1, max_length=MAX_CODE_POINTS, examples=["correct horse battery"])
    ]
    new_password: NewPassword


class ClientInfo(NamedTuple):
    """The client that sent a request."""

    address: str
    """IP address; for IPv6 the /64 network."""
    user_agent: str | None


class Session(Schema):
    """A session as stored, with the hashes of its one unused refresh token and of the one before."""

    id: str
    user_id: str
    family_hash: Annotated[str, Field(repr=False)]
    secret_hash: Annotated[str, Field(repr=False)]
    previous_hash: Annotated[str | None, Field(repr=False)] = None
    address: str
    user_agent: str | None
    created_at: Timestamp
    last_used_at: Timestamp
    expires_at: Timestamp

    def was_rotated(self, before: str, client: ClientInfo, since: datetime) -> bool:
        """Return whether the same client exchanged the refresh token with hash `before` since then, and has not used
        its successor yet."""
        rotation = (self.previous_hash, self.address, self.user_agent)
        return rotation == (before, *client) and self.last_used_at >= since


class SessionOut(Schema):
    """One of the caller's sessions."""

    id: str
    current: bool
    """Whether this request belongs to the session."""
    address: str
    """IP address of the sign-in or the latest refresh; for IPv6 the /64 network."""
    user_agent: str | None
    """User agent of the sign-in or the latest refresh."""
    created_at: Timestamp
    last_used_at: Timestamp
    expires_at: Timestamp
    """When the session ends unless it is refreshed before."""

    @classmethod
    def of(cls, session: Session, current_id: str) -> "SessionOut":
        shown = session.model_dump(exclude={"user_id", "family_hash", "secret_hash", "previous_hash"})
        return cls(current=session.id == current_id, **shown)


class SessionList(Schema):
    """The caller's active sessions, newest first."""

    items: list[SessionOut]


class ExportedEntry(Schema):
    """An audit entry about the exported user's account or actions."""

    at: Timestamp
    action: ActionOut
    about_me: bool
    """Whether the change was made to this account."""
    by_me: bool
    """Whether this account made the change."""
    address: str | None
    """IP address of the request; null if another account made the change."""
    before: State
    after: State

    @classmethod
    def of(cls, entry: AuditEntry, user_id: str) -> "ExportedEntry":
        by_me = entry.actor_id == user_id
        return cls(
            at=entry.at,
            action=entry.action,
            about_me=entry.is_about_user(user_id),
            by_me=by_me,
            address=entry.address if by_me else None,  # another actor's address is their personal data
            before=entry.before,
            after=entry.after,
        )


class Export(Schema):
    """All data stored about a user (GDPR art. 15 and 20)."""

    exported_at: Timestamp
    user: UserOut
    sessions: list[SessionOut]
    audit: list[ExportedEntry]


_Token = Annotated[str, Field(min_length=1, max_length=200, description="The token from the e-mail.")]


class EmailToken(RequestBody):
    """The one-time token from a verification e-mail."""

    token: _Token


class ResetRequest(RequestBody):
    """A request for a password reset e-mail."""

    email: Email
    """A verified address."""


class PasswordReset(RequestBody):
    """A new password, authorised by a one-time token."""

    token: _Token
    new_password: NewPassword


class Accepted(Schema):
    """The request is accepted and processed asynchronously."""

    status: Literal["accepted"]
