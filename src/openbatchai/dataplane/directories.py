"""Directories of a share: create, list, describe, delete."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from openbatchai.dataplane import beneath, shareentries, sharelist
from openbatchai.dataplane.bloblist import Page, decode_marker, encode_marker
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sharetree import FileSettings, ShareTree, key_of
from openbatchai.dataplane.smb import NO_WISHES, SmbWishes
from openbatchai.domain.ports import ItemRef


class Directories:
    def __init__(self, tree: ShareTree) -> None:
        self._tree = tree

    def create(self, ref: ItemRef, metadata: Mapping[str, str], smb: SmbWishes = NO_WISHES) -> Item:
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            if not ref.path or shareentries.find(share, ref.path) is not None:
                raise StorageError(StorageCode.RESOURCE_EXISTS)
            path = shareentries.place_for(share, ref.path)
            parent_path, name = beneath.split(path)
            with shareentries.parent_of(share, parent_path) as parent:
                made = tree.places.made_path(ref.account)
                made.mkdir()
                try:
                    made.chmod(beneath.DIRECTORY_MODE)
                    with beneath.open_directory_fd(made) as fd:
                        tree.set_write_time(fd, smb.written)
                    settings = FileSettings(metadata=metadata, smb=smb)
                    with tree.announced(ref, path, share, made.stat(), settings):
                        shareentries.give_name(made, parent, name)
                finally:
                    with suppress(FileNotFoundError):
                        made.rmdir()
                tree.places.sync_directory(parent)
            return tree.described(share, ref, path)

    def properties(self, ref: ItemRef) -> Item:
        with self._tree.share(ref) as share:
            path = self._tree.existing(share, ref, directory=True)
            return self._tree.described(share, ref, path)

    def set_properties(self, ref: ItemRef, smb: SmbWishes) -> Item:
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=True)
            tree.check_wishes(ref, smb)
            with beneath.directory_beneath(share, path) as fd:
                tree.set_write_time(fd, smb.written)
            return tree.change(share, ref, path, lambda record: record, smb)

    def set_metadata(self, ref: ItemRef, metadata: Mapping[str, str]) -> Item:
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=True)
            return tree.change(share, ref, path, lambda record: replace(record, metadata=dict(metadata)))

    def delete(self, ref: ItemRef) -> None:
        tree = self._tree
        with tree.locked(ref), tree.share(ref) as share:
            path = tree.existing(share, ref, directory=True)
            if not path:
                raise StorageError(
                    StorageCode.INVALID_INPUT, "The root directory of a share cannot be deleted."
                )
            tree.check_write(tree.current(share, ref, path), None)
            parent_path, name = beneath.split(path)
            with shareentries.parent_of(share, parent_path) as parent:
                try:
                    os.rmdir(name, dir_fd=parent)
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        raise StorageError(StorageCode.DIRECTORY_NOT_EMPTY) from None
                    raise
                tree.places.sync_directory(parent)
            tree.store(ref).drop(key_of(ref, path))

    def list(
        self, ref: ItemRef, *, prefix: str, marker: str, limit: int, recorded: bool = False
    ) -> Page[Item]:
        """Files and directories in one sequence, ordered without regard to case.

        `recorded` joins the records, which only ETags and creation times need.
        """
        tree = self._tree
        with tree.share(ref) as share:
            path = tree.existing(share, ref, directory=True)
            after = decode_marker(marker) if marker else ""
            found = sharelist.entries(
                share, path, tree.places.tables, prefix=prefix, after=after, limit=limit + 1
            )
        page = found[:limit]
        next_marker = encode_marker(page[-1][0]) if len(found) > limit else ""
        return Page(tree.listed(ref, path, page, recorded=recorded), next_marker)
