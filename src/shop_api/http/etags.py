"""Versions as entity tags: `ETag: "3"` is version 3 (RFC 9110 §8.8.3, §13.1)."""

import re

from shop_api.kernel.errors import FieldError, InvalidRequest
from shop_api.kernel.versions import ExpectedVersions

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\s*{_TAG}(?:\s*,\s*{_TAG})*\s*")

IF_MATCH_PATTERN = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
"""What a client may send as If-Match, for the OpenAPI document."""


def etag(version: int) -> str:
    return f'"{version}"'


def parse_if_match(header: str | None) -> ExpectedVersions:
    """The versions that If-Match names. Weak and foreign tags never match: the comparison is strong."""
    if header is None or header.strip() == "*":
        return None
    if not _TAGS.fullmatch(header):
        message = 'give "*" or entity tags in quotes, such as "3"'
        raise InvalidRequest([FieldError(("header", "If-Match"), "malformed_entity_tag", message)])
    return frozenset(int(tag[1:-1]) for tag in re.findall(_TAG, header) if re.fullmatch(r'"[1-9][0-9]{0,17}"', tag))


def none_match(header: str | None, current: str) -> bool:
    """Whether the client already holds what `current` names, by weak comparison; then the answer is 304."""
    if header is None:
        return False
    return header.strip() == "*" or current in {tag.removeprefix("W/") for tag in re.findall(_TAG, header)}
