"""Blocking calls in threads: their results, their errors, and how many threads there are."""

import asyncio
import gc
import threading
import weakref

import pytest

from openbatchai.http.storage.workers import Workers

# A wait that ends only when the code is wrong.
LONG_S = 60


def test_a_call_gives_its_result_and_its_error():
    async def run():
        workers = Workers(2, "test")
        assert await workers.begin(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await workers.begin(divmod, 7, 0)

    asyncio.run(run())


def test_calls_one_after_the_other_share_a_thread_and_calls_at_once_do_not():
    async def run():
        workers = Workers(4, "test")
        alone = {await workers.begin(threading.get_ident) for _ in range(50)}
        assert len(alone) == 1
        assert threading.get_ident() not in alone
        all_at_once = threading.Barrier(4, timeout=LONG_S)
        await asyncio.gather(*(workers.begin(all_at_once.wait) for _ in range(4)))

    asyncio.run(run())


def test_with_all_threads_at_work_a_call_waits_and_if_cancelled_is_not_made():
    made = []

    async def run():
        workers = Workers(1, "test")
        go = threading.Event()
        busy = workers.begin(go.wait, LONG_S)
        dropped, kept = workers.begin(made.append, "dropped"), workers.begin(made.append, "kept")
        dropped.cancel()
        go.set()
        assert await busy
        await kept

    asyncio.run(run())
    assert made == ["kept"]


def test_a_result_that_nobody_waits_for_leaves_the_thread_at_work():
    workers = Workers(1, "test")
    go, reached = threading.Event(), threading.Event()

    async def leave():
        workers.begin(go.wait, LONG_S)

    async def stay():
        async with asyncio.timeout(LONG_S):
            await workers.begin(reached.set)

    # The loop is closed before the call has ended.
    asyncio.run(leave())
    go.set()
    asyncio.run(stay())
    assert reached.is_set()


def test_an_error_is_gone_when_nobody_has_it():
    class WrongError(Exception):
        pass

    def fail():
        raise WrongError

    async def run():
        workers = Workers(1, "test")
        try:
            await workers.begin(fail)
        except WrongError as error:
            seen = weakref.ref(error)
        # The thread is done with it.
        await workers.begin(int)
        return seen

    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()
