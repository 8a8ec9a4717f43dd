"""Append blobs: blocks added at the end, in place (storage.md 5.3, Append Block)."""

import os
from dataclasses import dataclass, replace

from openbatchai.dataplane.blobtree import APPEND_BLOB, BlobTree, key_of, new_stamp
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Identity, Item, Record, item_of
from openbatchai.dataplane.recovery import announce
from openbatchai.dataplane.uploads import Upload, copy_bytes
from openbatchai.domain.ports import ItemRef

_MOST_BLOCKS = 50_000


@dataclass(frozen=True)
class AppendDemands:
    position: int | None = None
    max_size: int | None = None


class Appends:
    def __init__(self, tree: BlobTree) -> None:
        self._tree = tree

    def append(
        self, ref: ItemRef, upload: Upload, demands: AppendDemands, conditions: Conditions
    ) -> tuple[int, Item]:
        """Add `upload` at the end; the offset it got, and the blob after it."""
        with self._tree.locked(ref), self._tree.container(ref) as container:
            current = self._tree.existing(container, ref)
            record = current.record
            if record is None or record.blob_type != APPEND_BLOB:
                raise StorageError(StorageCode.INVALID_BLOB_TYPE)
            self._tree.check_write(ref, current, conditions)
            if record.is_sealed:
                raise StorageError(StorageCode.BLOB_IS_SEALED)
            if record.append_blocks >= _MOST_BLOCKS:
                raise StorageError(StorageCode.BLOCK_COUNT)
            record = replace(
                record,
                stamp=new_stamp(),
                md5="",
                append_blocks=record.append_blocks + 1,
                lease=self._tree.kept_lease(current),
            )
            fd = self._tree.open_file(container, ref, os.O_WRONLY)
            try:
                offset = os.fstat(fd).st_size
                if demands.position not in (None, offset):
                    raise StorageError(StorageCode.APPEND_POSITION)
                if demands.max_size is not None and offset + upload.size > demands.max_size:
                    raise StorageError(StorageCode.MAX_BLOB_SIZE)
                announce(self._tree.places, ref, upload, fd, offset, record)
                try:
                    copy_bytes(upload.fd, 0, fd, offset, upload.size)
                    self._tree.places.sync_content(fd)
                    found = os.fstat(fd)
                    record = replace(record, identity=Identity.of(found))
                    self._tree.store(ref).put(key_of(ref), record)
                except BaseException:
                    # Refused as a whole: the client sends it again, which must not follow any of it.
                    os.ftruncate(fd, offset)
                    raise
                finally:
                    # Under the lock: a start that found it would put its record over what comes later.
                    upload.discard()
            finally:
                os.close(fd)
            return offset, item_of(ref.path, found, record)

    def seal(self, ref: ItemRef, position: int | None, conditions: Conditions) -> Item:
        """Refuse every later append. `position` demands a length, as for an append."""

        def change(record: Record) -> Record:
            if record.blob_type != APPEND_BLOB:
                raise StorageError(StorageCode.INVALID_BLOB_TYPE)
            if position not in (None, record.identity.size):
                raise StorageError(StorageCode.APPEND_POSITION)
            return replace(record, is_sealed=True)

        return self._tree.update(ref, conditions, change)
