"""Opening files strictly beneath a directory (storage.md 9, "Traversal").

The trees are written by jobs at the same time, so a path that was checked a moment ago may be a symlink
out of the share now. Everything therefore goes through descriptors: the kernel resolves the whole path
beneath the container's directory (openat2, RESOLVE_BENEATH), or, where it cannot, no symlink is followed.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RETRIES = 16
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE_MODE = 0o664
DIRECTORY_MODE = 0o2775

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)
if _renameat2 is not None:
    _renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t)


def _openat2(directory: int, path: str, flags: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    encoded = os.fsencode(path)
    for _ in range(_RETRIES):
        fd = int(_syscall(_OPENAT2, directory, encoded, ctypes.byref(how), ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # EAGAIN: a rename elsewhere on the system raced with "..": the kernel asks to try again.
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def _open_without_links(directory: int, path: str, flags: int) -> int:
    """For kernels and sandboxes without openat2: no component may be a symlink."""
    *parents, last = path.split("/")
    current = os.dup(directory)
    try:
        for part in parents:
            following = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = following
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
    finally:
        os.close(current)


def _has_openat2() -> bool:
    with suppress(OSError), open_directory_fd("/") as root:
        os.close(_openat2(root, ".", _DIRECTORY))
        return True
    return False


@contextmanager
def open_directory_fd(path: str | os.PathLike[str]) -> Iterator[int]:
    """The descriptor of a directory that the caller trusts."""
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


_resolve = _openat2 if _has_openat2() else _open_without_links


def open_beneath(directory: int, path: str, flags: int) -> int:
    """Open an existing `path` (relative, no `.` or `..` parts; "" is the directory itself).

    Whatever leads out of the directory raises FileNotFoundError, as if it were not there.
    """
    if not path:
        return os.open(".", _DIRECTORY, dir_fd=directory)
    try:
        return _resolve(directory, path, flags)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ELOOP, errno.EAGAIN):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
        raise


@contextmanager
def directory_beneath(directory: int, path: str) -> Iterator[int]:
    """A descriptor of the directory at `path`; of `directory` itself its own."""
    if not path:
        yield directory
        return
    fd = open_beneath(directory, path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(directory: int, path: str, flags: int = os.O_RDONLY) -> int:
    """Open an existing regular file; anything else (a FIFO, a device, a directory) is FileNotFoundError."""
    try:
        fd = open_beneath(directory, path, flags | os.O_NONBLOCK)
    except (NotADirectoryError, IsADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return fd


def stat_beneath(directory: int, path: str) -> os.stat_result | None:
    """What a path inside the tree leads to, links followed as far as they stay inside; None for nothing."""
    try:
        if "/" not in path and path not in ("", ".", ".."):
            # In the directory itself only a link could lead out, and most files are none.
            found = os.stat(path, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):
                return found
        fd = open_beneath(directory, path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def make_directory(parent: int, name: str) -> None:
    os.mkdir(name, dir_fd=parent)
    # The mode of mkdir passes the umask and drops setgid; jobs of the group must be able to write. By
    # descriptor, because a job may have put a symlink there by now.
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        os.fchmod(fd, DIRECTORY_MODE)
    finally:
        os.close(fd)


def make_parents(directory: int, path: str, made: Callable[[int], None]) -> None:
    """Make the directories above `path`; NotADirectoryError when one of them is something else.

    `made` is called with the descriptor of each directory that got a new entry.
    """
    done = ""
    for part in path.split("/")[:-1]:
        with directory_beneath(directory, done) as parent, suppress(FileExistsError):
            make_directory(parent, part)
            made(parent)
        done = f"{done}/{part}" if done else part


def rename_to_new(source: int, name: str, target: int, new_name: str) -> None:
    """A rename within two open directories that replaces nothing; FileExistsError when something is there."""
    if _renameat2 is not None:
        arguments = (source, os.fsencode(name), target, os.fsencode(new_name), _RENAME_NOREPLACE)
        if _renameat2(*arguments) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(number, os.strerror(number), new_name)
        # A file system that cannot do it in one step.
    with suppress(FileNotFoundError):
        os.stat(new_name, dir_fd=target, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)
    os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)


def exchange(source: int, name: str, target: int, other_name: str) -> None:
    """Let two entries of open directories change places in one step."""
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), other_name)
    if _renameat2(source, os.fsencode(name), target, os.fsencode(other_name), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), other_name)


def split(path: str) -> tuple[str, str]:
    parent, _, name = path.rpartition("/")
    return parent, name
