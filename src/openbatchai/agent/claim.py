"""The right to carry out a task: held by one process, granted once.

A record lock rather than flock, because its holder can be asked for (F_GETLK) without taking it: an engine
that looks whether an agent lives can never make a starting agent believe that another one runs.
"""

import fcntl
import os

LOCK = "lock"
MARKER = "started"


def claim(directory: str) -> bool:
    """Take the lock for the life of this process and set the marker; False when either is taken."""
    lock = os.open(os.path.join(directory, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Never closed: closing any descriptor of the file would drop the lock.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    try:
        marker = os.open(os.path.join(directory, MARKER), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    os.write(marker, f"{os.getpid()} {boot_id()}".encode())
    os.close(marker)
    return True


def boot_id() -> str:
    """Tells whether a process id of the past may still mean the same process."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
