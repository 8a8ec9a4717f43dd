"""What the agent says: events for the engine, an execution log for the user, and the record of the end.

The end is one file, `exit.json`, which appears whole and only once whoever writes it; it holds the ENDED
event, so that an agent killed between two writes can never leave two ends behind.
"""

import contextlib
import errno
import json
import os
import time

from openbatchai.agent.outputs import open_file

EVENTS = "events.jsonl"
EXIT = "exit.json"
TASK = "task.json"
LOG = "execution.log"
PRIVATE = "private"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_ROOM_PAUSE_S = 1.0


class Report:
    def __init__(self, directory: str, wake: str, secrets: list[str]) -> None:
        self._directory = directory
        self._wake = wake
        self._secrets = secrets
        self._sequence = 0
        self._events = _append_to(os.path.join(directory, EVENTS), 0o600)
        self._logs = [_append_to(os.path.join(directory, LOG), 0o600)]
        self._said: list[bytes] = []

    def say(self, text: str) -> None:
        """Write to the execution log; values of secrets are masked even in a command line."""
        line = f"{utc_now()} {masked(text, self._secrets)}\n".encode("utf-8", "replace")
        self._said.append(line)
        for log in self._logs:
            # A full or vanished share must not end a job that may not even write to it.
            with contextlib.suppress(OSError):
                os.write(log, line)

    def log_also_to(self, path: str) -> None:
        """Repeat the execution log, from its first line, in a file the user can list."""
        log = _append_to(path, 0o666)
        os.write(log, b"".join(self._said))
        self._logs.append(log)

    def event(self, kind: str, step: str | None = None, exit_code: int | None = None) -> None:
        """For the engine's next look: one comes with each step's poke, with the agent's end, and now and
        then. Looks are not free."""
        record = self._record(kind, step, exit_code)
        # On a full disk the step goes untold; what decides is the end, which waits for room.
        with contextlib.suppress(OSError):
            os.write(self._events, json.dumps(record).encode() + b"\n")

    def end(self, exit_code: int | None, fault: tuple[str, str, list[tuple[str, str]]] | None) -> None:
        """Wipe the secrets, then publish the end: who sees it finds nothing secret any more. A listening
        engine is told by the end of this process, which has nothing left to do."""
        record = self._record("ended", None, exit_code)
        if fault:
            code, message, details = fault
            record["fault"] = {
                "code": code,
                "message": masked(message, self._secrets),
                "details": [(name, masked(value, self._secrets)) for name, value in details],
            }
        while True:
            try:
                wipe(self._directory)
                publish_end(self._directory, record)
                break
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                time.sleep(_ROOM_PAUSE_S)

    def poke(self) -> None:
        """Tell a listening engine to look; nobody listening is fine."""
        with contextlib.suppress(OSError):
            pipe = os.open(self._wake, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, b"!")
            finally:
                os.close(pipe)

    def _record(self, kind: str, step: str | None, exit_code: int | None) -> dict[str, object]:
        self._sequence += 1
        record: dict[str, object] = {"sequence": self._sequence, "kind": kind, "at": utc_now()}
        if step is not None:
            record["step"] = step
        if exit_code is not None:
            record["exit_code"] = exit_code
        return record


def masked(text: str, secrets: list[str]) -> str:
    # The longest first, so that a secret that contains another leaves no remainder.
    for secret in sorted((secret for secret in secrets if secret), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def publish_end(directory: str, record: dict[str, object]) -> bool:
    """Make `exit.json` appear; False when an end was already there."""
    target = os.path.join(directory, EXIT)
    draft = f"{target}.{os.getpid()}"
    _write(draft, record, durably=True)
    try:
        os.link(draft, target)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    _sync_directory(directory)
    return True


def write_private(directory: str, name: str, content: str) -> str:
    """A file that only the owner reads and that `wipe` removes. Returns its path."""
    folder = os.path.join(directory, PRIVATE)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, name)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(content)
    return path


def wipe(directory: str) -> None:
    """Rewrite `task.json` with what identifies the task and nothing else: commands, variables and mount
    options may all hold secrets. What a job did to its directory must not keep it from its end."""
    path = os.path.join(directory, TASK)
    try:
        with open(path, encoding="utf-8") as file:
            task = json.load(file)
    except (OSError, ValueError):
        task = {}
    _empty(os.path.join(directory, PRIVATE))
    kept = {name: task[name] for name in ("id", "kind", "node_id", "run_id") if name in task}
    draft = f"{path}.{os.getpid()}"
    _write(draft, kept, durably=False)
    os.replace(draft, path)


def utc_now() -> str:
    now = time.time_ns()
    whole, fraction = divmod(now, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{fraction // 1000:06d}Z"


def _empty(folder: str) -> None:
    """Links are removed as links; what cannot be removed stays."""
    for inner, folders, files in os.walk(folder, topdown=False):
        for name in files + folders:
            path = os.path.join(inner, name)
            with contextlib.suppress(OSError):
                if os.path.isdir(path) and not os.path.islink(path):
                    os.rmdir(path)
                else:
                    os.unlink(path)


def _append_to(path: str, mode: int) -> int:
    return open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)


def _write(path: str, content: dict[str, object], *, durably: bool) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(file, json.dumps(content).encode())
        if durably:
            os.fsync(file)
    finally:
        os.close(file)


def _sync_directory(directory: str) -> None:
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
