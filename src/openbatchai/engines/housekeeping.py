"""What ended runs leave on the disk (home, temporary files, packages) goes after a while or for want of
room.

What tells of them (events, end, log, samples) stays until the task is forgotten.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from openbatchai.agent.report import EXIT
from openbatchai.domain.ports import TaskKind
from openbatchai.engines import agents, records
from openbatchai.engines.removal import remove_tree

BULKY = ("home", "tmp", "python", "jobs")

_PACE_S = 600.0


class Housekeeping:
    """`keep_s`: how long after its end; `keep_bytes`: of all ended runs together, the oldest go first."""

    def __init__(self, tasks: Path, keep_s: float, keep_bytes: int) -> None:
        self._tasks = tasks
        self._keep_s = keep_s
        self._keep_bytes = keep_bytes
        self._sizes: dict[str, int] = {}
        self._due = 0.0
        self._lock = threading.Lock()

    def tidy(self, now_s: float) -> list[str]:
        """Returns the names of the tasks that lost their files. `now_s`: seconds since the epoch."""
        ended = sorted((_end(directory), directory.name) for directory in self._over())
        sizes = {name: self._sizes.get(name) or _size(self._tasks / name) for _, name in ended}
        self._sizes = sizes
        total = sum(sizes.values())
        removed = []
        for end_s, name in ended:
            if end_s + self._keep_s > now_s and total <= self._keep_bytes:
                break
            total -= sizes.pop(name)
            for part in BULKY:
                remove_tree(self._tasks / name / part)
            removed.append(name)
        return removed

    def tidy_now_and_then(self) -> None:
        with self._lock:
            if time.monotonic() < self._due:
                return
            self._due = time.monotonic() + _PACE_S
        self.tidy(time.time())

    def _over(self) -> list[Path]:
        """Ended tasks of runs that still have such files. A run may go on where one of its tasks left off."""
        found = []
        live: set[str] = set()
        for entry in self._tasks.iterdir():
            if entry.name.startswith("."):
                continue
            spec = records.identity(entry)
            if not records.ended(entry) or agents.is_held(entry):
                live.add(spec.get("run_id", ""))
            elif spec.get("kind") == TaskKind.RUN and any((entry / part).exists() for part in BULKY):
                found.append((spec.get("run_id", ""), entry))
        return [entry for run_id, entry in found if run_id not in live]


def _end(directory: Path) -> float:
    with suppress(FileNotFoundError):
        return (directory / EXIT).stat().st_mtime
    return 0.0


def _size(directory: Path) -> int:
    """Blocks on the disk; what hard links share counts for each."""
    total = 0
    for part in BULKY:
        for folder, _, files in os.walk(directory / part):
            for name in files:
                with suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118
    return total
