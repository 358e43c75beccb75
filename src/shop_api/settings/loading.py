"""Loads the settings from the environment, and explains errors in it."""

import difflib
import os
from typing import Any

from pydantic import ValidationError

from shop_api.settings.model import PREFIX, Settings, SettingsError, describe
from shop_api.settings.secret_files import secret_names


def load(**overrides: Any) -> Settings:
    """Return the settings from the environment; `overrides` that are not None win. Raise SettingsError if invalid."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(map(_explain, error.errors()))) from None


def _explain(error: Any) -> str:
    # Without the value: it may be a secret.
    return describe(str(error["loc"][0]), error["msg"].removeprefix("Value error, "))


def variables() -> list[str]:
    """Return all variables that are read: one for each setting, and a `_FILE` variable for each secret."""
    files = [f"{name}_FILE" for name in secret_names(Settings)]
    return [PREFIX + name.upper() for name in (*Settings.model_fields, *files)]


def unknown_variables() -> list[str]:
    """Return a warning for each `SHOP_…` variable that is not a setting, with the most similar setting."""
    known = variables()
    warnings = []
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known and not name.startswith("SHOP_TEST_"):
            near = difflib.get_close_matches(name.upper(), known, 1)
            warnings.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return warnings
