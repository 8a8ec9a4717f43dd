"""How much a share holds. A tree is walked to know it, so the answer is kept for a time that the walk earns:
what is asked for often costs a small part of a core at most, and a small share is always measured anew."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places
from openbatchai.domain.ports import ItemRef

# For how many times the walk's own duration its result is good.
_KEPT = 20
# Every call that waits for another's walk holds one of the service's threads.
_WAIT_S = 5.0


@dataclass(frozen=True)
class _Measured:
    used: int
    until: float


class Usage:
    def __init__(
        self, places: Places, monotonic: Callable[[], float] = time.monotonic, wait_s: float = _WAIT_S
    ) -> None:
        self._places = places
        self._monotonic = monotonic
        self._wait_s = wait_s
        self._walks: dict[tuple[str, str, str], threading.Lock] = {}
        self._known: dict[tuple[str, str, str], _Measured] = {}

    def used_bytes(self, ref: ItemRef) -> int:
        """The length of all files in a share; links are not followed.

        ShareNotFound when there is none; ServerBusy (503) while another call is at it for long.
        """
        key = (ref.account, ref.service.value, ref.container)
        with self._places.container(ref.account, ref.service, ref.container) as share:
            walk = self._walks.setdefault(key, threading.Lock())
            if not walk.acquire(timeout=self._wait_s):
                raise StorageError(StorageCode.SERVER_BUSY)
            try:
                known = self._known.get(key)
                begun = self._monotonic()
                if known is not None and begun < known.until:
                    return known.used
                used = _walk(share)
                ended = self._monotonic()
                self._known[key] = _Measured(used, ended + _KEPT * (ended - begun))
                return used
            finally:
                walk.release()


def _walk(directory: int) -> int:
    total = 0
    for _, _, names, fd in os.fwalk(".", dir_fd=directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
    return total
