"""Sparse files: clearing a range, and telling which ranges hold data (storage.md 7.2)."""

import ctypes
import errno
import os

from openbatchai.dataplane.uploads import write_at

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_ZEROS = bytes(1 << 20)

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def clear(fd: int, start: int, end: int) -> None:
    """Make the bytes read as zeros: a hole where the file system can, else written zeros."""
    if _fallocate is not None and _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, start, end - start) == 0:
        # Punching changes no time stamp on some file systems, yet the content is another.
        os.utime(fd)
        return
    while start < end:
        count = min(len(_ZEROS), end - start)
        write_at(fd, _ZEROS[:count], start)
        start += count


def data_ranges(fd: int, start: int, end: int) -> list[tuple[int, int]]:
    """Ranges (end excluded) within `start` to `end` that may hold other bytes than zero."""
    found = []
    while start < end:
        try:
            first = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        if first >= end:
            break
        start = min(os.lseek(fd, first, os.SEEK_HOLE), end)
        found.append((first, start))
    return found
