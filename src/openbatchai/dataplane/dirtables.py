"""The sorted names of directories, kept between the pages of a listing.

A listing needs the names in order, and a directory gives them in none: for a million of them reading and
sorting takes a second, which no page but the first may cost. So the table of a large directory is kept, and
used again as long as the directory is the one that was read. That is known by its times: each name that
comes or goes moves them, whoever does it. The clock behind them ticks coarsely, and a change within the tick
of an earlier one leaves no trace; so a table is only kept when the directory had been left alone for longer
than a tick before the reading began. Any later change then shows.
"""

import os
import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any, overload

# Below this a directory is as quickly read as looked up.
_KEPT_FROM = 1000
# A table takes about the length of its names and five bytes for each: 25 MB for a million of 20 letters.
_MOST_BYTES = 96 << 20
_IDLE_S = 300.0
# Kernels tick every 10 ms at most; some file systems count in seconds, FAT in two of them.
_TICK_NS = 50_000_000
_COARSE_TICK_NS = 2_500_000_000
_NS = 1_000_000_000
_CHUNK = 512
_READERS = 16
_PACKED_AT_ONCE = 1 << 14


class PackedNames(Sequence[str]):
    """Names in the order given, a tenth of the size of a list of strings. They hold no NUL."""

    def __init__(self, names: Iterable[str]) -> None:
        text, ends, left = bytearray(), array("Q"), iter(names)
        # In pieces, or the strings would all be there a second time.
        while piece := list(islice(left, _PACKED_AT_ONCE)):
            joined = "\0".join(piece)
            lengths = map(len, piece) if joined.isascii() else (len(name.encode("utf-8")) for name in piece)
            # Each name's end, counting one NUL per name before it.
            ends.extend(accumulate((length + 1 for length in lengths), initial=len(text)))
            ends.pop(-len(piece) - 1)
            text += joined.encode("utf-8") + b"\0"
        self._text = bytes(text)
        self._ends = ends if len(text) >= 1 << 32 else array("I", ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return [self[at] for at in range(start, stop, step)]
            if start >= stop:
                return []
            return self._text[self._begin(start) : self._ends[stop - 1] - 1].decode("utf-8").split("\0")
        if index < 0:
            index += len(self)
        return self._text[self._begin(index) : self._ends[index] - 1].decode("utf-8")

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self._text) + len(self._ends) * self._ends.itemsize

    def _begin(self, index: int) -> int:
        return self._ends[index - 1] if index else 0


@dataclass(frozen=True)
class Table:
    """What a directory holds: `rows` in order, and for those that do not lie where they say, where they do.

    A row that ends in `/` is a directory. `is_whole` is False when other directories were read for it.
    """

    rows: Sequence[str]
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_whole: bool = True

    def first_at(self, row: str, key: Callable[[str], Any] | None = None) -> int:
        """Index of the first row that is not before `row`."""
        return bisect_left(self.rows, row if key is None else key(row), key=key)

    def from_index(self, index: int) -> Iterator[str]:
        for start in range(index, len(self.rows), _CHUNK):
            yield from self.rows[start : start + _CHUNK]


@dataclass
class _Kept:
    stamp: tuple[int, int]
    table: Table
    size: int
    used_at: float


class DirectoryTables:
    """The tables used last, in bounded memory. Callers in any thread."""

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        kept_from: int = _KEPT_FROM,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic = monotonic
        self._kept_from = kept_from
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[str, int, int], _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = [threading.Lock() for _ in range(_READERS)]

    @property
    def size(self) -> int:
        with self._lock:
            return sum(kept.size for kept in self._kept.values())

    def table(self, directory: int, form: str, read: Callable[[int], Table]) -> Table:
        """The table of an open directory, in the order that `form` names and `read` gives."""
        found = os.fstat(directory)
        key, stamp = (form, found.st_dev, found.st_ino), (found.st_mtime_ns, found.st_ctime_ns)
        table = self._found(key, stamp)
        if table is not None:
            return table
        # One reader at a time: many at once would each hold all names of a large directory.
        with self._reading[hash(key) % _READERS]:
            table = self._found(key, stamp)
            if table is not None:
                return table
            found = os.fstat(directory)
            stamp = (found.st_mtime_ns, found.st_ctime_ns)
            began = self._wall_ns()
            table = read(directory)
            if len(table.rows) >= self._kept_from and table.is_whole and _is_settled(stamp, began):
                if not isinstance(table.rows, PackedNames):
                    table = Table(PackedNames(table.rows), table.elsewhere)
                self._keep(key, stamp, table)
            return table

    def _found(self, key: tuple[str, int, int], stamp: tuple[int, int]) -> Table | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.stamp != stamp:
                return None
            kept.used_at = self._monotonic()
            self._kept.move_to_end(key)
            return kept.table

    def _keep(self, key: tuple[str, int, int], stamp: tuple[int, int], table: Table) -> None:
        rows = table.rows
        size = (rows.size if isinstance(rows, PackedNames) else 0) + 500 * len(table.elsewhere)
        if size > self._most_bytes:
            return
        now = self._monotonic()
        with self._lock:
            self._kept[key] = _Kept(stamp, table, size, now)
            self._kept.move_to_end(key)
            total = sum(kept.size for kept in self._kept.values())
            while total > self._most_bytes or now - next(iter(self._kept.values())).used_at > _IDLE_S:
                _, oldest = self._kept.popitem(last=False)
                total -= oldest.size


def _is_settled(stamp: tuple[int, int], began_ns: int) -> bool:
    """Whether any change from `began_ns` on will give the directory another stamp."""
    tick = _COARSE_TICK_NS if all(time_ns % _NS == 0 for time_ns in stamp) else _TICK_NS
    return began_ns - max(stamp) > tick
