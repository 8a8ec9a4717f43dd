"""Marks of who reads what through a SAS, so that a job's end can wait for the reader of its log.

In memory only: after a restart every file counts as possibly being read until the marks would have shown
it (clients.md section 7, "job file stream").
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from openbatchai.domain.ports import ItemRef

_KEPT_S = 60.0
_MOST_MARKS = 10_000


@dataclass
class _Mark:
    fetched_at: float
    told: int


class ReaderMarks:
    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self._marks: OrderedDict[ItemRef, _Mark] = OrderedDict()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[ItemRef], None]] = []

    def on_read(self, callback: Callable[[ItemRef], None]) -> None:
        self._callbacks.append(callback)

    def fetched(self, ref: ItemRef) -> None:
        """Somebody asks for the content."""
        self._mark(ref, 0)

    def told(self, ref: ItemRef, length: int) -> None:
        """An answer that reached the end of the file, `length` bytes by then, has gone out."""
        self._mark(ref, length)
        for callback in self._callbacks:
            callback(ref)

    def unread_since(self, ref: ItemRef, length: int, window_s: float) -> bool:
        now = self._monotonic()
        with self._lock:
            mark = self._marks.get(ref)
            if mark is None:
                return length > 0 and now - self._since < window_s
            return mark.told < length and now - mark.fetched_at <= window_s

    def _mark(self, ref: ItemRef, told: int) -> None:
        now = self._monotonic()
        with self._lock:
            former = self._marks.pop(ref, None)
            self._marks[ref] = _Mark(now, max(told, former.told if former else 0))
            while self._marks:
                oldest = next(iter(self._marks))
                if len(self._marks) <= _MOST_MARKS and now - self._marks[oldest].fetched_at <= _KEPT_S:
                    break
                del self._marks[oldest]
