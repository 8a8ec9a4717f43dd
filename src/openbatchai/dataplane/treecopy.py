"""Copies of whole directory trees that share their bytes with the original where the file system can."""

import os
import stat
from collections.abc import Callable

from openbatchai.dataplane.clones import clone

_TRIES = 5
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

# Called with the path below the root, "" for itself, and what the original was when it was copied.
Visit = Callable[[str, os.stat_result], None]


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
    copy = os.open(name, _NEW, 0o600, dir_fd=target)
    try:
        found = _copy_content(original, copy)
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(copy)
    visit(path, found)


def _copy_content(original: int, copy: int) -> os.stat_result:
    """What the original was when it was copied."""
    for _ in range(_TRIES):
        found = os.fstat(original)
        try:
            clone(original, copy)
        except OSError as error:
            if error.errno is not None:
                raise
            # A job has made it shorter meanwhile.
            os.ftruncate(copy, 0)
            continue
        # It may have grown meanwhile.
        os.ftruncate(copy, found.st_size)
        return found
    raise OSError("a file becomes shorter again and again while it is copied")
