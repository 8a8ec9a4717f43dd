"""How much a share holds. A tree is walked to know it, so the answer is kept for a time that the walk earns:
what is asked for often costs a small part of a core at most, and a small share is always measured anew."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from openbatchai.dataplane.places import Places
from openbatchai.domain.ports import ItemRef

# For how many times the walk's own duration its result is good.
_KEPT = 20


@dataclass(frozen=True)
class _Measured:
    used: int
    until: float


class Usage:
    def __init__(self, places: Places, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._monotonic = monotonic
        self._known: dict[tuple[str, str, str], _Measured] = {}

    def used_bytes(self, ref: ItemRef) -> int:
        """The length of all files in a share; links are not followed. ShareNotFound when there is none."""
        key = (ref.account, ref.service.value, ref.container)
        with self._places.container(ref.account, ref.service, ref.container) as share:
            known = self._known.get(key)
            begun = self._monotonic()
            if known is not None and begun < known.until:
                return known.used
            used = _walk(share)
            ended = self._monotonic()
            self._known[key] = _Measured(used, ended + _KEPT * (ended - begun))
            return used


def _walk(directory: int) -> int:
    total = 0
    for _, _, names, fd in os.fwalk(".", dir_fd=directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
    return total
