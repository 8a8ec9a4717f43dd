"""What is kept of blobs beside what is there now: the bytes and rows of snapshots and of soft deletion.

The bytes lie outside the users' tree (Places.snapshots_home), each state in a file of its own. The row is
written first, the file comes by a rename or link, then the row counts: a state that a killed service left
half made is never told of, and recovery decides about it by whether its file came.
"""

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from openbatchai.dataplane import blobplaces
from openbatchai.dataplane.clones import clone
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.keptrows import ITSELF, Kept, KeptRows
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sidestore import Key
from openbatchai.dataplane.snapshottimes import snapshot_time
from openbatchai.domain.ports import Clock, ItemRef, StorageService

_SWEEP_NS = 3600 * 1_000_000_000


class KeptBlobs:
    """Called under the blob's lock, except for reading."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self._places = places
        self._clock = clock
        self._next_sweep_ns: dict[str, int] = {}

    def rows(self, account: str) -> KeptRows:
        return KeptRows(self._places.store(account).database)

    # --- reading

    def snapshot(self, ref: ItemRef) -> Kept | None:
        """The snapshot `ref.snapshot`, unless it was deleted."""
        found = self.rows(ref.account).get(_key(ref), ref.snapshot)
        return found if found is not None and found.is_snapshot and not found.deleted_ns else None

    def of_blob(self, ref: ItemRef) -> list[Kept]:
        """Everything kept of the blob, what was deleted and has not expired included."""
        now_ns = self._now_ns()
        found = self.rows(ref.account).of_item(_key(ref))
        return [kept for kept in found if kept.lasts(now_ns)]

    def open(self, ref: ItemRef, kept: Kept) -> int:
        return os.open(self._home(ref) / kept.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def listed_snapshots(self, account: str, container: str, *, prefix: str, start: str) -> Iterator[Item]:
        """For listings (bloblist.ListingSource): snapshots that are not deleted."""
        return self._listed(account, container, prefix, start, snapshots=True, deleted=False)

    def listed_deleted_snapshots(
        self, account: str, container: str, *, prefix: str, start: str
    ) -> Iterator[Item]:
        return self._listed(account, container, prefix, start, snapshots=True, deleted=True)

    def listed_deleted(self, account: str, container: str, *, prefix: str, start: str) -> Iterator[Item]:
        """Blobs that were softly deleted, without their snapshots."""
        return self._listed(account, container, prefix, start, snapshots=False, deleted=True)

    def _listed(
        self, account: str, container: str, prefix: str, start: str, *, snapshots: bool, deleted: bool
    ) -> Iterator[Item]:
        now_ns = self._now_ns()
        for kept in self.rows(account).listed(container, prefix, start):
            if kept.is_snapshot is snapshots and bool(kept.deleted_ns) is deleted and kept.lasts(now_ns):
                yield kept.told(now_ns)

    # --- keeping

    def copy(self, source: int, account: str) -> Path:
        """A copy of an open file that add() can take; whoever asked for it removes it otherwise."""
        path = self._places.made_path(account)
        target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            clone(source, target)
            self._places.sync_content(target)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(target)
        return path

    def add(self, ref: ItemRef, item: Item, blocks: str, made: Path) -> Kept:
        """A new snapshot of the blob, with `made` as its bytes."""
        size = made.stat().st_size
        if size > item.size:
            # A job has added to it since the blob was looked at.
            os.truncate(made, item.size)
        kept = Kept(replace(item, size=min(size, item.size)), self._new_time(ref), uuid.uuid4().hex, blocks)
        self._keep(ref, kept, lambda home: made.rename(home / kept.file))
        self.rows(ref.account).set_ready(_key(ref), kept.time, ready=True)
        return kept

    def keep_former(
        self, ref: ItemRef, item: Item, blocks: str, parent: int, name: str, days: int, *, replaced: bool
    ) -> Kept | None:
        """Keep the bytes of a blob that is about to be removed or replaced; `settle` when that is done.

        `name` in the directory `parent` is where it lies. What a deletion leaves is the blob itself, what a
        replacement leaves is a deleted snapshot of it. None when it is a link of a job's making: what that
        leads to stays where it is.
        """
        if not stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return None
        now_ns = self._now_ns()
        self.set_aside(ref)
        time = self._new_time(ref) if replaced else ITSELF
        expires_ns = now_ns + days * 24 * 3600 * 1_000_000_000
        kept = Kept(item, time, uuid.uuid4().hex, blocks, now_ns, expires_ns)
        self._keep(
            ref,
            kept,
            lambda home: os.link(name, home / kept.file, src_dir_fd=parent, follow_symlinks=False),
        )
        return kept

    def set_aside(self, ref: ItemRef) -> None:
        """A blob deleted before this one of the same name becomes a deleted snapshot."""
        rows = self.rows(ref.account)
        if rows.get(_key(ref), ITSELF) is not None:
            rows.rename(_key(ref), ITSELF, self._new_time(ref))

    def settle(self, ref: ItemRef, kept: Kept) -> None:
        """What keep_former() was called for has happened."""
        self.rows(ref.account).set_ready(_key(ref), kept.time, ready=True)
        self._sweep(ref.account)

    def withdraw(self, ref: ItemRef, kept: Kept) -> None:
        """It has not: nothing is kept."""
        self._unlink(ref, kept)
        self.rows(ref.account).drop(_key(ref), kept.time)

    # --- letting go

    def delete(self, ref: ItemRef, kept: Kept, days: int) -> None:
        """Delete a snapshot: for `days` it can be taken back, for 0 at once and for good."""
        if not days:
            self.remove(ref, kept)
            return
        now_ns = self._now_ns()
        expires_ns = now_ns + days * 24 * 3600 * 1_000_000_000
        self.rows(ref.account).set_deleted(_key(ref), kept.time, now_ns, expires_ns)
        self._sweep(ref.account)

    def remove(self, ref: ItemRef, kept: Kept) -> None:
        rows = self.rows(ref.account)
        rows.set_ready(_key(ref), kept.time, ready=False)
        self._unlink(ref, kept)
        rows.drop(_key(ref), kept.time)

    def restore(self, ref: ItemRef, kept: Kept) -> None:
        """Take the deletion of a snapshot back."""
        self.rows(ref.account).set_deleted(_key(ref), kept.time, 0, 0)

    def give_back(self, ref: ItemRef, kept: Kept, take: Callable[[Callable[[str, int], None]], None]) -> None:
        """Put the bytes of a deleted blob where blobs of its name go: `take` calls what it is given with a
        name and the descriptor of a directory."""
        rows, file = self.rows(ref.account), self._home(ref) / kept.file

        def link(name: str, parent: int) -> None:
            try:
                # Not a rename: what somebody put there meanwhile must stay.
                os.link(file, name, dst_dir_fd=parent)
            except FileExistsError:
                if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name) from None
                raise

        rows.set_ready(_key(ref), kept.time, ready=False)
        try:
            take(link)
        except BaseException:
            rows.set_ready(_key(ref), kept.time, ready=True)
            raise
        self.withdraw(ref, kept)

    # --- when the service starts

    def recover(self, account: str) -> None:
        """Decide about what a killed service was just keeping, giving back or removing."""
        rows = self.rows(account)
        for service, container, path, time, file in rows.unready():
            ref = ItemRef(StorageService(service), account, container, path)
            found = self._home(ref) / file
            if found.exists() and not self._is_the_blobs_own(ref, found):
                rows.set_ready(_key(ref), time, ready=True)
                continue
            # It never came, or it is still (or again) the blob's own.
            with suppress(FileNotFoundError):
                found.unlink()
            rows.drop(_key(ref), time)

    def remove_expired(self, account: str) -> None:
        if self._places.existing_store(account) is None:
            return
        rows = self.rows(account)
        for service, container, path, time in rows.expired(self._now_ns()):
            if self._places.closing:
                return
            ref = ItemRef(StorageService(service), account, container, path)
            with self._places.locked(account, _key(ref)):
                kept = rows.get(_key(ref), time)
                if kept is not None and 0 < kept.expires_ns <= self._now_ns():
                    self.remove(ref, kept)

    # --- parts

    def _is_the_blobs_own(self, ref: ItemRef, file: Path) -> bool:
        """Whether a file that may be kept still, or again, is what the blob's name leads to."""
        try:
            with self._places.container(ref.account, ref.service, ref.container) as container:
                present = blobplaces.find(container, ref.path)
        except StorageError:
            return False
        return present is not None and present.stat.st_ino == file.stat().st_ino

    def _sweep(self, account: str) -> None:
        """Whoever keeps something sees to it, now and then, that nothing is kept too long."""
        now_ns = self._now_ns()
        if now_ns >= self._next_sweep_ns.get(account, 0):
            self._next_sweep_ns[account] = now_ns + _SWEEP_NS
            self._places.in_background(lambda: self.remove_expired(account))

    def _keep(self, ref: ItemRef, kept: Kept, bring: Callable[[Path], object]) -> None:
        home = self._places.make_snapshots_home(ref.account, ref.service, ref.container)
        self.rows(ref.account).announce(_key(ref), kept)
        try:
            bring(home)
        except BaseException:
            self.withdraw(ref, kept)
            raise
        self._places.sync_path(home)

    def _new_time(self, ref: ItemRef) -> str:
        return snapshot_time(self._clock.now(), self.rows(ref.account).latest(_key(ref)))

    def _unlink(self, ref: ItemRef, kept: Kept) -> None:
        with suppress(FileNotFoundError):
            (self._home(ref) / kept.file).unlink()
            self._places.sync_path(self._home(ref))

    def _home(self, ref: ItemRef) -> Path:
        return self._places.snapshots_home(ref.account, ref.service, ref.container)

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000) * 1_000


def without_lease(item: Item) -> Item:
    """A snapshot has none, and a deleted blob comes back without."""
    return replace(item, record=replace(item.record, lease=None)) if item.record else item


def _key(ref: ItemRef) -> Key:
    return ref.service, ref.container, ref.path
