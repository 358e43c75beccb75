"""Everything the environment may set, and how the URLs in it are read."""

from shop_api.settings.model import (
    MIN_SECRET_BYTES,
    PREFIX,
    Settings,
    SettingsError,
    describe,
    load,
    unknown_variables,
)

__all__ = ["MIN_SECRET_BYTES", "PREFIX", "Settings", "SettingsError", "describe", "load", "unknown_variables"]
