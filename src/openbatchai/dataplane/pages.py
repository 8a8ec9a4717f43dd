"""Page blobs: sparse files written in place, in pages of 512 bytes (storage.md 5.3, Page blob)."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from openbatchai.dataplane.blobtree import PAGE_BLOB, BlobProperties, BlobTree, OpenItem, key_of, new_stamp
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.holes import clear
from openbatchai.dataplane.pageranges import PAGE, PageRange, changed_pages, written_pages
from openbatchai.dataplane.ranges import RangeHeader, Span
from openbatchai.dataplane.records import ContentHeaders, Identity, Item, Record, item_of
from openbatchai.dataplane.recovery import announce
from openbatchai.dataplane.uploads import Upload, copy_bytes
from openbatchai.domain.ports import ItemRef

MOST_BYTES = 8 << 40
_MOST_SEQUENCE_NUMBER = (1 << 63) - 1


class SequenceAction(StrEnum):
    MAX = "max"
    UPDATE = "update"
    INCREMENT = "increment"


@dataclass(frozen=True)
class SequenceDemands:
    """What `x-ms-if-sequence-number-*` headers demand of a blob's sequence number."""

    at_most: int | None = None
    below: int | None = None
    equal: int | None = None

    def check(self, number: int) -> None:
        held = (
            (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
            and (self.equal is None or number == self.equal)
        )
        if not held:
            raise StorageError(StorageCode.SEQUENCE_NUMBER)


NO_DEMANDS = SequenceDemands()


@dataclass(frozen=True)
class PageChanges:
    """What Set Blob Properties changes of a page blob; None stays."""

    size: int | None = None
    action: SequenceAction | None = None
    number: int = 0
    content: ContentHeaders | None = None
    md5: str = ""


@dataclass(frozen=True)
class PagesFound:
    """`next_start` is where the following ranges begin, None when there are none."""

    item: Item
    ranges: list[PageRange]
    next_start: int | None


class Pages:
    def __init__(self, tree: BlobTree) -> None:
        self._tree = tree

    def create(self, ref: ItemRef, size: int, wanted: BlobProperties, conditions: Conditions) -> Item:
        """A new page blob of zeros."""
        upload = self._tree.new_upload(ref.account, hashing=False)
        try:
            upload.extend(size)
            return self._tree.replace(ref, upload, wanted, conditions, blob_type=PAGE_BLOB)
        finally:
            upload.discard()

    def write(
        self, ref: ItemRef, span: Span, upload: Upload, demands: SequenceDemands, conditions: Conditions
    ) -> Item:
        """Put `upload` at `span`; a start after a crash completes what was begun."""

        def put(fd: int, record: Record) -> None:
            _reserve(fd, span)
            announce(self._tree.places, ref, upload, fd, span.start, record, in_place=True)
            copy_bytes(upload.fd, 0, fd, span.start, span.length)

        return self._change(ref, span, demands, conditions, put, upload.discard)

    def clear(self, ref: ItemRef, span: Span, demands: SequenceDemands, conditions: Conditions) -> Item:
        def punch(fd: int, record: Record) -> None:
            clear(fd, span.start, span.end)

        return self._change(ref, span, demands, conditions, punch, lambda: None)

    def ranges(
        self,
        ref: ItemRef,
        limits: RangeHeader | None,
        start: int,
        limit: int,
        conditions: Conditions,
        former: ItemRef | None = None,
    ) -> PagesFound:
        """At most `limit` ranges that hold something, or that differ from `former`, from byte `start` on."""
        opened = self._tree.open(ref)
        try:
            item = opened.item
            if item.blob_type != PAGE_BLOB:
                raise StorageError(StorageCode.INVALID_BLOB_TYPE)
            self._tree.check_read(item, conditions)
            within = _pages_of(limits, item.size)
            first = max(within.start, start)
            if former is None:
                found = list(islice(written_pages(opened.fd, first, within.end), limit + 1))
            else:
                then = self._former(former)
                try:
                    found = list(islice(changed_pages(opened.fd, then.fd, first, within.end), limit + 1))
                finally:
                    os.close(then.fd)
        finally:
            os.close(opened.fd)
        return PagesFound(item, found[:limit], found[limit].start if len(found) > limit else None)

    def _former(self, ref: ItemRef) -> OpenItem:
        try:
            return self._tree.open(ref)
        except StorageError as error:
            if error.code.status != 404:
                raise
            raise StorageError(StorageCode.PREVIOUS_SNAPSHOT_NOT_FOUND) from None

    def set_properties(self, ref: ItemRef, changes: PageChanges, conditions: Conditions) -> Item:
        def described(record: Record) -> Record:
            if changes.action is not None:
                record = replace(record, sequence_number=_next_number(record.sequence_number, changes))
            if changes.content is not None:
                record = replace(record, content=changes.content, md5=changes.md5, copy={})
            return record

        if changes.size is None:
            return self._tree.update(ref, conditions, described)
        size = changes.size

        def resize(fd: int, record: Record) -> None:
            os.ftruncate(fd, size)

        return self._change(ref, None, NO_DEMANDS, conditions, resize, lambda: None, described=described)

    def _change(
        self,
        ref: ItemRef,
        span: Span | None,
        demands: SequenceDemands,
        conditions: Conditions,
        write: Callable[[int, Record], None],
        finish: Callable[[], None],
        *,
        described: Callable[[Record], Record] = lambda record: record,
    ) -> Item:
        """Change the bytes in place. `finish` is called when the call is over, under the lock: what a start
        would complete must not come over what another call writes later."""
        with self._tree.locked(ref), self._tree.container(ref) as container:
            current = self._tree.existing(container, ref)
            record = current.record
            if record is None or record.blob_type != PAGE_BLOB:
                raise StorageError(StorageCode.INVALID_BLOB_TYPE)
            self._tree.check_write(ref, current, conditions)
            demands.check(record.sequence_number)
            if span is not None and span.end > current.size:
                raise StorageError(StorageCode.INVALID_PAGE_RANGE)
            record = replace(
                described(record),
                stamp=new_stamp(),
                touched_ns=self._tree.now_ns(),
                lease=self._tree.kept_lease(current),
            )
            fd = self._tree.open_file(container, ref, os.O_RDWR)
            try:
                write(fd, record)
                self._tree.places.sync_content(fd)
                found = os.fstat(fd)
                record = replace(record, identity=Identity.of(found))
                self._tree.store(ref).put(key_of(ref), record)
            finally:
                os.close(fd)
                finish()
            return item_of(ref.path, found, record)


def _reserve(fd: int, span: Span) -> None:
    """Find the disk full before anything has changed, where the file system can tell."""
    try:
        os.posix_fallocate(fd, span.start, span.length)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


def page_span(limits: RangeHeader | None) -> Span:
    """The pages that a write names; InvalidPageRange unless both ends are at page borders."""
    if limits is None or limits.first is None or limits.last is None:
        raise StorageError(StorageCode.INVALID_PAGE_RANGE)
    span = Span(limits.first, limits.last + 1)
    if span.start % PAGE or span.end % PAGE:
        raise StorageError(StorageCode.INVALID_PAGE_RANGE)
    return span


def _pages_of(limits: RangeHeader | None, size: int) -> Span:
    if limits is None or not size:
        return Span(0, size)
    span = limits.within(size)
    return Span(span.start // PAGE * PAGE, min(-(-span.end // PAGE) * PAGE, size))


def _next_number(number: int, changes: PageChanges) -> int:
    if changes.action is SequenceAction.MAX:
        return max(number, changes.number)
    if changes.action is SequenceAction.UPDATE:
        return changes.number
    if number >= _MOST_SEQUENCE_NUMBER:
        raise StorageError(StorageCode.SEQUENCE_NUMBER_TOO_LARGE)
    return number + 1
