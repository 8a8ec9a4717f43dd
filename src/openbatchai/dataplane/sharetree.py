"""A share's directory joined with its records: what the groups of Files operations stand on."""

import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from openbatchai.dataplane import beneath, shareentries
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import NO_CONTENT_HEADERS, ContentHeaders, Identity, Item, Record, item_of
from openbatchai.dataplane.sidestore import Key, SideStore
from openbatchai.domain.ports import Clock, ItemRef


@dataclass(frozen=True)
class FileSettings:
    """What Create File and Set File Properties set beside the length."""

    content: ContentHeaders = NO_CONTENT_HEADERS
    md5: str = ""
    metadata: Mapping[str, str] | None = None


class ShareTree:
    """`share` in these methods is the descriptor of the share's directory; paths are as written on disk
    unless they come in an ItemRef."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self.places = places
        self._clock = clock

    def share(self, ref: ItemRef) -> AbstractContextManager[int]:
        return self.places.container(ref.account, ref.service, ref.container)

    def locked(self, ref: ItemRef) -> AbstractContextManager[None]:
        return self.places.locked(ref.account, key_of(ref, ref.path.casefold()))

    def store(self, ref: ItemRef) -> SideStore:
        return self.places.store(ref.account)

    def existing(self, share: int, ref: ItemRef, *, directory: bool) -> str:
        """The path on disk of what is asked for, in the letter case it has there."""
        path = shareentries.find(share, ref.path)
        found = None if path is None else beneath.stat_beneath(share, path)
        if path is None or found is None:
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
        parent = beneath.stat_beneath(share, beneath.split(path)[0]) if path else None
        return replace(self.item(ref, path, found), parent_ino=parent.st_ino if parent else 0)

    def item(self, ref: ItemRef, path: str, found: os.stat_result) -> Item:
        record, _ = self.store(ref).records(key_of(ref, path))
        if record is not None and record.identity.ino != found.st_ino:
            # Another file by that name: what the client said of the old bytes does not hold.
            record = replace(record, md5="")
        return item_of(path, found, record)

    def records_in(self, ref: ItemRef, directory: str) -> dict[str, Record]:
        base = f"{directory}/" if directory else ""
        found = self.store(ref).records_between(ref.service, ref.container, base, f"{base}\U0010ffff")
        return {path.removeprefix(base): record for path, (record, _) in found.items() if record}

    def new_record(self, ref: ItemRef, path: str, found: os.stat_result, settings: FileSettings) -> None:
        record = Record(
            identity=Identity.of(found),
            content=settings.content,
            md5=settings.md5,
            metadata=dict(settings.metadata or {}),
            created_ns=self.now(),
            stamp=secrets.randbits(62),
        )
        self.store(ref).put(key_of(ref, path), record)

    def change(self, share: int, ref: ItemRef, path: str, change: Callable[[Record], Record]) -> Item:
        item = self.described(share, ref, path)
        record = item.record or Record(
            item.identity, ContentHeaders(type=item.content_type), created_ns=item.created_ns
        )
        record = replace(
            change(record), identity=item.identity, touched_ns=self.now(), stamp=secrets.randbits(62)
        )
        self.store(ref).put(key_of(ref, path), record)
        return replace(item, record=record)

    def now(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000) * 1_000


def key_of(ref: ItemRef, path: str) -> Key:
    return ref.service, ref.container, path
