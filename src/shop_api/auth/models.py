"""What a sign-in takes and gives."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shop_api.schema import Schema


class Credentials(Schema):
    """A sign-in with JSON."""

    username: Annotated[str, Field(min_length=1, max_length=64, examples=["ada"])]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1000, examples=["correct horse battery"])]


class PasswordForm(BaseModel):
    """A sign-in with the OAuth2 password form (RFC 6749 §4.3.2); unknown parameters are ignored, as §3.2 asks."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Literal["password"] = "password"  # the grant's name
    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1000, json_schema_extra={"format": "password"})]


class Tokens(Schema):
    """What a sign-in gives (RFC 6749 §5.1)."""

    access_token: str
    """Send it as `Authorization: Bearer …`."""
    token_type: Literal["bearer"]
    expires_in: Annotated[int, Field(examples=[900])]
    """Seconds until the access token expires."""
