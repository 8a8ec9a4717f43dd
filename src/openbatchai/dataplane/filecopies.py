"""Copies into files of a share, of files and blobs (storage.md 7.2, Copy File and Put Range From URL).

A copy is whole in staging before it takes the name, so a reader sees the old file or the new one.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import format_datetime

from openbatchai.dataplane import beneath, crc64, shareentries
from openbatchai.dataplane.clones import clone
from openbatchai.dataplane.copies import Original
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sharetree import FileSettings, ShareTree
from openbatchai.dataplane.smb import NO_WISHES, Attributes, Keep, PermissionWish, SmbWishes, parse_attributes
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import Clock, ItemRef


@dataclass(frozen=True)
class FromSource:
    """Which SMB properties a copy takes from its source, where that is a file."""

    attributes: bool = False
    created: bool = False
    written: bool = False
    changed: bool = False
    permission: bool = False


@dataclass(frozen=True)
class FileCopyWishes:
    """What a request to copy says beside its source. `metadata=None` takes the source's.

    `url` is how the source is told of later on; `archives` sets the Archive attribute whatever else is set.
    """

    url: str
    metadata: Mapping[str, str] | None = None
    smb: SmbWishes = NO_WISHES
    from_source: FromSource = FromSource()
    archives: bool = True
    ignores_read_only: bool = False
    lease_id: str | None = None
    only_new: bool = False


class FileCopies:
    def __init__(self, tree: ShareTree, clock: Clock) -> None:
        self._tree = tree
        self._clock = clock

    def copy(self, ref: ItemRef, original: Original, wishes: FileCopyWishes) -> Item:
        """Make the source the file `ref`; what is there is replaced, unless `only_new`."""
        tree = self._tree
        made = Upload(tree.places.made_path(ref.account), hashing=False)
        try:
            _clone(original, made)
            # The source may have grown meanwhile.
            os.ftruncate(made.fd, original.size)
            settings = self._settings(original, wishes)
            tree.set_write_time(made.fd, settings.smb.written)
            tree.places.sync_content(made.fd)
            with tree.locked(ref), tree.share(ref) as share:
                path = shareentries.place_for(share, ref.path)
                current = tree.current(share, ref, path)
                self._check(current, wishes)
                with shareentries.parent_of(share, beneath.split(path)[0]) as parent:
                    name, found = beneath.split(path)[1], os.fstat(made.fd)
                    with tree.announced(ref, path, share, found, settings, replaces=current):
                        if current is None:
                            shareentries.give_name(made.path, parent, name)
                        else:
                            os.rename(made.path, name, dst_dir_fd=parent)
                    tree.places.sync_directory(parent)
                return tree.described(share, ref, path)
        finally:
            made.discard()

    def _check(self, current: Item | None, wishes: FileCopyWishes) -> None:
        if current is not None and current.is_directory:
            raise StorageError(StorageCode.TYPE_MISMATCH)
        if current is not None and wishes.only_new:
            raise StorageError(StorageCode.RESOURCE_EXISTS)
        self._tree.check_write(current, wishes.lease_id, ignores_read_only=wishes.ignores_read_only)

    def _settings(self, original: Original, wishes: FileCopyWishes) -> FileSettings:
        smb, source = wishes.smb, original.file
        if source is not None:
            smb = _taken(smb, source, wishes.from_source)
        attributes = smb.attributes or Attributes(0)
        return FileSettings(
            content=original.content,
            md5=original.md5,
            metadata=original.metadata if wishes.metadata is None else wishes.metadata,
            smb=replace(
                smb,
                attributes=attributes | Attributes.Archive if wishes.archives else attributes,
                created=Keep.NOW if smb.created is Keep.AS_IS else smb.created,
            ),
            copy={
                "id": str(uuid.uuid4()),
                "source": wishes.url,
                "progress": f"{original.size}/{original.size}",
                "completed": format_datetime(self._clock.now(), usegmt=True),
            },
        )


def _clone(original: Original, made: Upload) -> None:
    try:
        clone(original.fd, made.fd)
    except OSError as error:
        if error.errno is not None:
            raise
        raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE, "The source became shorter.") from None


def _taken(smb: SmbWishes, source: Item, taken: FromSource) -> SmbWishes:
    attributes = parse_attributes(source.attributes, directory=False) if taken.attributes else smb.attributes
    return SmbWishes(
        attributes,
        source.created_ns if taken.created else smb.created,
        source.mtime_ns if taken.written else smb.written,
        source.changed_ns if taken.changed else smb.changed,
        PermissionWish(key=source.permission_key) if taken.permission else smb.permission,
    )


def check_crc64(data: bytes, *, match: str, none_match: str) -> None:
    """The conditions on the sum of a source's bytes; "" when there is none. SourceConditionNotMet."""
    if not match and not none_match:
        return
    found = crc64.to_base64(crc64.crc64(data))
    if (match and found != match) or (none_match and found == none_match):
        raise StorageError(StorageCode.SOURCE_CONDITION_NOT_MET)
