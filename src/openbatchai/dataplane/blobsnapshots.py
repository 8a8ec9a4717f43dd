"""Snapshots of blobs, and taking back what was softly deleted (storage.md 5.3; docs/storage.md)."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from openbatchai.dataplane.blobplaces import NewPlace
from openbatchai.dataplane.blobtree import BlobTree, key_of, marks_folder, new_stamp
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.kept import without_lease
from openbatchai.dataplane.keptrows import Kept
from openbatchai.dataplane.records import Item, first_record
from openbatchai.domain.ports import ItemRef


class BlobSnapshots:
    def __init__(self, tree: BlobTree) -> None:
        self._tree = tree

    def create(
        self, ref: ItemRef, metadata: Mapping[str, str] | None, conditions: Conditions
    ) -> tuple[Item, str]:
        """Freeze the blob as it is now: the snapshot and its time. `metadata=None` takes the blob's own.

        The bytes are copied before the lock is taken, and once more under it if another call has changed the
        blob meanwhile: writers of other blobs do not wait for a large copy. A job may write as it likes, and
        no lock keeps it from that.
        """
        tree = self._tree
        opened = tree.open(ref)
        made: Path | None = None
        try:
            tree.check_snapshot(opened.item, conditions)
            made = tree.kept.copy(opened.fd, ref.account)
            with tree.locked(ref), tree.container(ref) as container:
                current = tree.existing(container, ref)
                tree.check_snapshot(current, conditions)
                if _stamp(current) != _stamp(opened.item):
                    made.unlink()
                    made = None
                    made, current = self._copied(container, ref)
                item = without_lease(_with_metadata(current, metadata, tree.now_ns()))
                kept = tree.kept.add(ref, item, tree.blocks(ref, current), made)
        finally:
            os.close(opened.fd)
            if made is not None:
                made.unlink(missing_ok=True)
        return kept.item, kept.time

    def delete(self, ref: ItemRef, conditions: Conditions) -> bool:
        """Delete the one snapshot `ref.snapshot`; whether that can be taken back."""
        tree = self._tree
        with tree.locked(ref), tree.container(ref):
            kept = tree.kept.snapshot(ref)
            if kept is None:
                raise StorageError(StorageCode.BLOB_NOT_FOUND)
            conditions.check_write(kept.item.version)
            days = tree.retention(ref.account)
            tree.kept.delete(ref, kept, days)
            return days > 0

    def undelete(self, ref: ItemRef) -> None:
        """Take back the deletion of a blob and of its snapshots; nothing happens when none was deleted."""
        tree = self._tree
        with tree.locked(ref), tree.container(ref) as container:
            is_there = tree.find(container, ref) is not None
            if is_there:
                # A job may have made a file where a blob was deleted.
                tree.kept.set_aside(ref)
            deleted = [kept for kept in tree.kept.of_blob(ref) if kept.deleted_ns]
            if not deleted and not is_there:
                raise StorageError(StorageCode.BLOB_NOT_FOUND)
            for kept in deleted:
                if kept.is_snapshot:
                    tree.kept.restore(ref, kept)
                else:
                    self._give_back(container, ref, kept)

    def _give_back(self, container: int, ref: ItemRef, kept: Kept) -> None:
        tree = self._tree
        record = kept.item.record or first_record(kept.item)

        def take(place: Callable[[str, int], None]) -> None:
            new = NewPlace(container, ref.path, place, tree.places.sync_directory)
            new.take(None, is_folder=not kept.item.size and marks_folder(record))

        tree.store(ref).announce(key_of(ref), record, replaces=None, blocks=kept.blocks)
        try:
            tree.kept.give_back(ref, kept, take)
        except BaseException:
            tree.store(ref).withdraw(key_of(ref), record)
            raise

    def _copied(self, container: int, ref: ItemRef) -> tuple[Path, Item]:
        tree = self._tree
        try:
            fd = tree.open_file(container, ref)
        except FileNotFoundError:
            raise StorageError(StorageCode.BLOB_NOT_FOUND) from None
        try:
            return tree.kept.copy(fd, ref.account), tree.described(ref, os.fstat(fd))
        finally:
            os.close(fd)


def _stamp(item: Item) -> tuple[int, int]:
    """Another one after each change that a client makes of a blob's bytes."""
    return item.ino, item.record.stamp if item.record else 0


def _with_metadata(item: Item, metadata: Mapping[str, str] | None, now_ns: int) -> Item:
    if metadata is None:
        return item
    record = replace(
        item.record or first_record(item), metadata=dict(metadata), stamp=new_stamp(), touched_ns=now_ns
    )
    return replace(item, record=record)
