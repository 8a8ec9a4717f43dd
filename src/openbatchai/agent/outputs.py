"""Files of a task: those processes write to exist at once, so that a client may list and stream them."""

import contextlib
import fcntl
import os

_TAIL_BYTES = 2048
_TAIL_LINES = 10


def create(path: str, emptied: str | None) -> None:
    """Make a file; with `emptied`, where the tasks of the run note what they emptied, it begins empty."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
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
    notes = os.open(emptied, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
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
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(content)
    os.rename(temporary, path)


def flush(paths: list[str]) -> None:
    """Bring what was written to the disk before the end of the task is published."""
    for path in paths:
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY)
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
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
