"""Versions as entity tags: `ETag: "3"` is version 3 (RFC 9110 §8.8.3, §13.1)."""

import re

from starlette.datastructures import Headers

from shop_api.kernel.errors import FieldError, InvalidRequest

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\s*{_TAG}(?:\s*,\s*{_TAG})*\s*")

IF_MATCH_PATTERN = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
"""What a client may send as If-Match or If-None-Match, for the OpenAPI document."""


def etag(version: int) -> str:
    return f'"{version}"'


def joined(headers: Headers, name: str) -> str | None:
    """Return a header that is a list, which may come in several lines (RFC 9110 §5.3); None without it."""
    lines = headers.getlist(name)
    return ", ".join(lines) if lines else None


def parse_if_match(header: str | None) -> frozenset[int] | None:
    """The versions that If-Match names, None for all. Weak and foreign tags never match: the comparison is strong."""
    return None if header is None else _versions("If-Match", header, re.compile(r'"([1-9][0-9]{0,17})"'))


def parse_if_none_match(header: str | None) -> frozenset[int] | None:
    """The versions that If-None-Match names, None for all. The comparison is weak (RFC 9110 §13.1.2)."""
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
    """Whether the client already holds what `current` names, by weak comparison; then the answer is 304."""
    if header is None:
        return False
    return header.strip() == "*" or current in {tag.removeprefix("W/") for tag in re.findall(_TAG, header)}
