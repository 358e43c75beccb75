"""Rows of a JSON array or of JSON Lines, in memory independent of the file's size.

JSON is parsed with the standard library, one array element at a time: streaming parsers in C crash on a number of
5,000 digits, and replace half a surrogate pair by a question mark.
"""

import codecs
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from shop_api.features.products.transfer.row import Row, UnreadableFile, lines_of

_LONGEST_ELEMENT = 1 << 24
_CHUNK = 1 << 18
_SPACE = re.compile(r"[ \t\r\n]*")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class _Decoder:
    """Decodes JSON, and notes a key that an object has twice: raising an error at once would look as if the text were
    not complete yet."""

    def __init__(self) -> None:
        self._decode = json.JSONDecoder(
            parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=self._object
        )
        self._repeated: str | None = None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            self._repeated = max((name for name, _ in pairs), key=[name for name, _ in pairs].count)
        return members

    def raw_decode(self, text: str, at: int) -> tuple[Any, int]:
        """Return the value that begins at `at`, and its end."""
        self._repeated = None
        return self._decode.raw_decode(text, at)

    def decode(self, text: str) -> Any:
        self._repeated = None
        return self._decode.decode(text)

    def row(self, number: int, value: object) -> Row:
        """Return the row of the value that was decoded last."""
        if not isinstance(value, dict):
            return Row(number, {}, "is not a JSON object")
        if self._repeated is not None:
            return Row(number, {}, f"{self._repeated[:100]!r} is given more than once")
        return Row(number, value)


class Elements:
    """Iterates over the elements of a JSON array in a file, decoding them one by one from a buffer."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.decoder = _Decoder()
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._at = 0
        if self._symbol() != "[":
            raise UnreadableFile(f"{path} holds no JSON array: it has to begin with [ (JSON Lines: --format jsonl)")
        self._at += 1

    def __iter__(self) -> Iterator[Any]:
        """Yield the elements. Raises ValueError for invalid JSON, RecursionError if it is nested too deeply."""
        if self._symbol() != "]":
            yield self._element()
            while self._symbol() == ",":
                self._at += 1
                self._symbol()
                yield self._element()
            if self._symbol() != "]":
                raise ValueError(f"a comma or ] is missing after it, not {self._symbol() or 'the end of the file'}")
        self._at += 1
        if self._symbol():
            raise ValueError("there is more after the end of the array")

    def _element(self) -> Any:
        while True:
            try:
                value, end = self.decoder.raw_decode(self._text, self._at)
            except ValueError:  # invalid, or truncated at the end of the buffer
                if len(self._text) - self._at > _LONGEST_ELEMENT or not self._read():
                    raise
            else:
                self._at = end
                return value

    def _symbol(self) -> str:
        """Return the next non-space character without consuming it, or an empty string at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # matches always
            if self._at < len(self._text) or not self._read():
                return self._text[self._at : self._at + 1]

    def _read(self) -> bool:
        """Double the buffered text, so that the repeated decoding of a long element takes linear time overall.

        Return False at the end of the file.
        """
        waiting = self._text[self._at :]
        raw = self._file.read(max(_CHUNK, len(waiting)))
        self._text, self._at = waiting + self._decode(raw, final=not raw), 0
        return bool(raw)


def array_rows(elements: Elements, encoding: str) -> Iterator[Row]:
    """Yield the rows of a JSON array up to the first error in its syntax."""
    number = 0
    try:
        for number, value in enumerate(elements, 1):
            yield elements.decoder.row(number, value)
    except (ValueError, RecursionError) as error:
        yield Row(number + 1, {}, f"cannot be read, nor can what follows: {_reason(error, encoding)}")


def _reason(error: Exception, encoding: str) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return f"not {encoding}"
    return "too many levels" if isinstance(error, RecursionError) else str(error)


def jsonl_rows(file: BinaryIO, encoding: str) -> Iterator[Row]:
    """Yield the rows of JSON Lines. A broken line is one rejected row."""
    decoder = _Decoder()
    for number, line in lines_of(file):
        if line is None:
            yield Row(number, {}, "longer than 1 MiB")
        elif not line.isspace():
            try:
                row = decoder.row(number, decoder.decode(line.decode()))
            except (ValueError, RecursionError) as error:
                row = Row(number, {}, _reason(error, encoding))
            yield row
