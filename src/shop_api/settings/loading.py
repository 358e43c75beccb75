"""The settings from the environment, and what is wrong with it in words."""

import difflib
import os
from typing import Any

from pydantic import ValidationError

from shop_api.settings.model import PREFIX, Settings, SettingsError, describe
from shop_api.settings.secret_files import secret_names


def load(**overrides: Any) -> Settings:
    """The settings from the environment, with `overrides` from the command line on top; SettingsError if wrong."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(map(_explain, error.errors()))) from None


def _explain(error: Any) -> str:
    # The value itself is left out: it may be a secret.
    return describe(str(error["loc"][0]), error["msg"].removeprefix("Value error, "))


def variables() -> list[str]:
    """Every variable that is read: one for each setting, and for each secret one that names a file."""
    files = [f"{name}_FILE" for name in secret_names(Settings)]
    return [PREFIX + name.upper() for name in (*Settings.model_fields, *files)]


def unknown_variables() -> list[str]:
    """A warning for each `SHOP_…` variable in the environment that is not a setting, with the nearest that is."""
    known = variables()
    warnings = []
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known and not name.startswith("SHOP_TEST_"):
            near = difflib.get_close_matches(name.upper(), known, 1)
            warnings.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return warnings
