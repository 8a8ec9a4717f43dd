"""One blob and its record on disk: found, replaced, changed, removed. What all kinds of blobs share.

A blob becomes visible by one rename, so a reader or a job sees the old one or the new one. Conditions are
checked under the item's lock, right before the rename.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace

from openbatchai.dataplane import beneath
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
from openbatchai.dataplane.tiers import rehydrated
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import Clock, ItemRef, StorageService

BLOCK_BLOB = "BlockBlob"
APPEND_BLOB = "AppendBlob"
PAGE_BLOB = "PageBlob"
_BLOB = StorageService.BLOB


@dataclass(frozen=True)
class BlobProperties:
    """What a write sets beside the bytes."""

    content: ContentHeaders = NO_CONTENT_HEADERS
    metadata: Mapping[str, str] | None = None
    md5: str = ""
    tier: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    sequence_number: int = 0
    append_blocks: int = 0
    is_sealed: bool = False
    copy: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenItem:
    """An open file with the properties it had when it was opened; whoever got it closes `fd`."""

    fd: int
    item: Item


class BlobTree:
    """Methods that take `container` want the descriptor that `container()` gives."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self.places = places
        self.clock = clock

    def container(self, ref: ItemRef) -> AbstractContextManager[int]:
        """The container's directory; ContainerNotFound when there is none."""
        return self.places.container(ref.account, _BLOB, ref.container)

    def locked(self, ref: ItemRef) -> AbstractContextManager[None]:
        """Taken before container(): while it is held, the container is not taken away."""
        return self.places.locked(ref.account, key_of(ref))

    def store(self, ref: ItemRef) -> SideStore:
        return self.places.store(ref.account)

    def new_upload(self, account: str, *, hashing: bool) -> Upload:
        return Upload(self.places.upload_path(account), hashing=hashing)

    # --- finding

    def find(self, container: int, ref: ItemRef) -> Item | None:
        found = beneath.stat_beneath(container, ref.path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        return self.described(ref, found)

    def existing(self, container: int, ref: ItemRef) -> Item:
        item = self.find(container, ref)
        if item is None:
            raise StorageError(StorageCode.BLOB_NOT_FOUND)
        return item

    def described(self, ref: ItemRef, found: os.stat_result) -> Item:
        record = choose_blob_record(found, *self.store(ref).records(key_of(ref)))
        if record is not None and record.rehydrating_to:
            record = rehydrated(record, self.now_ns())
        return item_of(ref.path, found, record)

    def open_file(self, container: int, ref: ItemRef, flags: int = os.O_RDONLY) -> int:
        """A descriptor of the blob's bytes; FileNotFoundError when there is no such blob."""
        return beneath.open_file(container, ref.path, flags)

    def open(self, ref: ItemRef) -> OpenItem:
        with self.container(ref) as container:
            try:
                fd = self.open_file(container, ref)
            except FileNotFoundError:
                raise StorageError(StorageCode.BLOB_NOT_FOUND) from None
        return OpenItem(fd, self.described(ref, os.fstat(fd)))

    # --- changing

    def check_write(
        self, ref: ItemRef, current: Item | None, conditions: Conditions, *, creates: bool = False
    ) -> None:
        """Whether the request may change what is there now; called under the item's lock.

        `creates`: the call makes the whole blob.
        """
        conditions.check_write(current.version if current else None, creates=creates)

    def replace(
        self,
        ref: ItemRef,
        upload: Upload,
        wanted: BlobProperties,
        conditions: Conditions,
        *,
        blob_type: str = BLOCK_BLOB,
        blocks: str = "",
    ) -> Item:
        """Make `upload` the blob; `blocks` is its committed block list."""
        self.places.sync_content(upload.fd)
        with self.locked(ref), self.container(ref) as container:
            current = self.find(container, ref)
            self.check_write(ref, current, conditions, creates=True)
            record = Record(
                identity=Identity.of(os.fstat(upload.fd)),
                content=wanted.content,
                metadata=dict(wanted.metadata or {}),
                md5=wanted.md5,
                blob_type=blob_type,
                tier=wanted.tier,
                tier_changed_ns=self.now_ns() if wanted.tier else 0,
                tags=dict(wanted.tags),
                sequence_number=wanted.sequence_number,
                append_blocks=wanted.append_blocks,
                is_sealed=wanted.is_sealed,
                copy=dict(wanted.copy),
                created_ns=current.created_ns if current else self.now_ns(),
                stamp=new_stamp(),
            )
            with self._parent(container, ref.path) as parent:
                store, key = self.store(ref), key_of(ref)
                store.announce(key, record, replaces=current.record if current else None, blocks=blocks)
                try:
                    _rename_over(upload, parent, beneath.split(ref.path)[1])
                except BaseException:
                    store.withdraw(key, record)
                    raise
                self.places.sync_directory(parent)
            self.places.drop_blocks(ref)
            return item_of(ref.path, os.fstat(upload.fd), record)

    def update(
        self,
        ref: ItemRef,
        conditions: Conditions,
        change: Callable[[Record], Record],
        *,
        keeps_version: bool = False,
    ) -> Item:
        """Change the record, not the bytes; with `keeps_version` ETag and Last-Modified stay."""
        with self.locked(ref), self.container(ref) as container:
            current = self.existing(container, ref)
            self.check_write(ref, current, conditions)
            record = current.record or Record(
                current.identity, ContentHeaders(type=current.content_type), created_ns=current.created_ns
            )
            record = replace(change(record), identity=current.identity)
            if not keeps_version:
                record = replace(record, stamp=new_stamp(), touched_ns=self.now_ns())
            self.store(ref).put(key_of(ref), record)
            return replace(current, record=record)

    def remove(self, ref: ItemRef, conditions: Conditions) -> None:
        parent_path, name = beneath.split(ref.path)
        with self.locked(ref), self.container(ref) as container:
            current = self.existing(container, ref)
            self.check_write(ref, current, conditions)
            with beneath.directory_beneath(container, parent_path) as parent:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=parent)
                self.places.sync_directory(parent)
            self.store(ref).drop(key_of(ref))
            self.places.drop_blocks(ref)

    def now_ns(self) -> int:
        return int(self.clock.now().timestamp() * 1_000_000) * 1_000

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


def key_of(ref: ItemRef) -> Key:
    return ref.service, ref.container, ref.path


def new_stamp() -> int:
    return secrets.randbits(62)
