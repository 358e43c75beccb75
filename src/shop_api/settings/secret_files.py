"""Secrets in files: `SHOP_NAME_FILE` names the file that holds the value of a secret setting `SHOP_NAME`.

Docker and Kubernetes mount secrets as files, which unlike a variable show neither in `docker inspect` nor in the
environment of a child process.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource


class Unusable:
    """In place of a value that could not be had. Validation reports `problem` with the other wrong settings."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


class SecretFiles(PydanticBaseSettingsSource):
    """The secret settings whose value stands in a file that the environment names."""

    def __call__(self) -> dict[str, Any]:
        return dict(self._found())

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # abstract in the base class, which only its own sources call

    def _found(self) -> Iterator[tuple[str, str | Unusable]]:
        prefix = self.config.get("env_prefix", "")
        for name in secret_names(self.settings_cls):
            variable = f"{prefix}{name}".upper()
            if path := named_file(variable):
                yield name, _both(variable) if _set(variable) else _read(variable, path)


def secret_names(settings: type[BaseSettings]) -> list[str]:
    """The settings that hold a secret, and so may be read from a file."""
    return [name for name, field in settings.model_fields.items() if _holds_a_secret(field.annotation)]


def _holds_a_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_holds_a_secret, get_args(annotation)))


def named_file(variable: str) -> Path | None:
    """The file that `<variable>_FILE` names, if it is set."""
    path = _set(f"{variable}_FILE")
    return Path(path) if path else None


def _set(variable: str) -> str | None:
    # As for every setting, case does not matter and an empty variable is an absent one.
    return next((value for name, value in os.environ.items() if value and name.upper() == variable), None)


def _both(variable: str) -> Unusable:
    return Unusable(f"{variable}_FILE is set too: keep one of them")


def _read(variable: str, path: Path) -> str | Unusable:
    """The content without the newline that editors and `echo` put at its end."""
    origin = f"{path}, named by {variable}_FILE,"
    try:
        value = path.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        return Unusable(f"{origin} cannot be read: {error.strerror}")
    except UnicodeError:
        return Unusable(f"{origin} is not UTF-8 text")
    return value or Unusable(f"{origin} is empty")
