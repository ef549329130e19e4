"""Encodings of text files: byte order marks, guesses, and any encoding read as UTF-8."""

from __future__ import annotations

import codecs
import gzip
import re
from io import BufferedReader, RawIOBase

from tasks.config.settings import UTF_8

MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # starts like UTF-16, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
GUESSED = {"gb18030": "GB18030 (Excel's CSV in Chinese)", "big5": "Big5"}
"""The encodings that are guessed, with their usual names."""

# The codec that has the common characters of each, and the first bytes that these have in it:
# punctuation and the characters of level 1.
_COMMON = {
    "gb18030": ("gb2312", [*range(0xA1, 0xA4), *range(0xB0, 0xD8)]),
    "big5": ("big5", [*range(0xA1, 0xC7)]),
}
_COMMON_SHARE, _MOST = 0.8, 1000
_ESCAPES = "wenti-escapes"  # the error handler below
_ESCAPED = re.compile("[\udc00-\udcff]")
_NOT_ASCII = re.compile("[^\0-\x7f]")
_FEWEST = 8  # so many characters beyond ASCII are not right by accident
_PIECE_BYTES = 1 << 16


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Turn each byte that is no text into a lone surrogate, also where `surrogateescape` fails."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in wrong), error.end


codecs.register_error(_ESCAPES, _escape)


def find_mark(start: bytes) -> tuple[str | None, int]:
    """Return the encoding that the first bytes of a file show, and the size of the mark in bytes.

    The encoding is None if nothing shows it. UTF-16 without a mark is known by the zero in each of
    its first two characters, as long as they are ASCII (as in RFC 4627, section 3).
    """
    for mark, encoding in MARKS:
        if start.startswith(mark):
            return encoding, len(mark)
    zeros = [byte == 0 for byte in start[:4]]
    if zeros == [False, True, False, True]:
        return "utf-16-le", 0
    if zeros == [True, False, True, False]:
        return "utf-16-be", 0
    return None, 0


def decode(data: bytes, encoding: str, is_whole: bool) -> str:
    """Return the text of `data`; each byte that is no text is a lone surrogate.

    A character whose end is missing is left out, unless `data` is the whole file.
    """
    return codecs.getincrementaldecoder(encoding)(_ESCAPES).decode(data, is_whole)


def count_wrong_lines(text: str) -> int:
    """Return the number of lines of what `decode` returned that have a byte that is no text.

    It is 0 if the other lines show that the encoding is right: then these lines are damaged.
    """
    if not _ESCAPED.search(text):
        return 0
    lines = text.split("\n")
    good = (len(_NOT_ASCII.findall(line)) for line in lines if not _ESCAPED.search(line))
    return 0 if sum(good) >= _FEWEST else sum(1 for line in lines if _ESCAPED.search(line))


def codec_name(encoding: str) -> str:
    """Return the name of Python's codec for an encoding, as it is without a byte order mark.

    Raises:
        LookupError: there is none.
    """
    name = codecs.lookup(encoding).name
    without_mark = {"utf-8-sig": UTF_8, "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
    return without_mark.get(name, name)


def is_certainly_utf_8(data: bytes, encoding: str) -> bool:
    """Return whether the first bytes of a text are UTF-8, and not of the other `encoding`."""
    text = decode(data, UTF_8, False)
    if _ESCAPED.search(text):
        return False
    holds_ascii = "a".encode(encoding) == b"a"
    return len(_NOT_ASCII.findall(text)) >= _FEWEST or not (holds_ascii or "\0" in text)


def guess_encoding(data: bytes) -> str | None:
    """Return the key of `GUESSED` in which text that is not UTF-8 has mostly common characters.

    A detector of many encodings is worse at this: charset-normalizer 3.5 names another one, or
    none, for 85 of 600 rows of 20 characters in GB18030; this function for 6.
    """
    lines = data.splitlines(keepends=True)
    wrong = b"".join(line for line in lines if _ESCAPED.search(decode(line, UTF_8, True)))
    for encoding, (codec, common) in _COMMON.items():
        chars = _NOT_ASCII.findall(decode(wrong, encoding, False))[:_MOST]
        known = sum(_first_byte(char, codec) in common for char in chars)
        if known > _COMMON_SHARE * len(chars):
            return encoding
    return None


def _first_byte(char: str, codec: str) -> int | None:
    return next(iter(char.encode(codec, errors="ignore")), None)


def as_utf_8(
    file: BufferedReader | gzip.GzipFile, encoding: str, has_bare_returns: bool = False
) -> BufferedReader:
    """Return a file with the same text in UTF-8, with line feeds if its lines end with returns.

    Bytes that are no text become bytes that are not UTF-8.
    """
    return BufferedReader(_Recoded(file, encoding, has_bare_returns))


class _Recoded(RawIOBase):
    def __init__(
        self, file: BufferedReader | gzip.GzipFile, encoding: str, has_bare_returns: bool
    ) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(_ESCAPES)
        self._has_bare_returns = has_bare_returns
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        is_end = False
        while not self._waiting and not is_end:
            piece = self._file.read(_PIECE_BYTES)
            is_end = not piece
            text = self._decoder.decode(piece, is_end)
            text = text.replace("\r", "\n") if self._has_bare_returns else text
            self._waiting = text.encode(errors="surrogatepass")
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
