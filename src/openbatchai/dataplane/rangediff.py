"""What changed between two states of a file: ranges that hold other bytes now, and ranges cleared since."""

import os
from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

from openbatchai.dataplane import holes
from openbatchai.dataplane.ranges import Span

_PAGE = 4096
_COMPARED = 256 * _PAGE

# Ends excluded.
ByteRanges = list[tuple[int, int]]


def changes(old: int, new: int, span: Span) -> tuple[ByteRanges, ByteRanges]:
    """Ranges of the open file `new` within `span` that differ from `old`, in whole pages, and those of them
    that are holes now, apart. What `old` has no bytes for counts as zeros."""
    changed, cleared = _Ranges(), _Ranges()
    data, former = (holes.data_ranges(fd, span.start, span.end) for fd in (new, old))
    cuts = sorted({edge for pair in (*data, *former) for edge in pair})
    for start, end in pairwise(cuts):
        is_data = _holds(data, start)
        if not is_data and not _holds(former, start):
            continue
        for at in range(start, end, _COMPARED):
            for page in _differing(old, new, at, min(at + _COMPARED, end)):
                (changed if is_data else cleared).add(*page)
    return changed.found, cleared.found


def _holds(ranges: ByteRanges, at: int) -> bool:
    place = bisect_right(ranges, at, key=lambda pair: pair[0])
    return place > 0 and ranges[place - 1][1] > at


def _differing(old: int, new: int, start: int, end: int) -> Iterable[tuple[int, int]]:
    length = end - start
    before, after = (os.pread(fd, length, start).ljust(length, b"\0") for fd in (old, new))
    if before == after:
        return
    for at in range(0, length, _PAGE):
        if before[at : at + _PAGE] != after[at : at + _PAGE]:
            yield start + at, min(start + at + _PAGE, end)


class _Ranges:
    """Collects ranges that come in order; neighbours become one."""

    def __init__(self) -> None:
        self.found: ByteRanges = []

    def add(self, start: int, end: int) -> None:
        if self.found and self.found[-1][1] == start:
            self.found[-1] = (self.found[-1][0], end)
        else:
            self.found.append((start, end))
