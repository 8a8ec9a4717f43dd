"""Waiting for a condition of the world outside, with a deadline. Tests have no other way to wait."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Long, because it only bounds how late a broken service is noticed; nothing asserts a duration.
LIMIT_S = 60.0


def until(check: Callable[[], T], what: str, limit_s: float = LIMIT_S, pause_s: float = 0.03) -> T:
    """The first true answer of `check`. Fails the test, saying `what` did not come, at the deadline."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"within {limit_s:.0f} s there was not: {what} (last answer: {answer!r})")
        time.sleep(pause_s)
