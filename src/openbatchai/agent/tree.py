"""Everything that descends from the agent, whatever it did to get away.

The agent is a child subreaper: a process whose parent dies becomes the agent's child, also after setsid
and a double fork. So the descendants of the agent are exactly the processes of the task, and no list kept
on the side can miss one.
"""

import contextlib
import ctypes
import os
import signal
import time

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def descendants(of: int, spared: frozenset[int] = frozenset()) -> list[int]:
    """Live descendants of a process, not counting the trees below `spared`."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (parent := _live_parent(name)) is not None:
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [of]
    while waiting:
        below = [pid for pid in children.get(waiting.pop(), []) if pid not in spared]
        found += below
        waiting += below
    return found


def _live_parent(pid: str) -> int | None:
    """The parent of a process; None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command name stands in parentheses and may hold anything, parentheses included.
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except OSError:
        return None
    return None if state in (b"Z", b"X") else int(parent)


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def pause(seconds: float) -> None:
    """Wait until a child changes state, at most so long. SIGCHLD is blocked, see processes.py."""
    signal.sigtimedwait([signal.SIGCHLD], max(0.0, seconds))


def now() -> float:
    return time.monotonic()
