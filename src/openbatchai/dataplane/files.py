"""Files of a share: ranges are written in place.

In place is the service's own semantics (storage.md 9): a job sees a file that is being uploaded just as it
would over SMB. There is no commit; a file is only made in staging.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from openbatchai.dataplane import beneath, holes, shareentries
from openbatchai.dataplane.blobtree import OpenItem, closed_on_error
from openbatchai.dataplane.containers import refuse_snapshot
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.leases import Lease, LeaseRequest
from openbatchai.dataplane.pageranges import PAGE, PageRange, changed_pages, written_pages
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import Item, Record, item_of
from openbatchai.dataplane.sharetree import FileSettings, ShareTree, key_of
from openbatchai.dataplane.smb import Attributes, Keep
from openbatchai.dataplane.uploads import Upload, write_at
from openbatchai.domain.ports import ItemRef


@dataclass(frozen=True)
class RangeList:
    """Ranges of a file in their order; in a comparison some are clear now."""

    item: Item
    ranges: list[PageRange]


class Files:
    def __init__(self, tree: ShareTree) -> None:
        self._tree = tree

    def create(
        self,
        ref: ItemRef,
        size: int,
        settings: FileSettings,
        *,
        content: bytes = b"",
        lease_id: str | None = None,
        only_new: bool = False,
    ) -> Item:
        """A file of `size` bytes, `content` and then zeros; an existing one keeps its inode, so who has it
        open sees the change. With `only_new` an existing one is a conflict.
        """
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = shareentries.place_for(share, ref.path)
            current = tree.current(share, ref, path)
            if only_new and current is not None:
                raise StorageError(StorageCode.RESOURCE_EXISTS)
            tree.check_write(current, lease_id)
            tree.check_wishes(ref, settings.smb)
            with shareentries.parent_of(share, beneath.split(path)[0]) as parent:
                fd = shareentries.open_existing(share, path)
                if fd is None:
                    self._make(ref, path, share, parent, _Content(size, content), settings)
                else:
                    self._fill(ref, path, share, fd, _Content(size, content), settings)
            return tree.described(share, ref, path)

    def open(self, ref: ItemRef) -> OpenItem:
        tree = self._tree
        with tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            fd = tree.open(share, path, os.O_RDONLY)
            with closed_on_error(fd):
                return OpenItem(fd, tree.item(ref, path, os.fstat(fd)))

    def check_read(self, item: Item, lease_id: str | None) -> None:
        """Whether a request that names a lease may read the file."""
        self._tree.check_read(item, lease_id)

    def lease(self, ref: ItemRef, request: LeaseRequest) -> tuple[Item, Lease | None]:
        return self._tree.lease(ref, request)

    def properties(self, ref: ItemRef) -> Item:
        with self._tree.share(ref) as share:
            path = self._tree.existing(share, ref, directory=False)
            return self._tree.described(share, ref, path)

    def put_range(
        self,
        ref: ItemRef,
        start: int,
        data: bytes,
        *,
        lease_id: str | None = None,
        keeps_write_time: bool = False,
    ) -> Item:
        span = Span(start, start + len(data))
        return self._write(ref, span, lambda fd: write_at(fd, data, start), lease_id, keeps_write_time)

    def clear_range(
        self, ref: ItemRef, span: Span, *, lease_id: str | None = None, keeps_write_time: bool = False
    ) -> Item:
        return self._write(
            ref, span, lambda fd: holes.clear(fd, span.start, span.end), lease_id, keeps_write_time
        )

    def data_ranges(
        self, ref: ItemRef, limits: Callable[[int], Span], *, lease_id: str | None = None
    ) -> RangeList:
        opened = self.open(ref)
        try:
            self._tree.check_read(opened.item, lease_id)
            span = limits(opened.item.size)
            return RangeList(opened.item, _clipped(written_pages(opened.fd, *_pages(span)), span))
        finally:
            os.close(opened.fd)

    def changed_ranges(
        self,
        ref: ItemRef,
        previous: str,
        limits: Callable[[int], Span],
        *,
        follows_renames: bool = False,
        lease_id: str | None = None,
    ) -> RangeList:
        """What changed since the share's snapshot `previous`, an older one when `ref` has one itself.

        A file that had another name then is compared when `follows_renames` says so.
        """
        if ref.snapshot and previous >= ref.snapshot:
            raise StorageError(StorageCode.PREVIOUS_SNAPSHOT_NOT_FOUND)
        opened = self.open(ref)
        try:
            self._tree.check_read(opened.item, lease_id)
            span = limits(opened.item.size)
            former = self._former(replace(ref, snapshot=previous), opened.item, follows_renames)
            if former is None:
                return RangeList(opened.item, _clipped(written_pages(opened.fd, *_pages(span)), span))
            try:
                found = changed_pages(opened.fd, former, *_pages(span))
                return RangeList(opened.item, _clipped(found, span))
            finally:
                os.close(former)
        finally:
            os.close(opened.fd)

    def _former(self, ref: ItemRef, item: Item, follows_renames: bool) -> int | None:
        """The descriptor of a file as it was in a snapshot; None when it was not there yet."""
        tree = self._tree
        try:
            with tree.share(ref) as share:
                found = shareentries.find(share, ref.path)
                then = tree.current(share, ref, found) if found is not None else None
                if then is None or then.ino != item.ino:
                    elsewhere = tree.snapshot_rows(ref).path_of(ref, item.ino)
                    if elsewhere is not None and follows_renames:
                        return tree.open(share, elsewhere, os.O_RDONLY)
                    if elsewhere is not None or then is not None:
                        raise StorageError(StorageCode.FILE_GENERATION_MISMATCH)
                    return None
                return tree.open(share, found or "", os.O_RDONLY)
        except StorageError as error:
            if error.code is StorageCode.SHARE_SNAPSHOT_NOT_FOUND:
                raise StorageError(StorageCode.PREVIOUS_SNAPSHOT_NOT_FOUND) from None
            raise

    def set_properties(
        self, ref: ItemRef, size: int | None, settings: FileSettings, lease_id: str | None = None
    ) -> Item:
        """`size` resizes the file; None leaves it."""
        tree, wishes = self._tree, settings.smb
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            # The attributes of a read-only file may be changed, and with that its length.
            lifted = wishes.attributes is not None and not wishes.attributes & Attributes.ReadOnly
            tree.check_write(
                tree.current(share, ref, path), lease_id, ignores_read_only=size is None or lifted
            )
            tree.check_wishes(ref, wishes)
            if size is not None or wishes.written is not Keep.AS_IS:
                fd = tree.open(share, path, os.O_WRONLY)
                try:
                    if size is not None:
                        os.ftruncate(fd, size)
                    tree.set_write_time(fd, wishes.written)
                    tree.places.sync_content(fd)
                finally:
                    os.close(fd)

            def change(record: Record) -> Record:
                return replace(record, content=settings.content, md5=settings.md5)

            return tree.change(share, ref, path, change, wishes)

    def set_metadata(self, ref: ItemRef, metadata: Mapping[str, str], lease_id: str | None = None) -> Item:
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            tree.check_write(tree.current(share, ref, path), lease_id, ignores_read_only=True)
            return tree.change(share, ref, path, lambda record: replace(record, metadata=dict(metadata)))

    def delete(self, ref: ItemRef, lease_id: str | None = None) -> None:
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            tree.check_write(tree.current(share, ref, path), lease_id)
            parent_path, name = beneath.split(path)
            with shareentries.parent_of(share, parent_path) as parent:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=parent)
                tree.places.sync_directory(parent)
            tree.store(ref).drop(key_of(ref, path))

    def _make(
        self, ref: ItemRef, path: str, share: int, parent: int, content: "_Content", settings: FileSettings
    ) -> None:
        """Complete, with its length and its record, before it gets its name."""
        tree, places = self._tree, self._tree.places
        made = Upload(places.made_path(ref.account), hashing=False)
        try:
            self._write_whole(made.fd, content, settings)
            with tree.announced(ref, path, share, os.fstat(made.fd), settings):
                shareentries.give_name(made.path, parent, beneath.split(path)[1])
        finally:
            made.discard()
        places.sync_directory(parent)

    def _fill(
        self, ref: ItemRef, path: str, share: int, fd: int, content: "_Content", settings: FileSettings
    ) -> None:
        try:
            os.ftruncate(fd, 0)
            self._write_whole(fd, content, settings)
            self._tree.new_record(ref, path, share, os.fstat(fd), settings)
        finally:
            os.close(fd)

    def _write_whole(self, fd: int, content: "_Content", settings: FileSettings) -> None:
        os.ftruncate(fd, content.size)
        write_at(fd, content.data, 0)
        self._tree.set_write_time(fd, settings.smb.written)
        self._tree.places.sync_content(fd)

    def _write(
        self,
        ref: ItemRef,
        span: Span,
        write: Callable[[int], None],
        lease_id: str | None,
        keeps_write_time: bool,
    ) -> Item:
        refuse_snapshot(ref)
        # No lock: ranges of one file come in parallel, and the kernel orders writes to one inode.
        tree = self._tree
        with tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            fd = tree.open(share, path, os.O_WRONLY)
            try:
                before = os.fstat(fd)
                item = tree.item(ref, path, before)
                tree.check_write(item, lease_id)
                if span.end > before.st_size:
                    raise StorageError(
                        StorageCode.INVALID_RANGE, headers={"Content-Range": f"bytes */{before.st_size}"}
                    )
                write(fd)
                if keeps_write_time:
                    tree.set_write_time(fd, before.st_mtime_ns)
                tree.places.sync_range(fd, reaches_end=span.end == before.st_size)
                return item_of(path, os.fstat(fd), item.record)
            finally:
                os.close(fd)


@dataclass(frozen=True)
class _Content:
    """What a file is to hold: `data` and, up to `size`, zeros."""

    size: int
    data: bytes


def _pages(span: Span) -> tuple[int, int]:
    return span.start // PAGE * PAGE, span.end


def _clipped(ranges: Iterable[PageRange], span: Span) -> list[PageRange]:
    return [replace(each, start=max(each.start, span.start)) for each in ranges if each.end > span.start]
