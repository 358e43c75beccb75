"""The options in `SHOP_MONGO_URL`."""

from urllib.parse import parse_qsl

SCHEMES = ("mongodb://", "mongodb+srv://")

# The service's guarantees depend on these options, so a URL with other values is rejected rather than ignored.
_FIXED = {
    "w": ("majority", "an acknowledged write must survive the election of another primary"),
    "journal": ("true", "an acknowledged write must survive a power cut"),
    "j": ("true", "an acknowledged write must survive a power cut"),
    "readpreference": ("primary", "a client must read its own writes"),
    "tz_aware": ("true", "times are compared with times that have a zone"),
}


def options(url: str) -> dict[str, str]:
    """Return the URL's options by lower-case name."""
    return {name.lower(): value for name, value in parse_qsl(url.partition("?")[2].replace(";", "&"))}


def check(url: str) -> None:
    """Raise ValueError for an option that would break a guarantee of the service."""
    for name, value in options(url).items():
        needed, reason = _FIXED.get(name, (value, ""))
        if value.lower() != needed.lower():
            raise ValueError(f"must not have {name} other than {needed}: {reason}")
