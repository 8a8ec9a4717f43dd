"""One thread that waits for agents to end and for their pokes.

Wake-ups only save time: whatever is missed here is found by the next observe().
"""

import logging
import os
import select
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)


class Watch:
    def __init__(self, wake: Path, ended: Callable[[str], None], changed: Callable[[], None]) -> None:
        """`ended` is called with the task whose agent ended, `changed` after that and at each poke."""
        self._ended = ended
        self._changed = changed
        self._lock = threading.Lock()
        self._tasks: dict[int, str] = {}
        # Two agents of one task may be seen for a moment, when both were started and one gives way.
        self._watched: Counter[str] = Counter()
        self._epoll = select.epoll()
        with suppress(FileExistsError):
            os.mkfifo(wake, 0o600)
        # Read and write: a FIFO without writers would be readable for ever.
        self._pokes = os.open(wake, os.O_RDWR | os.O_NONBLOCK)
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._pokes, select.EPOLLIN)
        self._epoll.register(self._stop, select.EPOLLIN)
        self._thread = threading.Thread(target=self._work, name="engine-watch", daemon=True)
        self._thread.start()

    def add(self, task_id: str, pidfd: int) -> None:
        """Watch an agent; the descriptor is ours from now on."""
        with self._lock:
            self._tasks[pidfd] = task_id
            self._watched[task_id] += 1
            self._epoll.register(pidfd, select.EPOLLIN)

    def watches(self, task_id: str) -> bool:
        with self._lock:
            return self._watched[task_id] > 0

    def tasks(self) -> list[str]:
        """Those with an agent that is watched."""
        with self._lock:
            return [task_id for task_id, number in self._watched.items() if number > 0]

    def close(self) -> None:
        if self._epoll.closed:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        for descriptor in (*self._tasks, self._pokes, self._stop):
            os.close(descriptor)
        self._epoll.close()

    def _work(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._stop:
                    return
                task_id = self._tasks.get(descriptor)
                try:
                    self._handle(descriptor)
                except Exception:
                    # The loop's boundary: one task must not blind the engine to all others.
                    _log.exception("watching task %s failed", task_id)

    def _handle(self, descriptor: int) -> None:
        if descriptor == self._pokes:
            with suppress(BlockingIOError):
                os.read(self._pokes, 4096)
        else:
            task_id = self._take(descriptor)
            self._ended(task_id)
        self._changed()

    def _take(self, pidfd: int) -> str:
        with self._lock:
            task_id = self._tasks.pop(pidfd)
            self._watched[task_id] -= 1
            if self._watched[task_id] == 0:
                del self._watched[task_id]
            self._epoll.unregister(pidfd)
        # An agent started by this process is its child; of an earlier service, it is not.
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        os.close(pidfd)
        return task_id
