"""What `SHOP_MONGO_URL` says besides where MongoDB is."""

from urllib.parse import parse_qsl

SCHEMES = ("mongodb://", "mongodb+srv://")

# What the service promises stands on these, so a URL that says otherwise is refused and not obeyed or overlooked.
_FIXED = {
    "w": ("majority", "an acknowledged write has to survive the election of another primary"),
    "journal": ("true", "an acknowledged write has to survive a power cut"),
    "j": ("true", "an acknowledged write has to survive a power cut"),
    "readpreference": ("primary", "whoever has written has to read it afterwards"),
    "tz_aware": ("true", "times are compared with times that have a zone"),
}


def options(url: str) -> dict[str, str]:
    """The URL's options, by their names in small letters."""
    return {name.lower(): value for name, value in parse_qsl(url.partition("?")[2].replace(";", "&"))}


def check(url: str) -> None:
    """ValueError for an option that would break what the service promises."""
    for name, value in options(url).items():
        needed, reason = _FIXED.get(name, (value, ""))
        if value.lower() != needed.lower():
            raise ValueError(f"must not have {name} other than {needed}: {reason}")
