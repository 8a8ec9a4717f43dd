"""When what failed is tried again, and when that is told: later and later.

Kept in memory: a service that starts tries everything at once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

_FIRST = timedelta(seconds=1)
LONGEST = timedelta(seconds=30)


@dataclass
class _Failure:
    count: int
    due: datetime
    newest: int


class Retries:
    """Of effects, by their ids. `newest` is that of the last effect on the same object: one that was decided
    since (a termination of what cannot be started) waits for no pause."""

    def __init__(self) -> None:
        self._failures: dict[int, _Failure] = {}

    def is_due(self, effect_id: int, newest: int, now: datetime) -> bool:
        failure = self._failures.get(effect_id)
        if failure is None or failure.newest != newest:
            return True
        # A clock that was set back must not put it off for as long.
        return not now < failure.due <= now + LONGEST

    def failed(self, effect_id: int, newest: int, now: datetime) -> int:
        """How often it failed by now, this time included."""
        failure = self._failures.setdefault(effect_id, _Failure(0, now, newest))
        failure.count += 1
        failure.newest = newest
        # So many doublings reach the longest pause.
        failure.due = now + min(_FIRST * 2 ** min(failure.count - 1, 10), LONGEST)
        return failure.count

    def done(self, effect_id: int) -> None:
        self._failures.pop(effect_id, None)


def is_told(count: int) -> bool:
    """Whether the failure of that number is: the first, the second, the fourth, the eighth, and so on."""
    return count & (count - 1) == 0
