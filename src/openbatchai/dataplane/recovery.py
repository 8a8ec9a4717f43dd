"""What a start does about the calls that a killed service was carrying out (docs/storage.md, "Durability").

Blobs are replaced by renames, so of those nothing is ever half done. Left over are blocks that were being
added to append blobs, which happens in place, and rows of the side store whose item never came or has gone.
"""

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from openbatchai.dataplane import beneath, blobplaces
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.kept import KeptBlobs
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sidestore import Key, SideStore
from openbatchai.dataplane.uploads import Upload, copy_bytes, write_at
from openbatchai.domain.ports import ItemRef, StorageService

_LENGTH = 8
_COMPARED = 1 << 20
_ROWS = 500


@dataclass(frozen=True)
class Append:
    """A block on its way to the end of a blob: the file's inode, its length before, its record after.

    `in_place`: pages on their way to `offset`, where others are.
    """

    container: str
    path: str
    ino: int
    offset: int
    size: int
    record: str
    in_place: bool = False


def announce(
    places: Places,
    ref: ItemRef,
    upload: Upload,
    fd: int,
    offset: int,
    record: Record,
    *,
    in_place: bool = False,
) -> None:
    """Called before `upload` is copied to the end of the blob that `fd` is open on.

    From now on, until the upload is discarded, recovery finds the block with what was to be done with it.
    """
    entry = Append(
        ref.container, ref.path, os.fstat(fd).st_ino, offset, upload.size, record.document(), in_place
    )
    text = json.dumps(vars(entry)).encode()
    write_at(upload.fd, text + len(text).to_bytes(_LENGTH, "little"), upload.size)
    places.sync_staged(upload.fd)
    path = places.append_path(ref.account)
    upload.path.rename(path)
    upload.path = path


def finish_appends(places: Places) -> None:
    """Take back each block that only a part of is there, and complete the record of one that is there."""
    for path in places.unfinished_appends():
        account = path.parents[2].name
        with path.open("rb") as block:
            entry = _entry(block.fileno())
            if entry is not None:
                _finish(places, account, entry, block.fileno())
        path.unlink()


def _entry(block: int) -> Append | None:
    """None when the machine lost power before it was complete; then nothing had been added yet."""
    size = os.fstat(block).st_size
    length = int.from_bytes(os.pread(block, _LENGTH, max(size - _LENGTH, 0)), "little")
    if length > size - _LENGTH:
        return None
    try:
        return Append(**json.loads(os.pread(block, length, size - _LENGTH - length)))
    except (ValueError, TypeError):
        return None


def _finish(places: Places, account: str, entry: Append, block: int) -> None:
    try:
        with places.container(account, StorageService.BLOB, entry.container) as container:
            blob = blobplaces.open_file(container, entry.path, os.O_RDWR)
    except (StorageError, OSError):
        # Gone, or it is another file now that cannot be written, as a job's may be.
        return
    try:
        found = os.fstat(blob)
        added = found.st_size - entry.offset
        if entry.in_place:
            _complete(places, account, entry, block, blob)
            return
        # Whatever a job has added or changed since is the job's, and stays.
        if found.st_ino != entry.ino or not 0 < added <= entry.size:
            return
        if not _same(blob, entry.offset, block, added):
            return
        if added < entry.size:
            os.ftruncate(blob, entry.offset)
            places.sync_content(blob)
            return
        key = (StorageService.BLOB, entry.container, entry.path)
        places.store(account).put(key, Record.parse(Identity.of(found), entry.record))
    finally:
        os.close(blob)


def _complete(places: Places, account: str, entry: Append, block: int, blob: int) -> None:
    """Pages may be half there; all of them are at hand, and nobody was told that they are not."""
    found = os.fstat(blob)
    if found.st_ino != entry.ino or found.st_size < entry.offset + entry.size:
        return
    copy_bytes(block, 0, blob, entry.offset, entry.size)
    places.sync_content(blob)
    record = Record.parse(Identity.of(os.fstat(blob)), entry.record)
    places.store(account).put((StorageService.BLOB, entry.container, entry.path), record)


def _same(blob: int, offset: int, block: int, length: int) -> bool:
    for start in range(0, length, _COMPARED):
        count = min(_COMPARED, length - start)
        if os.pread(blob, count, offset + start) != os.pread(block, count, start):
            return False
    return True


def drop_orphans(places: Places) -> None:
    """Drop the rows of items that are not there, left by a killed service or by a job that deletes.

    In the background, so clients may be at work meanwhile: what seems to be gone is looked at once more under
    the locks.
    """
    for account in places.accounts():
        store = places.existing_store(account)
        # An account that is deleted meanwhile needs nothing dropped; the others still do.
        with suppress(StorageError):
            if store is not None:
                _drop_orphans_of(places, account, store)


def _drop_orphans_of(places: Places, account: str, store: SideStore) -> None:
    # First: what of a container is left goes at once, instead of item by item.
    for service, name in {*store.containers(), *places.containers_with_snapshots(account)}:
        _drop_absent_container(places, account, store, service, name)
    last: Key | None = None
    while not places.closing and (keys := store.keys_after(last, _ROWS)):
        for container, group in groupby(keys, key=lambda key: key[:2]):
            _drop_absent(places, account, store, container, list(group))
        last = keys[-1]


def recover_kept(places: Places, kept: KeptBlobs) -> None:
    """Settle what a killed service was keeping of blobs, and let go of what need not be kept any longer."""
    accounts = places.accounts()
    for account in accounts:
        kept.recover(account)

    def expire() -> None:
        for account in accounts:
            kept.remove_expired(account)

    places.in_background(expire)


def _drop_absent_container(
    places: Places, account: str, store: SideStore, service: StorageService, name: str
) -> None:
    with places.locked_all():
        if not places.container_path(account, service, name).is_dir():
            store.drop_container(service, name)
            places.remove_leftovers(account, service, name)


def _drop_absent(
    places: Places, account: str, store: SideStore, container: tuple[StorageService, str], keys: list[Key]
) -> None:
    if not places.container_path(account, *container).is_dir():
        _drop_absent_container(places, account, store, *container)
        return
    gone = _absent(places, account, container, keys)
    if gone:
        # One transaction, and with it one sync, for all of them.
        with places.locked_all():
            store.drop(*_absent(places, account, container, gone))


def _absent(
    places: Places, account: str, container: tuple[StorageService, str], keys: list[Key]
) -> list[Key]:
    """Those whose item is not there; what cannot be looked at counts as being there."""
    try:
        with places.container(account, *container) as directory:
            return [key for key in keys if not _is_there(directory, key)]
    except StorageError:
        return keys
    except OSError:
        return []


def _is_there(directory: int, key: Key) -> bool:
    try:
        if key[0] is StorageService.BLOB:
            return blobplaces.find(directory, key[2]) is not None
        found = beneath.stat_beneath(directory, key[2])
    except OSError:
        return True
    return found is not None and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))
