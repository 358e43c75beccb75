"""JSON as RFC 8259 and RFC 7493 (I-JSON) mean it: one reading for every reader, or none.

The standard parser takes NaN, duplicate keys, half surrogate pairs and numbers that no other program can hold.
A shop must not: two readers of one body could see two prices.
"""

import json
import math
import re
from typing import Any, NoReturn

from shop_api.kernel.errors import MalformedBody

MAX_VALUES = 1000
"""In one text: four times what the largest product needs."""
_INT64 = range(-(2**63), 2**63)
_EXACT = 2**53
_BAD_CHARACTER = re.compile("[\0\ud800-\udfff]")


def loads(raw: bytes) -> Any:
    """The value of a JSON text in UTF-8; MalformedBody, which never repeats the text, when there is no single one, or
    when it holds more than MAX_VALUES."""
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
    if b"\\u" in raw:  # only an escape can smuggle in what strict UTF-8 and the parser refuse
        _refuse_bad_characters(value)
    return value


def _is_short(raw: bytes) -> bool:
    """Whether there are at most MAX_VALUES containers, members and elements, counted before any is made."""
    if _marks(raw) <= MAX_VALUES:
        return True
    # Not those in strings. A name or a value each: with more strings than that there are too many already.
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
    # 2500.0 is the integer 2500 (JSON Schema 2020-12, core §4.2.2), as far as every reader holds it exactly.
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _constant(name: str) -> NoReturn:
    raise MalformedBody(f"{name} is not JSON.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def canonical(raw: bytes) -> bytes:
    """Return the same bytes for every way to write the same value: the order of keys, spaces and escapes are free."""
    try:
        return json.dumps(loads(raw), sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:
        raise MalformedBody("The body has too many levels.") from None
