"""Signals that unwind: Ctrl-C, SIGTERM and a closed terminal end a command by way of its `finally` blocks."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """A signal asked for the end: not an error that anything may handle."""

    def __init__(self, number: int) -> None:
        self.number = number


class Signals:
    """`with signals.unwinding():` around the whole, `with signals.held():` around what must not be cut."""

    def __init__(self) -> None:
        self._held = 0
        self._waiting: int | None = None

    @contextmanager
    def unwinding(self) -> Iterator[None]:
        """A signal raises in the block, and at its end the process exits with 128 + its number."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        # What is ignored stays so: nohup does that.
        caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
        for number in caught:
            signal.signal(number, self._take)
        try:
            yield
        except _Stopped as stopped:
            sys.exit(128 + stopped.number)
        finally:
            for number in caught:
                signal.signal(number, before[number])

    @contextmanager
    def held(self) -> Iterator[None]:
        """A signal in the block raises at its end."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if not self._held and self._waiting is not None:
            number, self._waiting = self._waiting, None
            raise _Stopped(number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._held:
            raise _Stopped(number)
        self._waiting = number
