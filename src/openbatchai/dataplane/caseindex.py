"""The names of large directories by what they are without regard to case, kept true by inotify.

A name that is not there as it is may be there in other letters, and only all names of the directory tell. To
read them for each file that is put into it would make the ten thousandth cost twenty times the first. So the
names are read once, and what comes and goes from then on, whoever does it, the kernel puts into a queue
before the call that does it returns. The queue is read before each answer.
"""

import ctypes
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable

from openbatchai.dataplane.filenames import fold

# Smaller ones are as quickly read; 200,000 names take about 60 MB.
_LEAST = 500
_MOST_NAMES = 200_000
_ATTEMPTS = 3

_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_DIRECTORIES = 0x01000000
_WATCHED = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_DIRECTORIES
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class _Index:
    """One directory: its watch, and its names by their folded form."""

    def __init__(self, watch: int) -> None:
        self.watch = watch
        self.names: dict[str, tuple[str, ...]] = {}
        self.count = 0
        self.mtime_ns = 0
        self.is_touched = True

    def add(self, name: str) -> None:
        key = fold(name)
        same = self.names.get(key, ())
        if name not in same:
            self.names[key] = (*same, name)
            self.count += 1

    def remove(self, name: str) -> None:
        key = fold(name)
        same = self.names.get(key, ())
        if name in same:
            self.count -= 1
            left = tuple(other for other in same if other != name)
            if left:
                self.names[key] = left
            else:
                del self.names[key]


class CaseIndex:
    """Callers in any thread. Where the kernel cannot watch, it knows nothing."""

    def __init__(self, *, least: int = _LEAST, most_names: int = _MOST_NAMES) -> None:
        self._least = least
        self._most_names = most_names
        self._lock = threading.Lock()
        self._queue = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        # By device and inode, the one used last at the end.
        self._indexes: OrderedDict[tuple[int, int], _Index] = OrderedDict()
        self._by_watch: dict[int, tuple[int, int]] = {}

    def close(self) -> None:
        with self._lock:
            self._forget_all()
            if self._queue >= 0:
                os.close(self._queue)
                self._queue = -1

    def names(self, directory: int, name: str) -> tuple[str, ...] | None:
        """The names in an open directory that are `name` in whatever letters; None when it is not indexed."""
        with self._lock:
            index = self._current(directory)
            return None if index is None else index.names.get(fold(name), ())

    def offer(self, directory: int, count: int, read: Callable[[int], list[str]]) -> None:
        """An open directory of `count` names was looked through: perhaps it is worth an index."""
        if not self._least <= count <= self._most_names or self._queue < 0:
            return
        with self._lock:
            key = _identity(directory)
            watch = int(_libc.inotify_add_watch(self._queue, b"/proc/self/fd/%d" % directory, _WATCHED))
            if watch < 0 or key in self._indexes:
                return
            index = _Index(watch)
            self._indexes[key], self._by_watch[watch] = index, key
            # Only now: what changes while it is read is in the queue.
            try:
                names = read(directory)
            except BaseException:
                self._forget(key)
                raise
            for name in names:
                index.add(name)
            index.mtime_ns = os.fstat(directory).st_mtime_ns
            while sum(each.count for each in self._indexes.values()) > self._most_names:
                self._forget(next(iter(self._indexes)))

    def _current(self, directory: int) -> _Index | None:
        key = _identity(directory)
        for _ in range(_ATTEMPTS):
            before = os.fstat(directory).st_mtime_ns
            self._read_queue()
            index = self._indexes.get(key)
            if index is None:
                return None
            if os.fstat(directory).st_mtime_ns != before:
                continue
            if before != index.mtime_ns and not index.is_touched:
                # Changed without a word: another machine, on a file system that they share.
                break
            index.mtime_ns, index.is_touched = before, False
            self._indexes.move_to_end(key)
            return index
        self._forget(key)
        return None

    def _read_queue(self) -> None:
        while self._indexes:
            try:
                data = os.read(self._queue, _BUFFER)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = data[offset : offset + length].rstrip(b"\0")
                offset += length
                self._apply(watch, mask, os.fsdecode(name))

    def _apply(self, watch: int, mask: int, name: str) -> None:
        if mask & _OVERFLOW:
            self._forget_all()
            return
        key = self._by_watch.get(watch)
        if key is None:
            return
        if mask & _IGNORED:
            self._forget(key)
            return
        index = self._indexes[key]
        index.is_touched = True
        if mask & (_CREATE | _MOVED_TO):
            index.add(name)
        elif mask & (_DELETE | _MOVED_FROM):
            index.remove(name)

    def _forget(self, key: tuple[int, int]) -> None:
        index = self._indexes.pop(key, None)
        if index is not None:
            del self._by_watch[index.watch]
            _libc.inotify_rm_watch(self._queue, index.watch)

    def _forget_all(self) -> None:
        for key in list(self._indexes):
            self._forget(key)


def _identity(directory: int) -> tuple[int, int]:
    found = os.fstat(directory)
    return found.st_dev, found.st_ino
