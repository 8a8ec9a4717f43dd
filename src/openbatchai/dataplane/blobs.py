"""Blobs as files: put, blocks, append, read, properties, delete (storage.md 5.3, 9).

A blob becomes visible by one rename, so a reader or a job sees the old one or the new one. Conditions are
checked under the item's lock, right before the rename.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace

from openbatchai.dataplane import beneath
from openbatchai.dataplane.blocks import Block, BlockLists, Blocks, Source
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places, remove_empty_directories
from openbatchai.dataplane.records import (
    NO_CONTENT_HEADERS,
    ContentHeaders,
    Identity,
    Item,
    Record,
    choose_blob_record,
    item_of,
)
from openbatchai.dataplane.sidestore import Key, SideStore
from openbatchai.dataplane.uploads import Upload, copy_bytes
from openbatchai.domain.ports import Clock, ItemRef, StorageService

BLOCK_BLOB = "BlockBlob"
APPEND_BLOB = "AppendBlob"
_APPEND_BLOCKS = 50_000
_BLOB = StorageService.BLOB


@dataclass(frozen=True)
class BlobProperties:
    """What a write sets beside the bytes."""

    content: ContentHeaders = NO_CONTENT_HEADERS
    metadata: Mapping[str, str] | None = None
    md5: str = ""
    tier: str = ""


@dataclass(frozen=True)
class OpenItem:
    """An open file with the properties it had when it was opened; whoever got it closes `fd`."""

    fd: int
    item: Item


@dataclass(frozen=True)
class AppendDemands:
    position: int | None = None
    max_size: int | None = None


class Blobs:
    def __init__(self, places: Places, clock: Clock) -> None:
        self._places = places
        self._clock = clock
        self._blocks = Blocks(places)

    def new_upload(self, account: str, *, hashing: bool) -> Upload:
        return Upload(self._places.upload_path(account), hashing=hashing)

    # --- reading

    def open(self, ref: ItemRef) -> OpenItem:
        with self._places.container(ref.account, _BLOB, ref.container) as container:
            try:
                fd = beneath.open_file(container, ref.path)
            except FileNotFoundError:
                raise StorageError(StorageCode.BLOB_NOT_FOUND) from None
        return OpenItem(fd, self._described(ref, os.fstat(fd)))

    def properties(self, ref: ItemRef) -> Item:
        with self._places.container(ref.account, _BLOB, ref.container) as container:
            return self._existing(container, ref)

    def block_lists(self, ref: ItemRef) -> tuple[Item | None, BlockLists]:
        with self._places.container(ref.account, _BLOB, ref.container) as container:
            item = self._find(container, ref)
        lists = BlockLists(self._committed(ref, item), self._blocks.uncommitted(ref))
        if item is None and not lists.uncommitted:
            raise StorageError(StorageCode.BLOB_NOT_FOUND)
        return item, lists

    # --- writing

    def put(
        self,
        ref: ItemRef,
        upload: Upload,
        wanted: BlobProperties,
        conditions: Conditions,
        *,
        blob_type: str = BLOCK_BLOB,
    ) -> Item:
        """Make `upload` the blob."""
        return self._replace(ref, upload, wanted, conditions, blob_type=blob_type, blocks="")

    def put_block(self, ref: ItemRef, block_id: str, upload: Upload) -> None:
        with self._places.container(ref.account, _BLOB, ref.container):
            self._places.sync_staged(upload.fd)
            self._blocks.add(ref, block_id, upload)

    def put_block_list(
        self,
        ref: ItemRef,
        wanted_blocks: list[tuple[Source, str]],
        wanted: BlobProperties,
        conditions: Conditions,
    ) -> Item:
        with self._places.container(ref.account, _BLOB, ref.container) as container:
            current = self._find(container, ref)
            conditions.check_write(current.version if current else None, creates=True)
            lists = BlockLists(self._committed(ref, current), self._blocks.uncommitted(ref))
            chosen = self._blocks.choose(wanted_blocks, lists)
            keeps = any(source is Source.COMMITTED for source, _ in chosen)
            upload = self.new_upload(ref.account, hashing=False)
            try:
                with self._content(container, ref, current if keeps else None) as blob:
                    self._blocks.join(ref, chosen, lists, blob, upload)
                text = "\n".join(f"{block.id} {block.size}" for _, block in chosen)
                return self._replace(ref, upload, wanted, conditions, blob_type=BLOCK_BLOB, blocks=text)
            finally:
                upload.discard()

    def append(
        self, ref: ItemRef, upload: Upload, demands: AppendDemands, conditions: Conditions
    ) -> tuple[int, Item]:
        """Add `upload` at the end; the offset it got, and the blob after it."""
        with self._places.container(ref.account, _BLOB, ref.container) as container, self._locked(ref):
            current = self._settled(container, ref)
            record = current.record
            if record is None or record.blob_type != APPEND_BLOB:
                raise StorageError(StorageCode.INVALID_BLOB_TYPE)
            conditions.check_write(current.version)
            if record.append_blocks >= _APPEND_BLOCKS:
                raise StorageError(StorageCode.BLOCK_COUNT)
            fd = beneath.open_file(container, ref.path, os.O_WRONLY)
            try:
                offset = os.fstat(fd).st_size
                if demands.position not in (None, offset):
                    raise StorageError(StorageCode.APPEND_POSITION)
                if demands.max_size is not None and offset + upload.size > demands.max_size:
                    raise StorageError(StorageCode.MAX_BLOB_SIZE)
                try:
                    copy_bytes(upload.fd, 0, fd, offset, upload.size)
                except OSError:
                    # Refused as a whole: the client sends it again, which must not follow a part of it.
                    os.ftruncate(fd, offset)
                    raise
                self._places.sync_content(fd)
                found = os.fstat(fd)
            finally:
                os.close(fd)
            record = replace(
                record,
                identity=Identity.of(found),
                stamp=_stamp(),
                md5="",
                append_blocks=record.append_blocks + 1,
            )
            self._store(ref).put(_key(ref), record)
            return offset, item_of(ref.path, found, record)

    def set_metadata(self, ref: ItemRef, metadata: Mapping[str, str], conditions: Conditions) -> Item:
        return self._update(ref, conditions, lambda record: replace(record, metadata=dict(metadata)))

    def set_content(self, ref: ItemRef, content: ContentHeaders, md5: str, conditions: Conditions) -> Item:
        return self._update(ref, conditions, lambda record: replace(record, content=content, md5=md5))

    def set_tier(self, ref: ItemRef, tier: str, conditions: Conditions) -> Item:
        return self._update(ref, conditions, lambda record: replace(record, tier=tier))

    def delete(self, ref: ItemRef, conditions: Conditions) -> None:
        parent_path, name = beneath.split(ref.path)
        with self._places.container(ref.account, _BLOB, ref.container) as container, self._locked(ref):
            current = self._existing(container, ref)
            conditions.check_write(current.version)
            with beneath.directory_beneath(container, parent_path) as parent:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=parent)
                self._places.sync_directory(parent)
            self._store(ref).drop(_key(ref))
            self._blocks.drop(ref)

    # --- parts

    def _replace(
        self,
        ref: ItemRef,
        upload: Upload,
        wanted: BlobProperties,
        conditions: Conditions,
        *,
        blob_type: str,
        blocks: str,
    ) -> Item:
        self._places.sync_content(upload.fd)
        with self._places.container(ref.account, _BLOB, ref.container) as container, self._locked(ref):
            current = self._find(container, ref)
            conditions.check_write(current.version if current else None, creates=True)
            now = _ns(self._clock)
            record = Record(
                identity=Identity.of(os.fstat(upload.fd)),
                content=wanted.content,
                metadata=dict(wanted.metadata or {}),
                md5=wanted.md5,
                blob_type=blob_type,
                tier=wanted.tier,
                created_ns=current.created_ns if current else now,
                stamp=_stamp(),
            )
            self._store(ref).put(_key(ref), record, blocks=blocks, pending=True)
            with self._parent(container, ref.path) as parent:
                _rename_over(upload, parent, beneath.split(ref.path)[1])
                self._places.sync_directory(parent)
            self._store(ref).confirm(_key(ref))
            self._blocks.drop(ref)
            return item_of(ref.path, os.fstat(upload.fd), record)

    def _update(self, ref: ItemRef, conditions: Conditions, change: Callable[[Record], Record]) -> Item:
        with self._places.container(ref.account, _BLOB, ref.container) as container, self._locked(ref):
            current = self._settled(container, ref)
            conditions.check_write(current.version)
            record = current.record or Record(
                current.identity, ContentHeaders(type=current.content_type), created_ns=current.created_ns
            )
            record = replace(
                change(record), identity=current.identity, stamp=_stamp(), touched_ns=_ns(self._clock)
            )
            self._store(ref).put(_key(ref), record)
            return replace(current, record=record)

    def _find(self, container: int, ref: ItemRef) -> Item | None:
        found = beneath.stat_beneath(container, ref.path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        return self._described(ref, found)

    def _existing(self, container: int, ref: ItemRef) -> Item:
        item = self._find(container, ref)
        if item is None:
            raise StorageError(StorageCode.BLOB_NOT_FOUND)
        return item

    def _settled(self, container: int, ref: ItemRef) -> Item:
        """The existing blob, about to change its record; called under its lock."""
        item = self._existing(container, ref)
        self._store(ref).settle(_key(ref), item.identity)
        return item

    def _described(self, ref: ItemRef, found: os.stat_result) -> Item:
        return item_of(ref.path, found, choose_blob_record(found, *self._store(ref).records(_key(ref))))

    def _committed(self, ref: ItemRef, item: Item | None) -> tuple[Block, ...]:
        if item is None:
            return ()
        text = self._store(ref).blocks(_key(ref), item.identity)
        parts = (line.rpartition(" ") for line in text.splitlines())
        return tuple(Block(block_id, int(size)) for block_id, _, size in parts)

    @contextmanager
    def _content(self, container: int, ref: ItemRef, current: Item | None) -> Iterator[int | None]:
        """The present blob's bytes, for block lists that keep some of its blocks.

        InvalidBlockList when another content took their place meanwhile.
        """
        if current is None:
            yield None
            return
        try:
            fd = beneath.open_file(container, ref.path)
        except FileNotFoundError:
            raise StorageError(StorageCode.INVALID_BLOCK_LIST) from None
        try:
            if Identity.of(os.fstat(fd)) != current.identity:
                raise StorageError(StorageCode.INVALID_BLOCK_LIST)
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, container: int, path: str) -> Iterator[int]:
        parent_path, _ = beneath.split(path)
        try:
            try:
                fd = beneath.open_beneath(container, parent_path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                beneath.make_parents(container, path)
                fd = beneath.open_beneath(container, parent_path, os.O_RDONLY | os.O_DIRECTORY)
        except (NotADirectoryError, FileNotFoundError):
            raise StorageError(StorageCode.PATH_CONFLICT) from None
        try:
            yield fd
        finally:
            os.close(fd)

    def _locked(self, ref: ItemRef) -> AbstractContextManager[None]:
        return self._places.locked(ref.account, _key(ref))

    def _store(self, ref: ItemRef) -> SideStore:
        return self._places.store(ref.account)


def _rename_over(upload: Upload, parent: int, name: str) -> None:
    try:
        os.rename(upload.path, name, dst_dir_fd=parent)
    except IsADirectoryError:
        # Deleting the last blob under a prefix leaves its directories; an empty one may give way.
        try:
            remove_empty_directories(parent, name)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
                raise StorageError(StorageCode.PATH_CONFLICT) from None
            raise
        os.rename(upload.path, name, dst_dir_fd=parent)


def _key(ref: ItemRef) -> Key:
    return ref.service, ref.container, ref.path


def _stamp() -> int:
    return secrets.randbits(62)


def _ns(clock: Clock) -> int:
    return int(clock.now().timestamp() * 1_000_000) * 1_000
