"""Finding, starting and signalling the agent of a task directory.

Who holds the directory's lock is the agent, so a process id read from the lock can be trusted after a
pidfd on it was opened and the lock still names it: ids are never kept on disk and believed later.
"""

import errno
import fcntl
import os
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from openbatchai.agent.claim import LOCK, MARKER
from openbatchai.agent.report import LOG, TASK

_AGENT = Path(__file__).parent.parent / "agent" / "__main__.py"

# struct flock of Linux on 64 bits: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")


def spawn(directory: Path) -> int:
    """Start an agent on a task directory; a second one on the same finds that and ends. Returns its pid.

    It gets nothing from the service: own session, two variables, no descriptors, signals blocked until it
    listens for them.
    """
    python = str(getattr(sys, "_base_executable", sys.executable))
    append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    return os.posix_spawn(
        python,
        [python, "-I", "-S", str(_AGENT), str(directory)],
        {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(directory / LOG), append, 0o600),
        ],
        setsid=True,
        setsigmask=[signal.SIGTERM, signal.SIGCHLD],
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGHUP],
    )


def can_start(directory: Path) -> bool:
    """Whether nobody began the task. Without `task.json` there is none to begin: its job removed it."""
    return not (directory / MARKER).exists() and (directory / TASK).exists()


def open_agent(directory: Path) -> int | None:
    """A pidfd of the living agent, None when there is none."""
    pid = _holder(directory)
    if pid is None or pid <= 0:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if _holder(directory) == pid:
        return descriptor
    os.close(descriptor)
    return None


def pid_of(directory: Path) -> int | None:
    """The living agent's pid, which may be another process's a moment later."""
    pid = _holder(directory)
    return pid if pid is not None and pid > 0 else None


def is_held(directory: Path) -> bool:
    """Whether an agent, or somebody in its place, has the task in hand."""
    return _holder(directory) is not None


def send(descriptor: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


@contextmanager
def in_place_of_agent(directory: Path) -> Iterator[bool]:
    """Hold the lock as an agent would; yields False when an agent, or somebody else, has it."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Of the open file, not the process: threads of one process exclude each other, and a look at the
        # lock elsewhere in this process does not drop it.
        request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def mark_started(directory: Path) -> None:
    """Nobody will carry this task out any more."""
    with suppress(FileExistsError):
        (directory / MARKER).touch(mode=0o600, exist_ok=False)


def _holder(directory: Path) -> int | None:
    """The process that holds the lock; -1 for one that holds it in place of an agent."""
    try:
        lock = os.open(directory / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(lock, fcntl.F_GETLK, question))
    finally:
        os.close(lock)
    return None if kind == fcntl.F_UNLCK else int(pid)
