"""A share's directory joined with its records: what the groups of Files operations stand on."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from openbatchai.dataplane import beneath, filenames, shareentries, sharelist
from openbatchai.dataplane.containers import refuse_snapshot
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.leases import FILE_CODES, Lease, LeaseRequest, after_write, check_use
from openbatchai.dataplane.leases import change as change_lease
from openbatchai.dataplane.permissions import Permissions
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import (
    NO_CONTENT_HEADERS,
    ContentHeaders,
    Identity,
    Item,
    Record,
    first_record,
    item_of,
)
from openbatchai.dataplane.sidestore import Key, Records, SideStore
from openbatchai.dataplane.smb import (
    NO_WISHES,
    Keep,
    PermissionWish,
    SmbWishes,
    TimeWish,
    attributes_text,
)
from openbatchai.dataplane.snapshotrows import SnapshotRows
from openbatchai.domain.ports import Clock, ItemRef


@dataclass(frozen=True)
class FileSettings:
    """What Create File and Set File Properties set beside the length."""

    content: ContentHeaders = NO_CONTENT_HEADERS
    md5: str = ""
    metadata: Mapping[str, str] | None = None
    smb: SmbWishes = NO_WISHES
    copy: Mapping[str, str] = field(default_factory=dict)


class ShareTree:
    """`share` in these methods is the descriptor of the share's directory; paths are as written on disk
    unless they come in an ItemRef."""

    def __init__(self, places: Places, permissions: Permissions, clock: Clock) -> None:
        self.places = places
        self._permissions = permissions
        self._clock = clock

    def share(self, ref: ItemRef) -> AbstractContextManager[int]:
        return self.places.container(ref.account, ref.service, ref.container, ref.snapshot)

    def locked(self, ref: ItemRef) -> AbstractContextManager[bool]:
        """For a change of the item."""
        refuse_snapshot(ref)
        return self.places.locked(ref.account, key_of(ref, filenames.fold(ref.path)))

    def store(self, ref: ItemRef) -> SideStore:
        return self.places.store(ref.account)

    def snapshot_rows(self, ref: ItemRef) -> SnapshotRows:
        return SnapshotRows(self.store(ref).database)

    def existing(self, share: int, ref: ItemRef, *, directory: bool) -> str:
        """The path on disk of what is asked for, in the letter case it has there."""
        path = shareentries.find(share, ref.path)
        found = None if path is None else beneath.stat_beneath(share, path)
        if path is None or found is None:
            filenames.check_legal(ref.path)
            shareentries.check_parent(share, ref.path)
            raise StorageError(StorageCode.RESOURCE_NOT_FOUND)
        if not (stat.S_ISDIR(found.st_mode) if directory else stat.S_ISREG(found.st_mode)):
            raise StorageError(StorageCode.RESOURCE_NOT_FOUND)
        return path

    def open(self, share: int, path: str, flags: int) -> int:
        try:
            return beneath.open_file(share, path, flags)
        except FileNotFoundError:
            raise StorageError(StorageCode.RESOURCE_NOT_FOUND) from None

    def described(self, share: int, ref: ItemRef, path: str) -> Item:
        found = beneath.stat_beneath(share, path)
        if found is None:
            raise StorageError(StorageCode.RESOURCE_NOT_FOUND)
        parent = self.current(share, ref, beneath.split(path)[0]) if path and ref.snapshot else None
        parent_ino = parent.ino if parent is not None else self._parent_ino(share, path)
        return replace(self.item(ref, path, found), parent_ino=parent_ino)

    def _parent_ino(self, share: int, path: str) -> int:
        found = beneath.stat_beneath(share, beneath.split(path)[0]) if path else None
        return found.st_ino if found is not None else 0

    def current(self, share: int, ref: ItemRef, path: str) -> Item | None:
        """What lies at a path on disk, if anything does."""
        found = beneath.stat_beneath(share, path)
        return self.item(ref, path, found) if found is not None else None

    def item(self, ref: ItemRef, path: str, found: os.stat_result) -> Item:
        if ref.snapshot:
            return item_of(path, found, self.snapshot_rows(ref).record(ref, path))
        return self.joined(path, found, self.store(ref).records(key_of(ref, path)))

    def joined(self, name: str, found: os.stat_result, records: Records) -> Item:
        """A file or directory with the one of its records that was written for it."""
        newest = records[0]
        own = next((record for record in records if record and record.identity.ino == found.st_ino), None)
        if own is None and newest is not None and newest.origin is None:
            # Another file by that name: what was said of the old one's bytes and history does not hold.
            own = replace(
                newest, md5="", attributes="", permission_key="", created_ns=0, changed_ns=0, copy={}
            )
        return item_of(name, found, own or newest, now_ns=self.now())

    def listed(
        self, ref: ItemRef, directory: str, found: list[sharelist.Entry], *, recorded: bool
    ) -> list[Item]:
        """Entries of a directory, by their names in it."""
        base = f"{directory}/" if directory else ""
        if ref.snapshot and recorded:
            rows = self.snapshot_rows(ref)
            return [item_of(name, entry, rows.record(ref, base + name)) for name, entry in found]
        names = [base + name for name, _ in found] if recorded else []
        records = self.store(ref).records_of(ref.service, ref.container, names) if names else {}
        none: Records = (None, None)
        return [self.joined(name, entry, records.get(base + name, none)) for name, entry in found]

    def check_read(self, current: Item, lease_id: str | None) -> None:
        """412 for a lease that a request names and the file does not have."""
        self._check_lease(current, lease_id, needed=False)

    def check_write(
        self, current: Item | None, lease_id: str | None, *, ignores_read_only: bool = False
    ) -> None:
        """Whether the item may be changed as a client asks; `current=None`: nothing is there yet."""
        self._check_lease(current, lease_id, needed=True)
        if current is not None and not ignores_read_only and current.is_read_only:
            raise StorageError(StorageCode.READ_ONLY)

    def check_wishes(self, ref: ItemRef, wishes: SmbWishes) -> None:
        """Refuse a permission that is none (400), for calls that change the file before its record."""
        if wishes.permission is not None:
            self._permissions.key_for(ref, wishes.permission)

    def _check_lease(self, current: Item | None, lease_id: str | None, *, needed: bool) -> None:
        lease = current.record.lease if current is not None and current.record is not None else None
        if lease is not None or lease_id:
            check_use(lease, self.now(), lease_id, FILE_CODES, needed=needed)

    def new_record(
        self,
        ref: ItemRef,
        path: str,
        share: int,
        found: os.stat_result,
        settings: FileSettings,
        *,
        replaces: Item | None = None,
    ) -> Record:
        """Describe the file or directory with the stat `found` that is, or is about to be, at `path`.

        A lease stays with the name while the file is replaced. When a rename is to replace a file, its own
        record, that of `replaces`, stays beside the new one.
        """
        former, _ = self.store(ref).records(key_of(ref, path))
        now, wishes = self.now(), settings.smb
        directory = stat.S_ISDIR(found.st_mode)
        record = Record(
            identity=Identity.of(found),
            content=settings.content,
            md5=settings.md5,
            metadata=dict(settings.metadata or {}),
            created_ns=_moment(wishes.created, now, now),
            stamp=secrets.randbits(62),
            attributes=attributes_text(wishes.attributes, directory=directory)
            if wishes.attributes is not None
            else "",
            permission_key=self._permission_key(ref, share, path, wishes.permission or PermissionWish()),
            changed_ns=_moment(wishes.changed, now, 0),
            lease=after_write(former.lease, now) if former is not None else None,
            copy=settings.copy,
        )
        if replaces is not None:
            self.store(ref).announce(key_of(ref, path), record, replaces=former)
        else:
            self.store(ref).put(key_of(ref, path), record)
        return record

    @contextmanager
    def announced(
        self,
        ref: ItemRef,
        path: str,
        share: int,
        found: os.stat_result,
        settings: FileSettings,
        *,
        replaces: Item | None = None,
    ) -> Iterator[None]:
        """Around what lets a file or directory appear: new_record(), taken back when it does not."""
        record = self.new_record(ref, path, share, found, settings, replaces=replaces)
        try:
            yield
        except BaseException:
            self.store(ref).withdraw(key_of(ref, path), record)
            raise

    def change(
        self,
        share: int,
        ref: ItemRef,
        path: str,
        change: Callable[[Record], Record],
        smb: SmbWishes = NO_WISHES,
    ) -> Item:
        """Replace what is recorded of an item that is there."""
        item = self.described(share, ref, path)
        record = item.record or first_record(item)
        record = replace(
            self._with_smb(share, ref, path, change(record), smb, directory=item.is_directory),
            identity=item.identity,
            touched_ns=self.now(),
            stamp=secrets.randbits(62),
            lease=after_write(record.lease, self.now()),
        )
        self.store(ref).put(key_of(ref, path), record)
        return replace(item, record=record)

    def lease(self, ref: ItemRef, request: LeaseRequest) -> tuple[Item, Lease | None]:
        """Carry out a lease operation on a file; neither its ETag nor its times change by it."""
        with self.locked(ref), self.share(ref) as share:
            path = self.existing(share, ref, directory=False)
            item = self.described(share, ref, path)
            record = item.record or first_record(item)
            lease = change_lease(record.lease, request, self.now())
            self.store(ref).put(key_of(ref, path), replace(record, lease=lease))
            return item, lease

    def _with_smb(
        self, share: int, ref: ItemRef, path: str, record: Record, smb: SmbWishes, *, directory: bool
    ) -> Record:
        now = self.now()
        changed = replace(
            record,
            created_ns=_moment(smb.created, now, record.created_ns),
            # A change of the record moves no time of the file's.
            changed_ns=_moment(smb.changed, now, now),
        )
        if smb.attributes is not None:
            changed = replace(changed, attributes=attributes_text(smb.attributes, directory=directory))
        if smb.permission is not None:
            changed = replace(changed, permission_key=self._permission_key(ref, share, path, smb.permission))
        return changed

    def set_write_time(self, fd: int, wish: TimeWish) -> None:
        """The last-write time is the file's own, so jobs see it."""
        if wish is not Keep.AS_IS:
            at = self.now() if isinstance(wish, Keep) else wish
            os.utime(fd, ns=(os.fstat(fd).st_atime_ns, at))

    def _permission_key(self, ref: ItemRef, share: int, path: str, wish: PermissionWish) -> str:
        key = self._permissions.key_for(ref, wish)
        if key or not path:
            return key
        parent_path = beneath.split(path)[0]
        parent = beneath.stat_beneath(share, parent_path)
        return self.item(ref, parent_path, parent).permission_key if parent is not None else ""

    def now(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000) * 1_000


def key_of(ref: ItemRef, path: str) -> Key:
    return ref.service, ref.container, path


def _moment(wish: TimeWish, now: int, otherwise: int) -> int:
    if wish is Keep.AS_IS:
        return otherwise
    # 0 means "never set" in a record; nobody tells the first nanosecond of 1970 from the second.
    return now if isinstance(wish, Keep) else wish or 1
