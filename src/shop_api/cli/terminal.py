"""Shared by all commands: output, failure, settings and engines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from shop_api import embedded
from shop_api.settings import Settings, SettingsError, describe, load, unknown_variables
from shop_api.storage.mongo.leases import LeaseLost
from shop_api.storage.mongo.schema import SchemaError


def say(line: str) -> None:
    typer.echo(f"shop-api: {line}", err=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print `message` and exit. `code` is 2 for invalid usage."""
    for line in message.splitlines():
        say(line)
    raise typer.Exit(code)


@contextmanager
def engines(
    settings: Settings,
    *,
    join: bool,
    check: Callable[[], None] | None = None,
    processes: embedded.EngineProcesses | None = None,
) -> Iterator[Settings]:
    """Yield `settings` with running engines; with `join`, those of a running service if there is one.

    `check` is called while they start; an exception from it aborts the start. Those that are started are added to
    `processes`.
    """
    try:
        with embedded.running(settings, say, join=join, check=check, processes=processes) as complete:
            complete.required()
            yield complete
    except (embedded.EngineError, SettingsError, SchemaError, LeaseLost) as error:
        fail(str(error))


def settings_or_exit(**overrides: object) -> Settings:
    try:
        settings = load(**overrides)
    except SettingsError as error:
        fail(str(error))
    _check_signing_keys(settings.jwt_keys_dir)
    for warning in unknown_variables():
        say(warning)
    return settings


def _check_signing_keys(folder: Path | None) -> None:
    """Reject a key folder with an invalid signing key before anything is started."""
    if folder is None:
        return
    from shop_api.security.signing_keys.files import BadKey, read_all  # slow to import and rarely needed

    try:
        read_all(folder)
    except BadKey as error:
        fail(describe("jwt_keys_dir", str(error)))
