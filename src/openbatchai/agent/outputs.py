"""Files of a task: those processes write to exist at once, so that a client may list and stream them."""

import contextlib
import os

_TAIL_BYTES = 2048
_TAIL_LINES = 10


def create(path: str, *, empty: bool) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    how = os.O_TRUNC if empty else os.O_APPEND
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o666))


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
