"""What a sign-in takes and gives."""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shop_api.audit.models import ActionOut, AuditEntry, State
from shop_api.features.users.models import NewPassword, UserOut
from shop_api.kernel.schema import Email, RequestBody, Schema, Timestamp
from shop_api.security.passwords import MAX_CODE_POINTS


class Credentials(RequestBody):
    """A sign-in with JSON."""

    username: Annotated[str, Field(min_length=1, max_length=64, examples=["ada"])]
    password: Annotated[
        SecretStr, Field(min_length=1, max_length=MAX_CODE_POINTS, examples=["correct horse battery"])
    ]


class PasswordForm(BaseModel):
    """A sign-in with the OAuth2 password form (RFC 6749 §4.3.2); unknown parameters are ignored, as §3.2 asks."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Literal["password"] = "password"  # the grant's name
    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[
        SecretStr, Field(min_length=1, max_length=MAX_CODE_POINTS, json_schema_extra={"format": "password"})
    ]


RefreshTokenText = Annotated[str, Field(min_length=1, max_length=200, description="The newest one of the session.")]


class Refresh(RequestBody):
    """A refresh token to spend, as JSON."""

    refresh_token: RefreshTokenText


class RefreshForm(BaseModel):
    """The OAuth2 refresh form (RFC 6749 §6); unknown parameters are ignored, as §3.2 asks."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Literal["refresh_token"] = "refresh_token"  # the grant's name
    refresh_token: RefreshTokenText


class Tokens(Schema):
    """What a sign-in gives (RFC 6749 §5.1)."""

    access_token: str
    """Send it as `Authorization: Bearer …`."""
    token_type: Literal["bearer"]
    expires_in: Annotated[int, Field(examples=[900])]
    """Seconds until the access token expires."""
    refresh_token: str
    """For `POST /auth/refresh`, once: each answer has the next one, and a spent one ends the session."""


class PasswordChange(RequestBody):
    """One's own new password."""

    current_password: Annotated[
        SecretStr, Field(min_length=1, max_length=MAX_CODE_POINTS, examples=["correct horse battery"])
    ]
    new_password: NewPassword


class ClientInfo(NamedTuple):
    """What a request tells of where it comes from."""

    address: str
    """Of IPv6 the /64 network."""
    user_agent: str | None


class Session(Schema):
    """A sign-in as stored, with hashes of its one unspent refresh token."""

    id: str
    user_id: str
    family_hash: Annotated[str, Field(repr=False)]
    secret_hash: Annotated[str, Field(repr=False)]
    address: str
    user_agent: str | None
    created_at: Timestamp
    last_used_at: Timestamp
    expires_at: Timestamp


class SessionOut(Schema):
    """A sign-in of one's own."""

    id: str
    current: bool
    """Whether this request belongs to it."""
    address: str
    """Where it was last used: at the sign-in or at a refresh. Of IPv6 the /64 network."""
    user_agent: str | None
    """As sent there."""
    created_at: Timestamp
    last_used_at: Timestamp
    expires_at: Timestamp
    """When it ends unless it is used before."""

    @classmethod
    def of(cls, session: Session, current_id: str) -> "SessionOut":
        shown = session.model_dump(exclude={"user_id", "family_hash", "secret_hash"})
        return cls(current=session.id == current_id, **shown)


class SessionList(Schema):
    """All sign-ins of one's own that are in force, the newest first."""

    items: list[SessionOut]


class ExportedEntry(Schema):
    """What the audit log tells about oneself."""

    at: Timestamp
    action: ActionOut
    about_me: bool
    """Whether it was done to this account."""
    by_me: bool
    """Whether it was done by this account."""
    address: str | None
    """Where one's own request came from."""
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
            address=entry.address if by_me else None,  # somebody else's is theirs
            before=entry.before,
            after=entry.after,
        )


class Export(Schema):
    """Everything that is stored about a user (GDPR art. 15 and 20)."""

    exported_at: Timestamp
    user: UserOut
    sessions: list[SessionOut]
    audit: list[ExportedEntry]


_Token = Annotated[str, Field(min_length=1, max_length=200, description="The token from the mail.")]


class EmailToken(RequestBody):
    """What was sent to an address, given back."""

    token: _Token


class ResetRequest(RequestBody):
    """Whose password is forgotten."""

    email: Email
    """A verified address."""


class PasswordReset(RequestBody):
    """A new password, without the old one."""

    token: _Token
    new_password: NewPassword


class Accepted(Schema):
    """It will be done, if there is anything to do."""

    status: Literal["accepted"]
