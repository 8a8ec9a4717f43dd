"""Files of a share: ranges are written in place.

In place is the service's own semantics (storage.md 9): a job sees a file that is being uploaded just as it
would over SMB. There is no commit; a file is only made in staging.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from openbatchai.dataplane import beneath, holes, shareentries
from openbatchai.dataplane.blobtree import OpenItem
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sharetree import FileSettings, ShareTree, key_of
from openbatchai.dataplane.uploads import Upload, write_at
from openbatchai.domain.ports import ItemRef

# Ends excluded.
ByteRanges = list[tuple[int, int]]


class Files:
    def __init__(self, tree: ShareTree) -> None:
        self._tree = tree

    def create(self, ref: ItemRef, size: int, settings: FileSettings, *, only_new: bool = False) -> Item:
        """A file of `size` zeros; an existing one keeps its inode, so who has it open sees the change.

        With `only_new` an existing one is a conflict.
        """
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = shareentries.place_for(share, ref.path)
            if only_new and beneath.stat_beneath(share, path) is not None:
                raise StorageError(StorageCode.RESOURCE_EXISTS)
            parent_path, name = beneath.split(path)
            with shareentries.parent_of(share, parent_path) as parent:
                fd = shareentries.open_existing(share, path)
                if fd is None:
                    self._make(ref, path, parent, name, size, settings)
                else:
                    self._empty(ref, path, fd, size, settings)
            return tree.described(share, ref, path)

    def open(self, ref: ItemRef) -> OpenItem:
        tree = self._tree
        with tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            fd = tree.open(share, path, os.O_RDONLY)
            return OpenItem(fd, tree.item(ref, path, os.fstat(fd)))

    def properties(self, ref: ItemRef) -> Item:
        with self._tree.share(ref) as share:
            path = self._tree.existing(share, ref, directory=False)
            return self._tree.described(share, ref, path)

    def put_range(self, ref: ItemRef, start: int, data: bytes) -> Item:
        end = start + len(data)
        return self._write(ref, Span(start, end), lambda fd: write_at(fd, data, start))

    def clear_range(self, ref: ItemRef, span: Span) -> Item:
        return self._write(ref, span, lambda fd: holes.clear(fd, span.start, span.end))

    def data_ranges(self, ref: ItemRef, limits: Callable[[int], Span]) -> tuple[Item, ByteRanges]:
        opened = self.open(ref)
        try:
            span = limits(opened.item.size)
            return opened.item, holes.data_ranges(opened.fd, span.start, span.end)
        finally:
            os.close(opened.fd)

    def set_properties(self, ref: ItemRef, size: int | None, settings: FileSettings) -> Item:
        """`size` resizes the file; None leaves it."""
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            if size is not None:
                fd = tree.open(share, path, os.O_WRONLY)
                try:
                    os.ftruncate(fd, size)
                    tree.places.sync_content(fd)
                finally:
                    os.close(fd)
            return tree.change(
                share, ref, path, lambda record: replace(record, content=settings.content, md5=settings.md5)
            )

    def set_metadata(self, ref: ItemRef, metadata: Mapping[str, str]) -> Item:
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            return tree.change(share, ref, path, lambda record: replace(record, metadata=dict(metadata)))

    def delete(self, ref: ItemRef) -> None:
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            parent_path, name = beneath.split(path)
            with shareentries.parent_of(share, parent_path) as parent:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=parent)
                tree.places.sync_directory(parent)
            tree.store(ref).drop(key_of(ref, path))

    def _make(
        self, ref: ItemRef, path: str, parent: int, name: str, size: int, settings: FileSettings
    ) -> None:
        """Complete, with its length and its record, before it gets its name."""
        places = self._tree.places
        made = Upload(places.made_path(ref.account), hashing=False)
        try:
            os.ftruncate(made.fd, size)
            places.sync_content(made.fd)
            self._tree.new_record(ref, path, os.fstat(made.fd), settings)
            shareentries.give_name(made.path, parent, name)
        finally:
            made.discard()
        places.sync_directory(parent)

    def _empty(self, ref: ItemRef, path: str, fd: int, size: int, settings: FileSettings) -> None:
        try:
            os.ftruncate(fd, 0)
            os.ftruncate(fd, size)
            self._tree.places.sync_content(fd)
            self._tree.new_record(ref, path, os.fstat(fd), settings)
        finally:
            os.close(fd)

    def _write(self, ref: ItemRef, span: Span, write: Callable[[int], None]) -> Item:
        # No lock: ranges of one file come in parallel, and the kernel orders writes to one inode.
        tree = self._tree
        with tree.share(ref) as share:
            path = tree.existing(share, ref, directory=False)
            fd = tree.open(share, path, os.O_WRONLY)
            try:
                size = os.fstat(fd).st_size
                if span.end > size:
                    raise StorageError(
                        StorageCode.INVALID_RANGE, headers={"Content-Range": f"bytes */{size}"}
                    )
                write(fd)
                tree.places.sync_range(fd, reaches_end=span.end == size)
                return tree.item(ref, path, os.fstat(fd))
            finally:
                os.close(fd)
