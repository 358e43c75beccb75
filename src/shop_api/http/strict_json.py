"""A strict JSON parser (RFC 8259, RFC 7493 I-JSON): accepts only texts that every parser reads alike.

The standard parser accepts NaN, duplicate keys, lone surrogates and numbers that other programs cannot represent.
With those, two programs could read two different prices from one body.
"""

import json
import math
import re
from typing import Any, NoReturn

from shop_api.kernel.errors import MalformedBody

MAX_VALUES = 1000
"""Limit on the values in one JSON text, four times the need of the largest product."""
_INT64 = range(-(2**63), 2**63)
_EXACT = 2**53
_BAD_CHARACTER = re.compile("[\0\ud800-\udfff]")


def loads(raw: bytes) -> Any:
    """Parse a JSON text in UTF-8. Raise MalformedBody, whose message never contains text from the body, if it is
    ambiguous, not JSON, or has more than MAX_VALUES values."""
    if not _is_short(raw):
        raise MalformedBody(f"The body has too many levels or more than {MAX_VALUES} values.")
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedBody("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise MalformedBody(f"Not JSON at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise MalformedBody("The body has too many levels.") from None
    if b"\\u" in raw:  # strict UTF-8 and the parser reject these characters unless they are escaped
        _refuse_bad_characters(value)
    return value


def _is_short(raw: bytes) -> bool:
    """Return whether `raw` has at most MAX_VALUES containers, members and elements. Counts them without parsing."""
    if _marks(raw) <= MAX_VALUES:
        return True
    # Do not count marks in strings. Each value has at most two strings, its name and itself, so four quotes.
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if unescaped.count(b'"') > 4 * MAX_VALUES:
        return False
    return _marks(b"".join(unescaped.split(b'"')[::2])) <= MAX_VALUES


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _refuse_bad_characters(value: Any) -> None:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                if found := _BAD_CHARACTER.search(text):
                    what = "NUL" if found[0] == "\0" else "half of a surrogate pair"
                    raise MalformedBody(f"A string contains {what}.")
            case dict() as members:
                waiting.extend(members)
                waiting.extend(members.values())
            case list() as items:
                waiting.extend(items)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedBody("An object has the same key twice.")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 20 or (number := int(digits)) not in _INT64:
        raise MalformedBody("An integer does not fit into 64 bits.")
    return number


def _float(digits: str) -> float | int:
    number = float(digits)
    if not math.isfinite(number):
        raise MalformedBody("A number is out of range.")
    # 2500.0 is the integer 2500 (JSON Schema 2020-12, core §4.2.2), within the range that a double holds exactly.
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _constant(name: str) -> NoReturn:
    raise MalformedBody(f"{name} is not JSON.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def canonical(raw: bytes) -> bytes:
    """Return the canonical form of a JSON text: equal for texts that differ only in key order, spaces and escapes."""
    try:
        return json.dumps(loads(raw), sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:
        raise MalformedBody("The body has too many levels.") from None
