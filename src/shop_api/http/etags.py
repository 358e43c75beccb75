"""Entity tags for versions: `ETag: "3"` stands for version 3 (RFC 9110 §8.8.3, §13.1)."""

import re

from starlette.datastructures import Headers

from shop_api.kernel.errors import FieldError, InvalidRequest

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\s*{_TAG}(?:\s*,\s*{_TAG})*\s*")

IF_MATCH_PATTERN = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
"""The syntax of If-Match and If-None-Match in the OpenAPI document."""


def etag(version: int) -> str:
    return f'"{version}"'


def joined(headers: Headers, name: str) -> str | None:
    """Return a list header with its lines joined by commas (RFC 9110 §5.3), or None if it is absent."""
    lines = headers.getlist(name)
    return ", ".join(lines) if lines else None


def parse_if_match(header: str | None) -> frozenset[int] | None:
    """Return the versions in If-Match; None means any. Comparison is strong: weak and foreign tags never match."""
    return None if header is None else _versions("If-Match", header, re.compile(r'"([1-9][0-9]{0,17})"'))


def parse_if_none_match(header: str | None) -> frozenset[int] | None:
    """Return the versions in If-None-Match; None means any. Comparison is weak (RFC 9110 §13.1.2)."""
    if header is None:
        return frozenset()
    return _versions("If-None-Match", header, re.compile(r'(?:W/)?"([1-9][0-9]{0,17})"'))


def _versions(name: str, header: str, tag: re.Pattern[str]) -> frozenset[int] | None:
    if header.strip() == "*":
        return None
    if not _TAGS.fullmatch(header):
        message = 'give "*" or entity tags in quotes, such as "3"'
        raise InvalidRequest([FieldError(("header", name), "malformed_entity_tag", message)])
    return frozenset(int(found[1]) for found in map(tag.fullmatch, re.findall(_TAG, header)) if found)


def none_match(header: str | None, current: str) -> bool:
    """Return whether If-None-Match matches the tag `current` by weak comparison, so that the response is 304."""
    if header is None:
        return False
    return header.strip() == "*" or current in {tag.removeprefix("W/") for tag in re.findall(_TAG, header)}
