"""Copies of whole directory trees that share their bytes with the original where the file system can."""

import fcntl
import os
import stat
from collections.abc import Callable

from openbatchai.dataplane import holes
from openbatchai.dataplane.uploads import copy_bytes

_FICLONE = 0x40049409
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

# Called with the path below the root, "" for itself, and what the original was when it was copied.
Visit = Callable[[str, os.stat_result], None]


def copy_content(source: int, target: int, size: int) -> None:
    """Make `target`, an open empty file, hold the first `size` bytes of `source`; holes stay holes."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        os.ftruncate(target, size)
        for start, end in holes.data_ranges(source, 0, size):
            copy_bytes(source, start, target, start, end - start)
    else:
        # It may have grown since its size was asked for.
        os.ftruncate(target, size)


def copy_tree(source: int, target: int, visit: Visit, path: str = "") -> None:
    """Copy what is in the directory `source` into `target`: files, directories and symlinks, with their
    times; anything else, and what goes away meanwhile, is left out."""
    found = os.fstat(source)
    visit(path, found)
    with os.scandir(source) as entries:
        names = [(entry.name, entry.is_symlink()) for entry in entries]
    for name, is_link in names:
        below = f"{path}/{name}" if path else name
        try:
            if is_link:
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            else:
                _copy_entry(source, target, name, below, visit)
        except FileNotFoundError:
            continue
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy_entry(source: int, target: int, name: str, path: str, visit: Visit) -> None:
    kind = os.stat(name, dir_fd=source, follow_symlinks=False).st_mode
    if stat.S_ISDIR(kind):
        original = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            os.mkdir(name, 0o700, dir_fd=target)
            copy = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                copy_tree(original, copy, visit, path)
            finally:
                os.close(copy)
        finally:
            os.close(original)
    elif stat.S_ISREG(kind):
        original = os.open(name, _FILE, dir_fd=source)
        try:
            _copy_file(original, target, name, path, visit)
        finally:
            os.close(original)


def _copy_file(original: int, target: int, name: str, path: str, visit: Visit) -> None:
    found = os.fstat(original)
    copy = os.open(name, _NEW, 0o600, dir_fd=target)
    try:
        copy_content(original, copy, found.st_size)
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(copy)
    visit(path, found)
