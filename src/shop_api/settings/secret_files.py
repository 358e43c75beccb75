"""Secrets in files: `SHOP_NAME_FILE` names the file that holds the value of a secret setting `SHOP_NAME`.

Docker and Kubernetes mount secrets as files. Unlike variables, these do not appear in `docker inspect` or in the
environment of child processes.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource


class Unusable:
    """Placeholder for an unreadable value. Validation reports `problem` with all other invalid settings."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


class SecretFiles(PydanticBaseSettingsSource):
    """Settings source that reads secrets from the files named by `_FILE` variables."""

    def __call__(self) -> dict[str, Any]:
        return dict(self._found())

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # abstract in the base class, but only pydantic's own sources call it

    def _found(self) -> Iterator[tuple[str, str | Unusable]]:
        prefix = self.config.get("env_prefix", "")
        for name in secret_names(self.settings_cls):
            variable = f"{prefix}{name}".upper()
            if path := named_file(variable):
                yield name, _both(variable) if _set(variable) else _read(variable, path)


def secret_names(settings: type[BaseSettings]) -> list[str]:
    """Return the names of the settings that hold a secret and can be read from a file."""
    return [name for name, field in settings.model_fields.items() if _holds_a_secret(field.annotation)]


def _holds_a_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_holds_a_secret, get_args(annotation)))


def named_file(variable: str) -> Path | None:
    """Return the path in `<variable>_FILE`, or None if it is not set."""
    path = _set(f"{variable}_FILE")
    return Path(path) if path else None


def _set(variable: str) -> str | None:
    # As for all settings, names are case-insensitive and an empty variable counts as unset.
    return next((value for name, value in os.environ.items() if value and name.upper() == variable), None)


def _both(variable: str) -> Unusable:
    return Unusable(f"{variable}_FILE is set too: keep one of them")


def _read(variable: str, path: Path) -> str | Unusable:
    """Return the content without the trailing newline that editors and `echo` add."""
    origin = f"{path}, named by {variable}_FILE,"
    try:
        value = path.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        return Unusable(f"{origin} cannot be read: {error.strerror}")
    except UnicodeError:
        return Unusable(f"{origin} is not UTF-8 text")
    return value or Unusable(f"{origin} is empty")
