"""Snapshots of shares: the whole tree as it was, which neither REST nor a job can change (storage.md 7.1).

The copy is made in staging, its rows are written, then a rename makes it a snapshot: rows without their
directory are what a killed service left, and go at the next start.
"""

import os
from collections.abc import Mapping
from dataclasses import replace

from openbatchai.dataplane.beneath import open_directory_fd
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.containers import Container, Containers, refuse_snapshot
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import Identity, Record, first_record
from openbatchai.dataplane.sharemoves import Moves
from openbatchai.dataplane.sharetree import ShareTree
from openbatchai.dataplane.snapshotrows import SnapshotRows
from openbatchai.dataplane.snapshottimes import snapshot_time
from openbatchai.dataplane.treecopy import copy_tree
from openbatchai.domain.ports import Clock, ItemRef, StorageService

_MOST = 200
_ROWS = 500


class ShareSnapshots:
    def __init__(self, tree: ShareTree, containers: Containers, moves: Moves, clock: Clock) -> None:
        self._tree = tree
        self._containers = containers
        self._moves = moves
        self._clock = clock

    def create(self, ref: ItemRef, metadata: Mapping[str, str] | None) -> Container:
        """A snapshot of the share; without metadata of its own it has the share's."""
        refuse_snapshot(ref)
        places = self._tree.places
        with self._moves.alone(ref):
            base = self._containers.get(ref)
            others = self._containers.snapshots(ref)
            if len(others) >= _MOST:
                raise StorageError(StorageCode.SHARE_SNAPSHOT_COUNT)
            taken = replace(ref, snapshot=snapshot_time(self._clock.now(), others[-1] if others else ""))
            made = places.made_path(ref.account)
            made.mkdir(mode=0o700)
            try:
                copied = self._copy(ref, taken, made)
                settings = base.settings if metadata is None else replace(base.settings, metadata=metadata)
                self._containers.describe_snapshot(taken, settings)
                home = places.make_snapshots_home(ref.account, ref.service, ref.container)
                # Not while the share is deleted, which takes its snapshots along.
                with places.locked_all(), self._tree.share(ref) as share:
                    if os.fstat(share).st_ino != copied:
                        # Deleted meanwhile, and made anew.
                        raise StorageError(StorageCode.SHARE_NOT_FOUND)
                    made.rename(home / taken.snapshot)
                    places.sync_path(home)
            except BaseException:
                places.bury(made)
                self._tree.snapshot_rows(ref).drop(taken)
                raise
            return self._containers.get(taken)

    def delete(self, ref: ItemRef, conditions: Conditions) -> None:
        """One snapshot. A lease of it must be named."""
        places = self._tree.places
        with places.locked_all():
            self._containers.check_delete(ref, conditions)
            places.remove_snapshot(ref)
            self._tree.snapshot_rows(ref).drop(ref)

    def _copy(self, ref: ItemRef, taken: ItemRef, made: "os.PathLike[str]") -> int:
        """The inode of the share's directory."""
        tree, rows = self._tree, self._tree.snapshot_rows(ref)
        batch: list[tuple[str, Record]] = []

        def keep(path: str, found: os.stat_result) -> None:
            if not _is_text(path):
                return
            item = tree.item(ref, path, found)
            record = replace(
                item.record or first_record(item),
                identity=Identity.of(found),
                changed_ns=item.changed_ns,
                lease=None,
                origin=(found.st_ino, found.st_ctime_ns),
            )
            batch.append((path, record))
            if len(batch) >= _ROWS:
                rows.add(taken, batch)
                batch.clear()

        with tree.share(ref) as share, open_directory_fd(made) as copy:
            copy_tree(share, copy, keep)
            rows.add(taken, batch)
            tree.places.sync_tree(copy)
            return os.fstat(share).st_ino


def drop_unfinished(places: Places) -> None:
    """At a start: forget the snapshots that a killed service was taking or deleting."""
    for account in places.accounts():
        rows = SnapshotRows(places.store(account).database)
        for share, snapshot in rows.snapshots():
            ref = ItemRef(StorageService.FILE, account, share, snapshot=snapshot)
            try:
                with places.container(account, ref.service, share, snapshot):
                    continue
            except StorageError:
                rows.drop(ref)


def _is_text(path: str) -> bool:
    """Names that are not UTF-8 are on disk only: no client can ask for them."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
