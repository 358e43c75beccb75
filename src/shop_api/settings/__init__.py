"""Configuration from environment variables, and parsers for the URLs in it."""

from shop_api.settings.loading import load, unknown_variables
from shop_api.settings.model import PREFIX, Settings, SettingsError, describe
from shop_api.settings.values import MIN_SECRET_BYTES

__all__ = ["MIN_SECRET_BYTES", "PREFIX", "Settings", "SettingsError", "describe", "load", "unknown_variables"]
