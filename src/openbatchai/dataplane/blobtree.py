"""One blob and its record on disk: found, replaced, changed, removed. What all kinds of blobs share.

A blob becomes visible by one rename, so a reader or a job sees the old one or the new one. Conditions are
checked under the item's lock, right before the rename.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from openbatchai.dataplane import beneath, blobplaces
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.integrity import NO_CHECKS, Checks
from openbatchai.dataplane.kept import KeptBlobs, without_lease
from openbatchai.dataplane.leases import BLOB_CODES, Lease, LeaseRequest, after_write, check_use
from openbatchai.dataplane.leases import change as change_lease
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import (
    NO_CONTENT_HEADERS,
    ContentHeaders,
    Identity,
    Item,
    Record,
    choose_blob_record,
    first_record,
    item_of,
)
from openbatchai.dataplane.sidestore import Key, SideStore
from openbatchai.dataplane.tiers import check_tier_of_type, rehydrated
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import Clock, ItemRef, StorageService

BLOCK_BLOB = "BlockBlob"
APPEND_BLOB = "AppendBlob"
PAGE_BLOB = "PageBlob"
_BLOB = StorageService.BLOB
_FOLDER = "hdi_isfolder"


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


class SnapshotsToo(Enum):
    """What the deletion of a blob does about its snapshots."""

    REFUSE = auto()
    INCLUDE = auto()
    ONLY = auto()


@dataclass(frozen=True)
class OpenItem:
    """An open file with the properties it had when it was opened; whoever got it closes `fd`."""

    fd: int
    item: Item


@contextmanager
def closed_on_error(fd: int) -> Iterator[None]:
    """Until a descriptor has gone to whoever closes it."""
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


def _none(_: str) -> int:
    return 0


class BlobTree:
    """Methods that take `container` want the descriptor that `container()` gives."""

    def __init__(self, places: Places, clock: Clock, retention: Callable[[str], int] = _none) -> None:
        """`retention` gives for how many days an account keeps what is deleted or replaced; 0 for not."""
        self.places = places
        self.clock = clock
        self.kept = KeptBlobs(places, clock)
        self.retention = retention

    def container(self, ref: ItemRef) -> AbstractContextManager[int]:
        """The container's directory; ContainerNotFound when there is none."""
        return self.places.container(ref.account, _BLOB, ref.container)

    def locked(self, ref: ItemRef) -> AbstractContextManager[bool]:
        """Taken before container(): while it is held, the container is not taken away."""
        return self.places.locked(ref.account, key_of(ref))

    def store(self, ref: ItemRef) -> SideStore:
        return self.places.store(ref.account)

    def new_upload(self, account: str, *, hashing: bool, checks: Checks = NO_CHECKS) -> Upload:
        return Upload(self.places.upload_path(account), hashing=hashing, checks=checks)

    # --- finding

    def find(self, container: int, ref: ItemRef) -> Item | None:
        if ref.snapshot:
            kept = self.kept.snapshot(ref)
            return kept.told(self.now_ns()) if kept else None
        found = blobplaces.find(container, ref.path)
        return self.described(ref, found.stat) if found else None

    def existing(self, container: int, ref: ItemRef) -> Item:
        item = self.find(container, ref)
        if item is None:
            raise StorageError(StorageCode.BLOB_NOT_FOUND)
        return item

    def described(self, ref: ItemRef, found: os.stat_result) -> Item:
        record = choose_blob_record(found, *self.store(ref).records(key_of(ref)))
        if record is not None and record.rehydrating_to:
            record = rehydrated(record, self.now_ns())
        return item_of(ref.path, found, record, now_ns=self.now_ns())

    def open_file(self, container: int, ref: ItemRef, flags: int = os.O_RDONLY) -> int:
        """A descriptor of the blob's bytes; FileNotFoundError when there is no such blob."""
        return blobplaces.open_file(container, ref.path, flags)

    # --- for readers, who take no lock

    def properties(self, ref: ItemRef) -> Item:
        with self.container(ref) as container:
            item = self.existing(container, ref)
            if self._is_of_one_version(container, ref, item):
                return item
        with self.locked(ref), self.container(ref) as container:
            return self.existing(container, ref)

    def open(self, ref: ItemRef) -> OpenItem:
        """The blob, or its snapshot."""
        with self.container(ref) as container:
            if ref.snapshot:
                return self._open_snapshot(ref)
            opened = self._opened(container, ref)
            with closed_on_error(opened.fd):
                if self._is_of_one_version(container, ref, opened.item):
                    return opened
            os.close(opened.fd)
        with self.locked(ref), self.container(ref) as container:
            return self._opened(container, ref)

    def _opened(self, container: int, ref: ItemRef) -> OpenItem:
        try:
            fd = self.open_file(container, ref)
        except FileNotFoundError:
            raise StorageError(StorageCode.BLOB_NOT_FOUND) from None
        with closed_on_error(fd):
            return OpenItem(fd, self.described(ref, os.fstat(fd)))

    def _open_snapshot(self, ref: ItemRef) -> OpenItem:
        kept = self.kept.snapshot(ref)
        try:
            if kept is not None:
                return OpenItem(self.kept.open(ref, kept), kept.told(self.now_ns()))
        except FileNotFoundError:
            # Deleted in this moment.
            pass
        raise StorageError(StorageCode.BLOB_NOT_FOUND)

    @staticmethod
    def _is_of_one_version(container: int, ref: ItemRef, item: Item) -> bool:
        """Whether file and record belong together: another request may have come between the looks at them.

        A blob that was changed from outside has a record of another file, too; but it is still there.
        """
        if ref.snapshot or (item.record is not None and item.record.identity == item.identity):
            return True
        found = blobplaces.find(container, ref.path)
        return found is not None and Identity.of(found.stat) == item.identity

    def blocks(self, ref: ItemRef, item: Item) -> str:
        """The committed block list of the blob or snapshot that `item` is, as replace() got it."""
        if not ref.snapshot:
            return self.store(ref).blocks(key_of(ref), item.identity)
        kept = self.kept.snapshot(ref)
        return kept.blocks if kept else ""

    def check_read(self, current: Item, conditions: Conditions) -> None:
        """Whether the request wants the blob as it is: 412, or 304 when the client's copy is still good."""
        conditions.check_read(current.version)
        self._check_lease(current, conditions, needed=False)

    # --- changing

    def check_write(
        self, ref: ItemRef, current: Item | None, conditions: Conditions, *, creates: bool = False
    ) -> None:
        """Whether the request may change what is there now; called under the item's lock.

        `creates`: the call makes the whole blob. The service lets whoever holds the blob's lease replace it
        though the request says `If-None-Match: *`, and the SDKs' `upload_blob(…, lease=…)` counts on that.
        """
        self._check_lease(current, conditions, needed=True)
        if creates and conditions.lease_id and conditions.if_none_match == "*":
            conditions = replace(conditions, if_none_match=None)
        conditions.check_write(current.version if current else None, creates=creates)

    def check_snapshot(self, current: Item, conditions: Conditions) -> None:
        """Whether a snapshot may be taken of what is there now; a leased blob's needs no lease id."""
        conditions.check_write(current.version)
        self._check_lease(current, conditions, needed=False)

    def kept_lease(self, current: Item | None) -> Lease | None:
        """The lease that goes into the record of a blob whose content or record is replaced."""
        return after_write(_lease(current), self.now_ns())

    def lease(self, ref: ItemRef, request: LeaseRequest, conditions: Conditions) -> tuple[Item, Lease | None]:
        """Carry out a lease operation; neither ETag nor time of the blob change by it."""
        with self.locked(ref), self.container(ref) as container:
            current = self.existing(container, ref)
            conditions.check_write(current.version)
            lease = change_lease(_lease(current), request, self.now_ns())
            record = current.record or first_record(current)
            self.store(ref).put(key_of(ref), replace(record, identity=current.identity, lease=lease))
            return current, lease

    def _check_lease(self, current: Item | None, conditions: Conditions, *, needed: bool) -> None:
        lease = _lease(current)
        if lease is not None or conditions.lease_id:
            check_use(lease, self.now_ns(), conditions.lease_id, BLOB_CODES, needed=needed)

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
        check_tier_of_type(wanted.tier, blob_type)
        self.places.sync_content(upload.fd)
        with self.locked(ref), self.container(ref) as container:
            present = blobplaces.find(container, ref.path)
            current = self.described(ref, present.stat) if present else None
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
                lease=self.kept_lease(current),
            )
            store, key = self.store(ref), key_of(ref)
            place = blobplaces.NewPlace(container, ref.path, upload.rename, self.places.sync_directory)
            with self._former_kept(container, ref, present, current, replaced=True):
                store.announce(key, record, replaces=current.record if current else None, blocks=blocks)
                try:
                    place.take(present, is_folder=not upload.size and marks_folder(record))
                except BaseException:
                    if upload.is_staged:
                        store.withdraw(key, record)
                    raise
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
            if ref.snapshot:
                return self._update_snapshot(ref, current, conditions, change)
            self.check_write(ref, current, conditions)
            record = replace(
                change(current.record or first_record(current)),
                identity=current.identity,
                lease=self.kept_lease(current),
            )
            if not keeps_version:
                record = replace(record, stamp=new_stamp(), touched_ns=self.now_ns())
            self.store(ref).put(key_of(ref), record)
            return replace(current, record=record)

    def _update_snapshot(
        self, ref: ItemRef, current: Item, conditions: Conditions, change: Callable[[Record], Record]
    ) -> Item:
        """Tags and tier of a snapshot may be others than the blob's; the rest of it stays as it is."""
        conditions.check_write(current.version)
        record = change(current.record or first_record(current))
        self.kept.rows(ref.account).set_record(key_of(ref), ref.snapshot, record)
        return replace(current, record=record)

    def remove(
        self, ref: ItemRef, conditions: Conditions, snapshots: SnapshotsToo = SnapshotsToo.REFUSE
    ) -> bool:
        """Delete the blob, its snapshots, or both; whether that can be taken back.

        Snapshots of a blob that a job has removed go by INCLUDE or ONLY.
        """
        with self.locked(ref), self.container(ref) as container:
            present = blobplaces.find(container, ref.path)
            current = self.described(ref, present.stat) if present else None
            days = self.retention(ref.account)
            kept = [each for each in self.kept.of_blob(ref) if each.is_snapshot and not each.deleted_ns]
            if current is None and (snapshots is SnapshotsToo.REFUSE or not kept):
                raise StorageError(StorageCode.BLOB_NOT_FOUND)
            self.check_write(ref, current, conditions)
            if kept and snapshots is SnapshotsToo.REFUSE:
                raise StorageError(StorageCode.SNAPSHOTS_PRESENT)
            for snapshot in kept:
                self.kept.delete(ref, snapshot, days)
            if present is not None and current is not None and snapshots is not SnapshotsToo.ONLY:
                self._remove_present(container, ref, present, current)
            return days > 0

    def _remove_present(self, container: int, ref: ItemRef, present: blobplaces.Found, current: Item) -> None:
        is_folder = ref.path.endswith("/") or marks_folder(current.record)
        with self._former_kept(container, ref, present, current, replaced=False):
            sync = self.places.sync_directory
            blobplaces.remove(container, ref.path, present, sync, is_folder=is_folder)
        self.store(ref).drop(key_of(ref))
        self.places.drop_blocks(ref)

    @contextmanager
    def _former_kept(
        self,
        container: int,
        ref: ItemRef,
        present: blobplaces.Found | None,
        current: Item | None,
        *,
        replaced: bool,
    ) -> Iterator[None]:
        """Around what takes the blob's bytes away: they are kept if the account keeps what is deleted."""
        days = self.retention(ref.account)
        if not days:
            yield
            return
        if present is None or current is None:
            yield
            # Not before: if the new blob does not come, the deleted one can still come back.
            self.kept.set_aside(ref)
            return
        item, blocks = without_lease(current), self.blocks(ref, current)
        parent_path, name = beneath.split(present.path)
        with beneath.directory_beneath(container, parent_path) as parent:
            kept = self.kept.keep_former(ref, item, blocks, parent, name, days, replaced=replaced)
        try:
            yield
        except BaseException:
            if kept is not None:
                self.kept.withdraw(ref, kept)
            raise
        if kept is not None:
            self.kept.settle(ref, kept)

    def now_ns(self) -> int:
        return int(self.clock.now().timestamp() * 1_000_000) * 1_000


def marks_folder(record: Record | None) -> bool:
    """Whether a client, as Hadoop and blobfuse do, says with an empty blob that a directory is there."""
    metadata = record.metadata if record else {}
    return any(name.lower() == _FOLDER and value.lower() == "true" for name, value in metadata.items())


def _lease(item: Item | None) -> Lease | None:
    return item.record.lease if item is not None and item.record is not None else None


def key_of(ref: ItemRef) -> Key:
    return ref.service, ref.container, ref.path


def new_stamp() -> int:
    return secrets.randbits(62)
