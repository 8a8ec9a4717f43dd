"""A control group per task: what a process cannot leave, whatever it does to its session or environment.

By it the processes of a task are found when its agent was killed. Groups exist where the service may make
them below its own (cgroup v2, usually only for root); elsewhere the session and a marker in the environment
have to do (lost.py).
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_OWN = Path("/proc/self/cgroup")
_PROCESSES = "cgroup.procs"


class ControlGroups:
    """The groups of the tasks below one engine's root."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def of(self, name: str) -> Path:
        """Where the group of a task is, by the name of its directory; its agent makes it."""
        return self._base / name

    def close(self) -> None:
        """Nothing of an engine with which nothing runs is left; an agent that begins makes what it needs."""
        remove(self._base)

    def names(self) -> list[str]:
        if not self._base.exists():
            return []
        return [entry.name for entry in self._base.iterdir() if entry.is_dir()]


def open_groups(root: Path) -> ControlGroups | None:
    """None where the service may not make any."""
    above = _own_group()
    if above is None:
        return None
    base = above / f"openbatchai-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"
    try:
        base.mkdir(exist_ok=True)
        probe = base / f".probe-{os.getpid()}"
        probe.mkdir(exist_ok=True)
        probe.rmdir()
    except OSError:
        return None
    return ControlGroups(base)


def members(group: Path) -> list[int]:
    """The processes in a group; none when there is no such group."""
    with suppress(OSError):
        return [int(line) for line in (group / _PROCESSES).read_text().split()]
    return []


def remove(group: Path) -> None:
    """Nothing happens to one that is not empty, or not there."""
    with suppress(OSError):
        group.rmdir()


def _own_group() -> Path | None:
    try:
        lines = _OWN.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    points = [line.split(" ")[4] for line in mounts if " - cgroup2 " in line]
    if path is None or ".." in path or not points:
        return None
    return Path(points[0] + path)
