"""Finding files and directories of a share by name: without regard to case, and never outside the share.

Nothing here knows of records; a share is the descriptor of its directory.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openbatchai.dataplane import beneath, filenames
from openbatchai.dataplane.caseindex import CaseIndex
from openbatchai.dataplane.errors import StorageCode, StorageError

# Of all shares: a directory is known by its inode.
_cases = CaseIndex()


def open_existing(share: int, path: str) -> int | None:
    """An existing file (perhaps behind a link that stays inside the share) for writing; None for nothing."""
    found = beneath.stat_beneath(share, path)
    if found is None:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(StorageCode.TYPE_MISMATCH)
    try:
        return beneath.open_file(share, path, os.O_WRONLY)
    except FileNotFoundError:
        # A job was faster.
        raise StorageError(StorageCode.RESOURCE_NOT_FOUND) from None


def give_name(made: Path, parent: int, name: str) -> None:
    """Let a file or directory that was made ready appear; what a job has put there meanwhile stays.

    A file keeps its first name beside the new one, for the caller to remove.
    """
    try:
        if made.is_dir():
            # An empty directory gives way to this one, which is the same thing.
            os.rename(made, name, dst_dir_fd=parent)
        else:
            # Not a rename, which would replace what is there.
            os.link(made, name, dst_dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY):
            raise StorageError(StorageCode.RESOURCE_EXISTS) from None
        if error.errno not in (errno.EPERM, errno.ENOTSUP):
            raise
        # A file system without hard links.
        os.rename(made, name, dst_dir_fd=parent)


@contextmanager
def parent_of(share: int, path: str) -> Iterator[int]:
    try:
        fd = beneath.open_beneath(share, path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(StorageCode.PARENT_NOT_FOUND) from None
    try:
        yield fd
    finally:
        os.close(fd)


def find(share: int, path: str) -> str | None:
    """The path as it is written on disk: exactly this one, else the first that differs by case only."""
    if not path or beneath.stat_beneath(share, path) is not None:
        return path
    done = ""
    for part in path.split("/"):
        exact = f"{done}/{part}" if done else part
        if beneath.stat_beneath(share, exact) is None:
            other = _by_case(share, done, part)
            if other is None:
                return None
            exact = f"{done}/{other}" if done else other
        done = exact
    return done


def check_parent(share: int, path: str) -> None:
    """ParentNotFound unless what the path lies in is there."""
    holder = beneath.split(path)[0]
    if holder and find(share, holder) is None:
        raise StorageError(StorageCode.PARENT_NOT_FOUND)


def place_for(share: int, path: str) -> str:
    """Where a new item goes: parents, and an existing item of that name, keep their letter case."""
    found = find(share, path)
    if found is not None:
        return found
    filenames.check_legal(path)
    parent_path, name = beneath.split(path)
    holder = find(share, parent_path)
    if holder is None:
        raise StorageError(StorageCode.PARENT_NOT_FOUND)
    return f"{holder}/{name}" if holder else name


def _by_case(share: int, directory: str, name: str) -> str | None:
    try:
        fd = beneath.open_beneath(share, directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        same = _cases.names(fd, name)
        if same is None:
            names = _names(fd)
            _cases.offer(fd, len(names), _names)
            wanted = filenames.fold(name)
            # Folding keeps the length, which tells nearly all of them apart.
            same = tuple(
                entry for entry in names if len(entry) == len(name) and filenames.fold(entry) == wanted
            )
    finally:
        os.close(fd)
    return min(same, default=None)


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]
