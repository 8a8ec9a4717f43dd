"""In a client's process: what its pollers sleep, written down; more than a second is an error at once.

Part of the scripts `poll_*.py`, which run in environments of their own.
"""

import asyncio
import time

LIMIT_S = 1
slept = []
_sleep, _async_sleep = time.sleep, asyncio.sleep


def _note(seconds):
    slept.append(seconds)
    if seconds > LIMIT_S:
        raise AssertionError(f"a poller would sleep for {seconds} s")


def _brief(seconds):
    _note(seconds)
    _sleep(seconds)


async def _async_brief(seconds, *result):
    _note(seconds)
    return await _async_sleep(seconds, *result)


# Before an SDK is imported, which may take the functions by name.
time.sleep, asyncio.sleep = _brief, _async_brief


def taken():
    """What was slept since the last call."""
    found = slept[:]
    slept.clear()
    return found
