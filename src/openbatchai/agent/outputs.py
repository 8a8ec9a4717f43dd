"""Files of a task: those processes write to exist at once, so that a client may list and stream them."""

import contextlib
import errno
import fcntl
import os
import stat

_TAIL_BYTES = 2048
_TAIL_LINES = 10


def open_file(path: str, flags: int, mode: int = 0o666) -> int:
    """A descriptor of a file. Raises OSError for anything else, at once: a pipe that a job puts in the place
    of its output would hold the agent up for ever, a device would never end."""
    file = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, mode)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", path)
    os.set_blocking(file, True)
    return file


def create(path: str, emptied: str | None) -> None:
    """Make a file; with `emptied`, where the tasks of the run note what they emptied, it begins empty."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        if emptied is not None:
            _empty_once(file, emptied)
    finally:
        os.close(file)


def _empty_once(file: int, emptied: str) -> None:
    """Several tasks of a run may write to one file, each under a path of its own node: whoever comes first
    empties it, before any of them can have written to it."""
    found = os.fstat(file)
    name = f"{found.st_dev}:{found.st_ino}\n".encode()
    os.makedirs(os.path.dirname(emptied), exist_ok=True)
    notes = open_file(emptied, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(notes, fcntl.LOCK_EX)
        with open(emptied, "rb") as known:
            if name in known:
                return
        os.ftruncate(file, 0)
        os.write(notes, name)
    finally:
        os.close(notes)


def write(path: str, content: str) -> None:
    """A whole file or none: the tasks of a run on one machine write the same one side by side."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    descriptor = open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    os.rename(temporary, path)


def flush(paths: list[str]) -> None:
    """Bring what was written to the disk before the end of the task is published."""
    for path in paths:
        with contextlib.suppress(OSError):
            file = open_file(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def size(path: str) -> int:
    """Of a file; 0 when there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def last_lines(path: str) -> str:
    """The end of a text file, or nothing when there is none."""
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
