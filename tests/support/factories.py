"""Things to test with: valid unless a test says otherwise."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from passlib.context import CryptContext
from pydantic import BaseModel
from uuid_utils import uuid7

from shop_api.features.users.models import Role, User
from shop_api.kernel.clock import utc_now
from shop_api.kernel.versions import first_version

TEST_SECRET = "0123456789abcdef-a-secret-for-tests-only"
PASSWORD = "correct horse battery"


@cache
def password_hash() -> str:
    """Of PASSWORD; made once, since it is slow on purpose."""
    return CryptContext(["argon2"], argon2__memory_cost=47104, argon2__time_cost=1, argon2__parallelism=1).hash(
        PASSWORD
    )


def a_user(username: str = "ada", role: Role = "user", **overrides: Any) -> User:
    now, user_id = utc_now(), str(uuid7())
    fields: dict[str, Any] = {
        "id": user_id,
        "username": username,
        "password_hash": password_hash(),
        "role": role,
        "disabled": False,
        "email": None,
        "full_name": None,
        "sessions": [f"of-{user_id}"],
        "version": 1,
        "created_at": now,
        "updated_at": now,
    }
    return User(**{**fields, **overrides})


def a_session(user: User) -> dict[str, Any]:
    """The document of the first session of `user`, which has just begun."""
    now = utc_now()
    hashes = {"family_hash": "", "secret_hash": ""}
    client = {"address": "127.0.0.1", "user_agent": None}
    times = {"created_at": now, "last_used_at": now, "expires_at": now + timedelta(days=30)}
    return {"_id": user.sessions[0], "user_id": user.id, **hashes, **client, **times}


def changes(resource: Mapping[str, Any] | BaseModel) -> int:
    """How often a product or user has changed since it was made, by its version."""
    fields = resource if isinstance(resource, Mapping) else resource.model_dump()
    created_at = fields["created_at"]
    if isinstance(created_at, str):
        created_at = datetime.fromisoformat(created_at)
    return int(fields["version"] - first_version(created_at))


def a_product(**overrides: Any) -> dict[str, Any]:
    """The body of POST /products."""
    fields: dict[str, Any] = {
        "product_id": "tea-assam-250",
        "name": "Assam tea, 250 g",
        "description": "Strong and malty.",
        "price": {"amount": 2500, "currency": "INR"},
        "stock": 40,
        "category": "tea",
        "brand": "Brew & Co",
        "tags": ["black-tea", "loose-leaf"],
        "images": ["https://images.example/tea-assam.jpg"],
        "attributes": {"weight_g": 250, "organic": True},
        "status": "active",
    }
    return {**fields, **overrides}
