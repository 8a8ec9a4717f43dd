"""Which pages of a page blob or file hold something, and which differ between two of its states
(storage.md 5.3, 7.2).

The file system keeps what was written in extents of its own size, mostly 4 KiB; a page has 512 bytes. So
small extents and the ends of large ones are looked at page by page: a page of zeros there counts as clear.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from openbatchai.dataplane.holes import data_ranges

PAGE = 512
_WINDOW = 1 << 20
_EDGE = 64 << 10
_ZEROS = bytes(PAGE)


@dataclass(frozen=True)
class PageRange:
    """Pages from byte `start` to byte `end`, end excluded; `is_clear` in a comparison: they became zeros."""

    start: int
    end: int
    is_clear: bool = False


def written_pages(fd: int, start: int, end: int) -> Iterator[PageRange]:
    """Ranges of `start`, which is at a page border, to `end` that hold something."""
    return _joined(_written(fd, start, end))


def changed_pages(fd: int, former: int, start: int, end: int) -> Iterator[PageRange]:
    """Ranges in which the open file `fd` differs from the open file `former`."""
    return _joined(_changed(fd, former, start, end))


def _written(fd: int, start: int, end: int) -> Iterator[PageRange]:
    for first, last in data_ranges(fd, start, end):
        first, last = _aligned(first, last, end)
        if last - first <= _WINDOW:
            yield from _filled(fd, first, last)
            continue
        yield from _filled(fd, first, first + _EDGE)
        yield PageRange(first + _EDGE, last - _EDGE)
        yield from _filled(fd, last - _EDGE, last)


def _filled(fd: int, start: int, end: int) -> Iterator[PageRange]:
    data = os.pread(fd, end - start, start)
    for at in range(0, len(data), PAGE):
        page = data[at : at + PAGE]
        if page != _ZEROS[: len(page)]:
            yield PageRange(start + at, start + at + len(page))


def _changed(fd: int, former: int, start: int, end: int) -> Iterator[PageRange]:
    for first, last in _either(fd, former, start, end):
        for at in range(first, last, _WINDOW):
            count = min(_WINDOW, last - at)
            now = os.pread(fd, count, at)
            then = os.pread(former, count, at).ljust(len(now), b"\0")
            if now == then:
                continue
            for offset in range(0, len(now), PAGE):
                page = now[offset : offset + PAGE]
                if page != then[offset : offset + PAGE]:
                    begin = at + offset
                    yield PageRange(begin, begin + len(page), page == _ZEROS[: len(page)])


def _either(fd: int, former: int, start: int, end: int) -> list[tuple[int, int]]:
    """Where one of two files may hold something, at page borders, without overlaps."""
    found = sorted(_aligned(*each, end) for file in (fd, former) for each in data_ranges(file, start, end))
    merged: list[tuple[int, int]] = []
    for first, last in found:
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _aligned(first: int, last: int, end: int) -> tuple[int, int]:
    return first // PAGE * PAGE, min(-(-last // PAGE) * PAGE, end)


def _joined(ranges: Iterable[PageRange]) -> Iterator[PageRange]:
    held: PageRange | None = None
    for each in ranges:
        if held is not None and held.end == each.start and held.is_clear == each.is_clear:
            held = PageRange(held.start, each.end, held.is_clear)
            continue
        if held is not None:
            yield held
        held = each
    if held is not None:
        yield held
