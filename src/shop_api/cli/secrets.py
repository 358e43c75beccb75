"""`shop-api secrets`: generates the secrets of docker-compose.yml before anything else starts."""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from shop_api.cli.admin import shown_mark
from shop_api.cli.terminal import fail, say
from shop_api.kernel.files import write_private
from shop_api.settings import PREFIX, Settings

_MADE = ("jwt_secret", "backup_key", "mongo_password", "mongo_key", "redis_password", "admin_password")
# Also written to configuration files of the engines, which differ in their quoting rules.
_OF_ENGINES = ("mongo_password", "mongo_key", "redis_password")
_PLAIN = re.compile(r"[!#-&(-\[\]-~]+")

Form = Annotated[str, typer.Option(help="Template of the URL with {mongo_password} or {redis_password}.")]


def make_secrets(
    folder: Annotated[Path, typer.Argument(help="Existing folder for the secret files.")],
    admin_folder: Annotated[Path, typer.Argument(help="Folder for admin_password, which instances change.")],
    mongo_url: Form,
    redis_url: Form,
    redis_guards_url: Form,
) -> None:
    """Generate the missing secrets, one file each, and the URLs that contain the passwords.

    These environment variables override stored values: SHOP_JWT_SECRET, SHOP_BACKUP_KEY, SHOP_ADMIN_PASSWORD,
    SHOP_MONGO_URL, SHOP_REDIS_URL, SHOP_REDIS_GUARDS_URL, MONGO_PASSWORD, MONGO_KEY, REDIS_PASSWORD.
    """
    forms = {"mongo_url": mongo_url, "redis_url": redis_url, "redis_guards_url": redis_guards_url}
    files = {name: folder / name for name in (*_MADE, *forms)}
    files["admin_password"] = admin_folder / "admin_password"
    try:
        made = list(_make(files, forms))
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}")
    say(f"made secrets: {', '.join(made)}" if made else "all secrets are there already")
    if not _given("admin_password") and not shown_mark(files["admin_password"]).exists():
        say("for the first admin's sign-in, once: docker compose exec api1 shop-api admin first-password")


def _make(files: dict[str, Path], forms: dict[str, str]) -> Iterator[str]:
    """Yield the names of the files that are new or changed."""
    values = {name: _given(name) or _stored(files[name]) or _new(name) for name in _MADE}
    urls = {name: _given(name) or _filled(form, values) for name, form in forms.items()}
    for name, value in (values | urls).items():
        if value != _stored(files[name]):
            write_private(files[name], value.encode())
            yield name


def _given(name: str) -> str:
    variable = (PREFIX if name in Settings.model_fields else "") + name.upper()
    value = os.environ.get(variable, "")
    if value and name in _OF_ENGINES and not _PLAIN.fullmatch(value):
        fail(f"{variable}: only ASCII without spaces, quotes and backslashes can be used")
    return value


def _stored(file: Path) -> str:
    return file.read_text("utf-8") if file.exists() else ""


def _new(name: str) -> str:
    return secrets.token_urlsafe(16) if name == "admin_password" else secrets.token_hex(32)  # the former is typed


def _filled(form: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        form = form.replace(f"{{{name}}}", quote(value, safe=""))
    return form
