"""The character encodings of files, as spreadsheets write them, read as UTF-8.

What cannot be decoded becomes bytes that are not UTF-8 either, so that the reader rejects these lines and no others.
"""

import codecs
import io
import re
from typing import BinaryIO, cast

_CHUNK = 1 << 18
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_ASCII = bytes(range(128))


class _Transcoder(io.RawIOBase):
    """The text of a file as UTF-8, decoded in chunks."""

    def __init__(self, file: BinaryIO, encoding: str, errors: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._ready = b""
        self._at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # as io.BufferedReader calls it
        while not self._ready and not self._at_end:
            raw = self._file.read(_CHUNK)
            self._at_end = not raw
            self._ready = self._decoded(raw).encode("utf-8", "surrogatepass")
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _decoded(self, raw: bytes) -> str:
        try:
            return self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError:  # half a character at the end of the file
            return "\udcff"


def as_utf8(file: io.BufferedReader, *, may_be_windows: bool) -> tuple[BinaryIO, str]:
    """Return a file with the text of `file` in UTF-8, without byte order mark, and the name of its encoding.

    UTF-16 is recognized by its byte order mark or its zero bytes. With `may_be_windows`, a seekable file is read as
    Windows-1252 if most of its bytes beyond ASCII are not UTF-8.
    """
    begin = file.peek(4)[:4]
    if begin.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    elif begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _transcoded(file, "utf-16", "surrogatepass"), "UTF-16"
    elif len(begin) > 1 and (begin[0] == 0) != (begin[1] == 0):
        return _transcoded(file, "utf-16-be" if begin[0] == 0 else "utf-16-le", "surrogatepass"), "UTF-16"
    elif may_be_windows and file.seekable() and not _is_mostly_utf8(file):
        return _transcoded(file, "cp1252", "surrogateescape"), "Windows-1252"
    return file, "UTF-8"


def _transcoded(file: BinaryIO, encoding: str, errors: str) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Transcoder(file, encoding, errors), _CHUNK))


def _is_mostly_utf8(file: BinaryIO) -> bool:
    valid = invalid = 0
    begin = file.tell()
    while chunk := file.read(_CHUNK):
        if not chunk.isascii():
            rest, sequences = _MULTIBYTE.subn(b"", chunk)
            valid += sequences
            invalid += len(rest.translate(None, delete=_ASCII))
    file.seek(begin)
    return valid >= invalid
