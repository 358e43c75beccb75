"""What all commands have in common: how they speak, fail, and get at settings and engines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from shop_api import embedded
from shop_api.settings import Settings, SettingsError, load, unknown_variables


def say(line: str) -> None:
    typer.echo(f"shop-api: {line}", err=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends the command. `code` is 2 when it was asked for something that makes no sense."""
    for line in message.splitlines():
        say(line)
    raise typer.Exit(code)


@contextmanager
def engines(settings: Settings, *, join: bool, check: Callable[[], None] | None = None) -> Iterator[Settings]:
    """`settings` that lead to running engines; with `join`, to those of a running service if there are any.

    `check` is called while they start, and may raise what ends that.
    """
    try:
        with embedded.running(settings, say, join=join, check=check) as complete:
            complete.required()
            yield complete
    except (embedded.EngineError, SettingsError) as error:
        fail(str(error))


def settings_or_exit(**overrides: object) -> Settings:
    try:
        settings = load(**overrides)
    except SettingsError as error:
        fail(str(error))
    for warning in unknown_variables():
        say(warning)
    return settings
