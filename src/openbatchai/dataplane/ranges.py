"""Byte ranges of requests, and where an answer about a growing log may end. Pure."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from openbatchai.dataplane.errors import StorageCode, StorageError

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_DIGITS = 18
_BEYOND_ALL_FILES = 1 << 63
_LOG_NAMES = ("stdout*.txt", "stderr*.txt", "*.log")


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end`, end excluded."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class RangeHeader:
    """`first-last`, `first-` or `-last` (the last bytes) of a Range header."""

    first: int | None
    last: int | None

    @property
    def is_open(self) -> bool:
        return self.first is not None and self.last is None

    def within(self, size: int) -> Span:
        """The bytes that are there; 416 with the present size when there are none."""
        if self.first is None:
            start, end = max(0, size - (self.last or 0)), size
        else:
            start, end = self.first, size if self.last is None else min(size, self.last + 1)
        if start >= size or start >= end:
            raise StorageError(StorageCode.INVALID_RANGE, headers={"Content-Range": f"bytes */{size}"})
        return Span(start, end)


def parse_range(header: str | None) -> RangeHeader | None:
    """None when there is no range, or a list of ranges (a server may ignore those: RFC 9110, 14.2)."""
    if header is None or "," in header:
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        raise StorageError(StorageCode.INVALID_HEADER, "The range is not of the form bytes=first-last.")
    first, last = (_offset(part) if part else None for part in found.groups())
    if first is not None and last is not None and last < first:
        raise StorageError(StorageCode.INVALID_HEADER, "The range ends before it begins.")
    return RangeHeader(first, last)


def decimal(text: str) -> int | None:
    """A number as headers and queries hold it; None for anything else and beyond 18 digits, of which
    Python would refuse some thousands by an error."""
    digits = text.lstrip("0") or "0"
    return int(digits) if text.isascii() and text.isdigit() and len(digits) <= _DIGITS else None


def _offset(digits: str) -> int:
    number = decimal(digits)
    return _BEYOND_ALL_FILES if number is None else number


def is_log(path: str) -> bool:
    """Names of text that clients print while it grows."""
    name = path.rpartition("/")[2]
    return any(fnmatchcase(name, pattern) for pattern in _LOG_NAMES)


def incomplete_tail(data: bytes) -> int:
    """How many bytes at the end of `data` begin a UTF-8 character that is not complete yet (0 to 3)."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if 0xF0 <= byte <= 0xF4 else 3 if byte & 0xF0 == 0xE0 else 2 if 0xC2 <= byte <= 0xDF else 1
        return back if needed > back else 0
    return 0
