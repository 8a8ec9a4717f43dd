"""The threads in which blocking calls of one service run.

Not asyncio's run_in_executor: a future of concurrent.futures with its locks, chained to one of the loop's,
is about a fifteenth of what a small request costs in all.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
_Work = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Workers:
    """At most `most` threads, started when all others are at work. They end with the process: what they have
    not done by then has not been answered."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._count = 0
        self._work: SimpleQueue[_Work] = SimpleQueue()
        # One entry for each thread that waits for work, or is about to.
        self._idle: deque[None] = deque()

    def begin(self, function: Callable[..., ResultT], *arguments: Any) -> "asyncio.Future[ResultT]":
        """Call `function` in a thread; the future is the running loop's. Called in one thread only."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        try:
            self._idle.pop()
        except IndexError:
            self._start()
        self._work.put((loop, future, function, arguments))
        return future

    def _start(self) -> None:
        if self._count < self._most:
            Thread(target=self._serve, name=f"{self._name}_{self._count}", daemon=True).start()
            self._count += 1

    def _serve(self) -> None:
        while True:
            self._carry_out(*self._work.get())

    def _carry_out(
        self,
        loop: asyncio.AbstractEventLoop,
        future: "asyncio.Future[Any]",
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        result, error = None, None
        if not future.cancelled():
            try:
                result = function(*arguments)
            except BaseException as raised:
                error = raised
        # Before the result is told: who then begins another call finds this thread.
        self._idle.append(None)
        # RuntimeError: the loop was closed meanwhile, and nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_end, future, result, error)
        # An error knows this frame. If that knew the error, only the garbage collector would find the two.
        del future, error


def _end(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        # Cancelled by who waited for it.
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
