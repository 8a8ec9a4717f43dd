"""The end of a task whose agent died without a word: its processes end, its run fails, nothing runs twice.

Without the agent nobody adopts the orphans, so they are found by their control group and, where there are
none, by the task id in their environment and the agent's session. There, what cleared its environment and
left the session escapes.
"""

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from openbatchai.agent.claim import MARKER, boot_id
from openbatchai.agent.containers import NAME_FILE
from openbatchai.agent.outputs import last_lines
from openbatchai.agent.report import LOG, masked
from openbatchai.agent.task import OUTPUTS
from openbatchai.domain import jobenv
from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import MountLevel, TaskFault
from openbatchai.engines import agents, cgroups, records, removal
from openbatchai.engines.layout import task_id

_log = logging.getLogger(__name__)

_KILL_LIMIT_S = 10.0
_LOOK_AGAIN_S = 0.02
_RUNTIME_TIMEOUT_S = 30


def settle(directory: Path) -> int | None:
    """End what is left of the task and record its end, once. Returns how many processes were ended, None
    when an agent lives after all."""
    with agents.in_place_of_agent(directory) as granted:
        if not granted:
            return None
        if records.ended(directory):
            return 0
        spec = records.identity(directory)
        # The runtime's own programs first: one still at work could make the container after its removal.
        group = Path(spec["cgroup"]) if spec.get("cgroup") else None
        identity = spec.get("id") or task_id(directory.name)
        ended = _end_processes(identity, _session(directory), group)
        _remove_container(directory)
        agents.mark_started(directory)
        # The last words lie behind the links.
        fault = _fault(directory, list(spec.get("secrets", {}).values()), spec.get("user"))
        _remove_mounts(spec)
        records.say(directory, f"Ended {ended} processes in place of the agent")
        records.write_end(directory, None, fault)
        return ended


def end_group(group: Path) -> int:
    """End what is left in a control group and remove it. Returns how many processes were ended."""
    ended = _end(lambda: _in_group(group))
    cgroups.remove(group)
    return ended


def _fault(directory: Path, secrets: list[str], user: dict[str, Any] | None) -> TaskFault:
    outputs = [(Path(path).name, masked(_last_lines(path, user), secrets)) for path in _outputs(directory)]
    details = [(name, words) for name, words in outputs if words]
    if not details and (words := last_lines(str(directory / LOG))):
        details.append((LOG, words))
    message = "The agent of the task ended unexpectedly; the processes of the task were stopped"
    return TaskFault(Fault.NODE_AGENT_LOST, message, tuple(details))


def _last_lines(path: str, user: dict[str, Any] | None) -> str:
    """Read with the rights of the task's user: the path may be a link of the job's by now. In a process of
    its own, because rights are those of all threads of this one."""
    if user is None:
        return last_lines(path)
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(
            # Of a file only: a pipe or a device that the job put there would not end.
            ["/bin/sh", "-c", '[ -f "$0" ] && exec tail -c 2048 -- "$0"', path],
            env={"PATH": "/usr/bin:/bin"},
            user=user["uid"],
            group=user["gid"],
            extra_groups=user["groups"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_RUNTIME_TIMEOUT_S,
            check=False,
        )
        return "\n".join(answer.stdout.decode("utf-8", "replace").splitlines()[-10:])
    return ""


def _outputs(directory: Path) -> list[str]:
    with suppress(FileNotFoundError, ValueError):
        paths: list[str] = json.loads((directory / OUTPUTS).read_text(encoding="utf-8"))
        return paths
    return []


def _session(directory: Path) -> int | None:
    """The session of the agent, unless the machine was started anew or the id has a new owner."""
    try:
        pid, boot = (directory / MARKER).read_text(encoding="ascii").split()
    except (FileNotFoundError, ValueError):
        return None
    # The agent is dead: whoever runs under its number now is somebody else.
    return int(pid) if boot == boot_id() and _is_dead(pid) else None


def _is_dead(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _end_processes(task_id: str, session: int | None, group: Path | None) -> int:
    def left() -> Iterator[tuple[int, int]]:
        yield from _processes(task_id, session)
        if group is not None:
            yield from _in_group(group)

    ended = _end(left)
    if group is not None:
        cgroups.remove(group)
    return ended


def _end(find: Callable[[], Iterator[tuple[int, int]]]) -> int:
    """KILL until nothing is found any more. Returns how many processes there were."""
    found: set[int] = set()
    give_up = time.monotonic() + _KILL_LIMIT_S
    while time.monotonic() < give_up:
        left = False
        for pid, descriptor in find():
            left = True
            found.add(pid)
            agents.send(descriptor, signal.SIGKILL)
            os.close(descriptor)
        if not left:
            break
        time.sleep(_LOOK_AGAIN_S)
    return len(found)


def _in_group(group: Path) -> Iterator[tuple[int, int]]:
    """Pids and pidfds of the living. A zombie stays a member until its parent collects it."""
    for pid in cgroups.members(group):
        with suppress(OSError):
            descriptor = os.pidfd_open(pid)
            if pid in cgroups.members(group) and not _is_dead(str(pid)):
                yield pid, descriptor
            else:
                os.close(descriptor)


def _processes(task_id: str, session: int | None) -> Iterator[tuple[int, int]]:
    """Pids and pidfds of the task's living processes, opened before the look, so that each is the one that
    was looked at."""
    token = f"{jobenv.TASK_ID}={task_id}".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            descriptor = os.pidfd_open(int(entry.name))
        except OSError:
            continue
        if _belongs(Path(entry.path), token, session):
            yield int(entry.name), descriptor
        else:
            os.close(descriptor)


def _belongs(process: Path, token: bytes, session: int | None) -> bool:
    with suppress(OSError, IndexError, ValueError):
        state, _, _, own_session = (process / "stat").read_bytes().rpartition(b")")[2].split()[:4]
        if state in (b"Z", b"X"):
            return False
        if session is not None and int(own_session) == session:
            return True
        return token in (process / "environ").read_bytes().split(b"\0")
    return False


def _remove_container(directory: Path) -> None:
    try:
        container = json.loads((directory / NAME_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [container["runtime"], "rm", "--force", container["name"]],
            capture_output=True,
            timeout=_RUNTIME_TIMEOUT_S,
            check=False,
        )


def _remove_mounts(spec: dict[str, Any]) -> None:
    """Job mounts go with the job."""
    for mount in reversed(spec.get("mounts", ())):
        path = Path(mount["path"])
        if mount["level"] != MountLevel.JOB:
            continue
        if path.is_symlink():
            path.unlink()
        elif not removal.unmount_below(path):
            _log.warning("something is still mounted below %s", path)
