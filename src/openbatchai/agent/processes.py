"""Starting, awaiting and ending processes, with one thread and no signal handler.

SIGCHLD and SIGTERM are blocked for the whole life of the agent and collected by sigtimedwait: nothing can
interrupt a half-written file, and a termination that arrives while the agent starts is not lost.
"""

import errno
import os
import signal
from collections.abc import Callable

from openbatchai.agent import faults, tree
from openbatchai.agent.outputs import open_file
from openbatchai.agent.spec import Json
from openbatchai.agent.user import acting_as, become

_KILL_LIMIT_S = 30.0
_CLEANUP_LIMIT_S = 60.0
_LOOK_AGAIN_S = 0.05
_DAY_S = 86400.0
_LOOK_PAUSE_S = 1.0
_FILE_PAUSE_S = 0.2
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_DEFAULTS = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)


def block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)


class Processes:
    """The processes of one task. `limit_s` is its wall clock, counted from now."""

    def __init__(self, limit_s: float | None, grace_s: float) -> None:
        self._limit_s = limit_s
        self._deadline = None if limit_s is None else tree.now() + limit_s
        self._grace_s = grace_s
        self._awaited: tuple[signal.Signals, ...] = (signal.SIGCHLD, signal.SIGTERM)
        self._exits: dict[int, int] = {}
        self._spared: frozenset[int] = frozenset()
        self._look: Callable[[], None] | None = None
        self._is_terminated = False

    def start(
        self,
        arguments: list[str],
        environment: dict[str, str],
        stdout: str,
        stderr: str,
        *,
        files_of: Json | None = None,
        user: Json | None = None,
    ) -> int:
        """Start a process whose output is appended straight to the files. It gets a process group of its
        own, so that `kill 0` in a job does not reach the agent. It runs as `user`; the files are opened with
        the rights of `files_of`."""
        files: list[int] = []
        try:
            with acting_as(files_of):
                files.append(os.open("/dev/null", os.O_RDONLY))
                files.append(open_file(stdout, _APPEND))
                files.append(open_file(stderr, _APPEND))
            if user is not None:
                return _fork_as(user, arguments, environment, files)
            return os.posix_spawn(
                arguments[0],
                arguments,
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)],
                setpgroup=0,
                setsigmask=[],
                setsigdef=_DEFAULTS,
            )
        finally:
            for file in files:
                os.close(file)

    def run(self, arguments: list[str], environment: dict[str, str], output: str) -> int:
        """Run one process to its end; both its outputs go to one file."""
        return self.next_exit({self.start(arguments, environment, output, output)})[1]

    def next_exit(self, among: set[int]) -> tuple[int, int]:
        """Wait for the first of these processes to end: its pid and exit code.

        Raises TaskFailed when the task is terminated or its time is over. A process that had ended before is
        told all the same: both signals may be there at once, and TERM, the lower number, comes first.
        """
        while True:
            self._reap()
            for pid in among & self._exits.keys():
                return pid, self._exits.pop(pid)
            self.go_on()
            self._wait()

    def wait_for(self, path: str) -> None:
        """Until somebody made the file. Raises TaskFailed as `next_exit` does."""
        while not os.path.exists(path):
            self.go_on()
            self._wait(_FILE_PAUSE_S)

    def go_on(self) -> None:
        """Raises TaskFailed when the task was terminated meanwhile."""
        if self._is_terminated:
            raise faults.terminated()

    def look_each_second(self, look: Callable[[], None]) -> None:
        """While waiting for a process; what it raises ends the wait."""
        self._look = look

    def begin_cleanup(self) -> None:
        """From now on neither the task's own limit nor a termination interrupts, only a last limit."""
        self._awaited = (signal.SIGCHLD,)
        self._is_terminated = False
        self._look = None
        self._limit_s = _CLEANUP_LIMIT_S
        self._deadline = tree.now() + _CLEANUP_LIMIT_S

    def spare_present(self) -> None:
        """Leave what runs now alone at the end: the daemons of mounts (FUSE) outlive the steps."""
        if self._has_children():
            self._spared |= frozenset(tree.descendants(os.getpid()))

    def end_spared(self) -> None:
        self._spared = frozenset()
        self.end_all()

    def end_all(self) -> list[int]:
        """End every descendant. Returns who was found running."""
        return self.end({os.getpid()})

    def end(self, roots: set[int]) -> list[int]:
        """TERM, then KILL after the grace, until nothing is left of the trees below `roots`."""
        if not self._has_children() or not (found := self._left(roots)):
            return []
        # A stopped process takes TERM only when continued.
        tree.send(found, signal.SIGTERM)
        tree.send(found, signal.SIGCONT)
        give_up = tree.now() + self._grace_s
        while self._left(roots) and tree.now() < give_up:
            tree.pause(_LOOK_AGAIN_S)
        give_up = tree.now() + _KILL_LIMIT_S
        while (left := self._left(roots)) and tree.now() < give_up:
            tree.send(left, signal.SIGKILL)
            tree.pause(_LOOK_AGAIN_S)
        return found

    def _left(self, roots: set[int]) -> list[int]:
        self._reap()
        own = os.getpid()
        below = tree.descendants(own, self._spared)
        if own in roots:
            return below
        chosen = {pid for root in roots & set(below) for pid in (root, *tree.descendants(root))}
        return [pid for pid in below if pid in chosen]

    def _wait(self, pause_s: float = _DAY_S) -> None:
        if self._look is not None:
            self._look()
            pause_s = min(pause_s, _LOOK_PAUSE_S)
        if self._deadline is None and pause_s == _DAY_S:
            received = signal.sigwaitinfo(self._awaited)
        else:
            left = _DAY_S if self._deadline is None else self._deadline - tree.now()
            if left <= 0:
                raise faults.too_long(self._limit_s or 0)
            # Awake once a day at least: limits may be larger than a timespec holds.
            in_time = signal.sigtimedwait(self._awaited, min(left, pause_s))
            if in_time is None:
                return
            received = in_time
        self._is_terminated = self._is_terminated or received.si_signo == signal.SIGTERM

    def _has_children(self) -> bool:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except OSError as error:
            if error.errno == errno.ECHILD:
                return False
            raise
        return True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            # A shell's convention: the number of the signal plus 128.
            self._exits[pid] = 128 - code if code < 0 else code


def _fork_as(user: Json, arguments: list[str], environment: dict[str, str], files: list[int]) -> int:
    """What posix_spawn cannot do: a process of another user. Raises the OSError with which it failed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_program(user, arguments, environment, files, writing)
    os.close(writing)
    # Closed by a successful exec; else it holds the number of the error.
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    if told:
        os.waitpid(pid, 0)
        number = int(told)
        raise OSError(number, os.strerror(number), arguments[0])
    return pid


def _become_program(
    user: Json, arguments: list[str], environment: dict[str, str], files: list[int], errors: int
) -> None:
    """In the child: never returns."""
    number = errno.EINVAL
    try:
        os.setpgid(0, 0)
        for target, file in enumerate(files):
            os.dup2(file, target)
        become(user)
        for default in _DEFAULTS:
            signal.signal(default, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(arguments[0], arguments, environment)
    except OSError as error:
        number = error.errno or errno.EINVAL
    finally:
        os.write(errors, str(number).encode())
        os._exit(127)
