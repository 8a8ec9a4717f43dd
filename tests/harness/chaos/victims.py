"""Finding the agents and job processes of one home, and killing one of them."""

import contextlib
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from .workload import KEY


@dataclass(frozen=True)
class Victim:
    pid: int
    agent: bool
    # Of the job; "" for the preparation of a node.
    key: str


def living(home: Path) -> list[Victim]:
    """Agents and processes of this home's tasks, now. Zombies do not count."""
    found = (_look(entry, home) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [victim for victim in found if victim is not None]


def kill(victim: Victim, home: Path) -> bool:
    """kill -9, unless it has gone meanwhile or is somebody else by now."""
    try:
        descriptor = os.pidfd_open(victim.pid)
    except ProcessLookupError:
        return False
    try:
        if _look(Path("/proc", str(victim.pid)), home) != victim:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def _look(process: Path, home: Path) -> Victim | None:
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        tasks = os.fsencode(home / "engine" / "tasks") + b"/"
        places = [word for word in words if word.startswith(tasks)]
        if places and any(word.endswith(b"agent/__main__.py") for word in words):
            return Victim(int(process.name), True, _key_of(Path(os.fsdecode(places[0]))))
        environment = (process / "environ").read_bytes()
        if tasks in environment and words != [b""]:
            keys = [part for part in environment.split(b"\0") if part.startswith(KEY.encode() + b"=")]
            return Victim(int(process.name), False, keys[0].decode().partition("=")[2] if keys else "")
    return None


def _key_of(task: Path) -> str:
    """From the task itself, while it is not wiped."""
    with contextlib.suppress(OSError):
        found = re.search(rf'"{KEY}": "([^"]+)"', (task / "task.json").read_text(encoding="utf-8"))
        return found[1] if found else "?"
    return "?"
