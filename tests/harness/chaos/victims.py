"""Finding the agents and job processes of one home, and killing one of them."""

import contextlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from .workload import KEY

UNKNOWN = "?"


@dataclass(frozen=True)
class Victim:
    pid: int
    agent: bool
    # Of the job; "" for the preparation of a node; UNKNOWN.
    key: str


class Victims:
    """Those of one home. Whose an agent is stands in its task until the task is wiped, just before its end:
    what was seen before is remembered."""

    def __init__(self, home: Path) -> None:
        self._tasks = home / "engine" / "tasks"
        self._keys: dict[str, str] = {}

    def living(self) -> list[Victim]:
        """Agents and processes of this home's tasks, now. Zombies do not count."""
        found = (self._look(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [victim for victim in found if victim is not None]

    def kill(self, victim: Victim) -> bool:
        """kill -9, unless it has gone meanwhile or is somebody else by now."""
        try:
            descriptor = os.pidfd_open(victim.pid)
        except ProcessLookupError:
            return False
        try:
            if self._look(Path("/proc", str(victim.pid))) != victim:
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)

    def _look(self, process: Path) -> Victim | None:
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            tasks = os.fsencode(self._tasks) + b"/"
            places = [word for word in words if word.startswith(tasks)]
            if places and any(word.endswith(b"agent/__main__.py") for word in words):
                if os.getsid(int(process.name)) != int(process.name):
                    # Its child, about to become a program of the job's.
                    return None
                return Victim(int(process.name), True, self._key_of(os.fsdecode(places[0])))
            environment = (process / "environ").read_bytes()
            if tasks in environment and words != [b""]:
                keys = [part for part in environment.split(b"\0") if part.startswith(KEY.encode() + b"=")]
                return Victim(int(process.name), False, keys[0].decode().partition("=")[2] if keys else "")
        return None

    def _key_of(self, task: str) -> str:
        if self._keys.get(task, UNKNOWN) == UNKNOWN:
            with contextlib.suppress(OSError, ValueError):
                spec = json.loads(Path(task, "task.json").read_text(encoding="utf-8"))
                unknown = "" if spec["kind"] != "run" else UNKNOWN
                self._keys[task] = spec.get("task_environment", {}).get(KEY, unknown)
        return self._keys.get(task, UNKNOWN)
