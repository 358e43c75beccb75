"""`shop-api keys …`: the keys that sign access tokens."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shop_api.cli.terminal import fail, say, settings_or_exit
from shop_api.settings import Settings

if TYPE_CHECKING:
    from shop_api.security.signing_keys.files import SigningKey

_WITHOUT_A_FOLDER = """\
there is no key folder: tokens are signed with SHOP_JWT_SECRET. To rotate it without signing anyone out:
1. generate a new secret: openssl rand -hex 32
2. set SHOP_JWT_PREVIOUS_SECRETS to the new one, and restart all instances, so that each accepts its tokens
3. set SHOP_JWT_SECRET to the new one and SHOP_JWT_PREVIOUS_SECRETS to the old one, and restart them again
4. after 15 minutes, remove SHOP_JWT_PREVIOUS_SECRETS with the next restart
or sign with key files: set SHOP_JWT_KEYS_DIR, or use --dir"""

keys = typer.Typer(no_args_is_help=True, help="Manage the keys that sign access tokens.")

Folder = Annotated[Path | None, typer.Option("--dir", help="The key folder, instead of SHOP_JWT_KEYS_DIR.")]


@keys.command("rotate")
def rotate_keys(
    algorithm: Annotated[
        Literal["ES256", "RS256"] | None, typer.Option(help="Default: that of the newest key, or ES256.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Add a key, and remove keys whose tokens have all expired. Can run while the service is running.

    Running instances detect the change, and sign with the new key ten minutes later.
    """
    from shop_api.kernel.clock import utc_now
    from shop_api.security.signing_keys.files import BadKey
    from shop_api.security.signing_keys.rotation import rotate
    from shop_api.security.signing_keys.store import ACTIVATION_DELAY

    place = folder or settings_or_exit().jwt_keys_dir
    if place is None:
        fail(_WITHOUT_A_FOLDER)
    try:
        made, removed = rotate(place, algorithm, utc_now())
    except BadKey as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or place}: {error.strerror}")
    say(f"made {place / made.name}: {made.algorithm}, kid {made.kid}")
    say(f"running instances sign with it {_minutes(ACTIVATION_DELAY)} after they have seen it")
    for key in removed:
        say(f"removed {place / key.name}: kid {key.kid}, no token that it signed is in force")


@keys.command("list")
def list_keys(folder: Folder = None) -> None:
    """Show all keys with their state."""
    from rich.console import Console
    from rich.table import Table

    settings = None if folder else settings_or_exit()
    rows = _rows(folder, settings)
    if not rows:
        fail("there are no keys; a secret that shop-api serve made for itself is not shown")
    table = Table("kid", "algorithm", "state", "file")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # do not wrap in files
    console.print(table)


def _rows(folder: Path | None, settings: Settings | None) -> list[tuple[str, str, str, str]]:
    from shop_api.security.signing_keys.files import BadKey, read_all
    from shop_api.security.tokens import secret_kid

    place = folder or (settings.jwt_keys_dir if settings else None)
    try:
        found = read_all(place) if place else []
    except BadKey as error:
        fail(str(error))
    rows: list[tuple[str, str, str, str]] = []
    for key, state in zip(found, _states(found), strict=True):
        rows.append((key.kid, key.algorithm, state, key.name))
    if settings and settings.jwt_secret:
        secret = settings.jwt_secret.get_secret_value().encode()
        state = "verifies" if found else "signs"
        rows.append((secret_kid(secret), "HS256", state, "SHOP_JWT_SECRET"))
    for previous in settings.jwt_previous_secrets if settings else []:
        kid = secret_kid(previous.get_secret_value().encode())
        rows.append((kid, "HS256", "verifies", "SHOP_JWT_PREVIOUS_SECRETS"))
    return rows


def _states(found: "list[SigningKey]") -> list[str]:
    """Return the state of each key in an instance that loaded it when it was created."""
    from shop_api.kernel.clock import utc_now
    from shop_api.security.signing_keys.store import ACTIVATION_DELAY

    now = utc_now()
    begins = [key.made if key is found[0] else key.made + ACTIVATION_DELAY for key in found]
    signing = max((index for index, moment in enumerate(begins) if index == 0 or moment <= now), default=0)
    return [
        "signs" if index == signing else "verifies" if index < signing else f"becomes active at {moment:%FT%TZ}"
        for index, moment in enumerate(begins)
    ]


def _minutes(duration: timedelta) -> str:
    return f"{duration // timedelta(minutes=1)} minutes"
