"""`shop-api admin …`: admin accounts."""

import asyncio
import secrets
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr, ValidationError

from shop_api.cli.operator import operator
from shop_api.cli.terminal import engines, fail, say, settings_or_exit
from shop_api.kernel import messages
from shop_api.kernel.errors import ShopError
from shop_api.kernel.files import write_private
from shop_api.settings import PREFIX, Settings
from shop_api.settings.secret_files import named_file

_PASSWORD = f"{PREFIX}ADMIN_PASSWORD"

admin = typer.Typer(no_args_is_help=True, help="Manage admins.")


@admin.command("create")
def create_admin(
    username: Annotated[str, typer.Argument(help="3 to 32 of a-z 0-9 . _ -")],
    password: Annotated[
        str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="Prompted for if absent.")
    ],
) -> None:
    """Create an admin. Can run while the service is running."""
    with engines(settings_or_exit(), join=True) as settings:
        made = _in_loop(add_admin(settings, username, password))
    if not made:
        fail(f"there is a user {username} already")
    say(f"made the admin {username.lower()}")


@admin.command("first-password")
def first_password() -> None:
    """Show the first admin's password once, and remove it from the file that SHOP_ADMIN_PASSWORD_FILE names."""
    file = named_file(_PASSWORD)
    if file is None:
        fail(f"{_PASSWORD}_FILE is not set, so no password was made for the first admin that could be shown")
    if shown_mark(file).exists():
        _fail_as_shown()
    with engines(settings_or_exit(), join=True) as settings:
        username, password = settings.admin_username, settings.admin_password
        if not username or not password:
            fail(f"{PREFIX}ADMIN_USERNAME is not set")
        if not _in_loop(_make_sure(settings, username, password)):
            fail(f"the user {username} has another password by now; if it is lost: shop-api admin create NAME")
    _consume(file)
    typer.echo(f"username: {username}\npassword: {password.get_secret_value()}")
    say("shown only this once; PUT /users/me/password changes it")


def shown_mark(file: Path) -> Path:
    """Return the marker file that exists once the first admin's password was shown."""
    return file.with_name(f"{file.name}.shown")


def _consume(file: Path) -> None:
    """Replace the password in the file with an unused one. Exactly one of several concurrent calls succeeds. The file
    is kept, since instances refuse to start without it."""
    try:
        shown_mark(file).touch(mode=0o600, exist_ok=False)
        write_private(file, secrets.token_urlsafe(24).encode())
    except FileExistsError:
        _fail_as_shown()
    except OSError as error:
        fail(f"{file} cannot be changed, so nothing is shown: {error.strerror}")


def _fail_as_shown() -> None:
    fail("the first admin's password was shown already; if it is lost: shop-api admin create NAME")


async def _make_sure(settings: Settings, username: str, password: SecretStr) -> bool:
    """Return whether the password is the first admin's. Creates that admin if no instance has yet; after the file has
    changed, an instance would use the wrong password."""
    from shop_api.container import open_services
    from shop_api.features.users.models import Registration

    async with open_services(settings) as services:
        await services.users.ensure_admin(Registration(username=username, password=password), operator())
        return await services.passwords.authenticate(username, password.get_secret_value(), "local") is not None


async def add_admin(settings: Settings, username: str, password: str) -> bool:
    """Create an admin. Return False, and change nothing, if the username is taken."""
    from shop_api.container import open_services
    from shop_api.features.users.models import Registration

    async with open_services(settings) as services:
        body = Registration(username=username, password=SecretStr(password))
        return await services.users.ensure_admin(body, operator())


def _in_loop(work: Coroutine[None, None, bool]) -> bool:
    try:
        return asyncio.run(work)
    except (ValidationError, ShopError) as error:
        fail(_in_words(error))


def _in_words(error: ValidationError | ShopError) -> str:
    if isinstance(error, ShopError):
        return error.detail
    return "\n".join(f"{'.'.join(map(str, e['loc']))}: {messages.in_words(e)}" for e in error.errors())
