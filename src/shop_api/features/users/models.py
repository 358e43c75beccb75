"""User models: request, stored document and response. Only the stored `User` holds the password hash."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

from shop_api.kernel.messages import allowed
from shop_api.kernel.pagination import CursorText, IncludeTotal, Limit, Page
from shop_api.kernel.permissions import Caller, Role
from shop_api.kernel.schema import Email, Line, Patch, RequestBody, Schema, Timestamp, Version, with_example
from shop_api.security.passwords import MAX_CODE_POINTS, MAX_LENGTH, MIN_LENGTH, normalised

NAMES = "A username has 3 to 32 letters a to z, digits and . _ -, and a letter or digit at both ends"
# `me` is too short to be a username, so /users/me is never the path of another user.
Username = Annotated[
    str,
    StringConstraints(max_length=32, pattern=allowed(r"^[A-Za-z0-9][A-Za-z0-9._-]{1,30}[A-Za-z0-9]$", NAMES)),
    AfterValidator(str.lower),
    Field(description="3 to 32 of `a-z 0-9 . _ -`; folded to lower case.", examples=["ada"]),
]


def _of_good_length(password: SecretStr) -> SecretStr:
    # Measured after normalisation, as it is hashed: in some Unicode forms one character is many code points.
    if (
        len(password) > MAX_CODE_POINTS
        or not MIN_LENGTH <= len(normalised(password.get_secret_value())) <= MAX_LENGTH
    ):
        raise PydanticCustomError("password_length", "A password has 8 to 128 characters")
    return password


NewPassword = Annotated[
    SecretStr,
    AfterValidator(_of_good_length),
    Field(
        json_schema_extra={"minLength": MIN_LENGTH, "maxLength": MAX_LENGTH, "pattern": r"^[^\x00]*$"},
        description="8 to 128 characters of any kind; not a common password and not the username.",
        examples=["correct horse battery"],
    ),
]


class Registration(RequestBody):
    """A new account."""

    username: Username
    password: NewPassword
    email: Email | None = None
    full_name: Line | None = None
    role: Role = "user"
    """`admin` requires an admin's access token."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"username": "ada", "password": "correct horse battery"}]}  # nosec B105
    )


class UserPatch(Patch):
    """Changes to a user, as a JSON Merge Patch (RFC 7396): absent members stay, null removes a value."""

    email: Email | None = None
    full_name: Line | None = None
    role: Role = "user"
    disabled: bool = False
    current_password: Annotated[SecretStr | None, Field(min_length=1, max_length=MAX_CODE_POINTS)] = None
    """Required to change `email`. Password resets go to that address, so a stolen access token must not suffice."""

    model_config = ConfigDict(json_schema_extra=with_example({"role": "admin"}))

    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True, exclude={"current_password"})


class User(Schema):
    """A user as stored."""

    id: str
    username: str
    password_hash: Annotated[str, Field(repr=False)]
    role: Role
    disabled: bool
    email: str | None
    email_verified: bool = False
    full_name: str | None
    sessions: list[str] = []
    """The ids of the active sessions, oldest first. A session whose id is not listed has ended."""
    version: Version
    created_at: Timestamp
    updated_at: Timestamp


def account_of(caller: Caller) -> User:
    """Return the caller's account. Authentication has already read it, so this sends no query."""
    if not isinstance(caller.account, User):
        raise TypeError(f"not an account: {type(caller.account).__name__}")
    return caller.account


class UserOut(Schema):
    """A user."""

    id: str
    """Never changes and is never reused. A username can be taken again after its user is deleted."""
    username: str
    role: Role
    disabled: bool
    email: str | None
    email_verified: bool
    """Whether the user has proved, with a token sent to this address, that they receive its mail."""
    full_name: str | None
    version: Version
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, user: User) -> "UserOut":
        return cls.model_construct(**user.model_dump(exclude={"password_hash", "sessions"}))


class UserPage(Page[UserOut]):
    """A page of users in the requested order."""


UserSort = Literal["newest", "username", "-username"]


class UserQuery(BaseModel):
    """Filters, sort order and page of a list of users."""

    model_config = ConfigDict(extra="forbid")

    q: Annotated[str | None, Field(max_length=32, description="A prefix of the username.")] = None
    role: Role | None = None
    disabled: bool | None = None
    sort: UserSort = "newest"
    limit: Limit = 20
    cursor: CursorText | None = None
    include_total: IncludeTotal = False
