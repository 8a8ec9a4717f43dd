"""What the side store keeps about an item, and what an item is: its stat joined with that record.

Truth is the directory (storage.md 9): length, times and existence come from stat. A record holds what a
file system cannot, with the identity the file had when the record was written; a file that was changed
from outside keeps its headers and metadata and loses what described the old bytes.
"""

import hashlib
import json
import mimetypes
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from openbatchai.dataplane.conditions import Version
from openbatchai.dataplane.leases import UNLEASED, Lease, LeaseFacts, facts_of
from openbatchai.dataplane.smb import DEFAULT_PERMISSION_KEY

DEFAULT_TYPE = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"
_TEXT_ENDINGS = (".txt", ".log", ".out", ".err", ".py", ".sh", ".yaml", ".yml", ".md")
_types = mimetypes.MimeTypes()
_NS = 1_000_000_000
_LATEST_NS = (1 << 63) - 1
# What a calendar, and an HTTP date, can tell.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_OWN_COLUMNS = frozenset({"identity", "content"})
# json.dumps makes one of these for each document.
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True)
class ContentHeaders:
    """The content headers a client sets; "" means never set."""

    type: str = ""
    encoding: str = ""
    language: str = ""
    disposition: str = ""
    cache_control: str = ""


NO_CONTENT_HEADERS = ContentHeaders()


@dataclass(frozen=True)
class Identity:
    """By this a file is recognised as the one that a record was written for."""

    ino: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Identity":
        return cls(found.st_ino, found.st_size, _stored(found.st_mtime_ns))

    def fits(self, found: os.stat_result) -> bool:
        return self.mtime_ns == found.st_mtime_ns and self.ino == found.st_ino and self.size == found.st_size


@dataclass(frozen=True)
class Record:
    """One row of the side store. `stamp` (random) makes the ETag differ, `touched_ns` moves Last-Modified.

    `copy` tells about the copy that made the blob: id, source, progress, completed (an HTTP date).
    """

    identity: Identity
    content: ContentHeaders = NO_CONTENT_HEADERS
    metadata: Mapping[str, str] = field(default_factory=dict)
    md5: str = ""
    blob_type: str = "BlockBlob"
    tier: str = ""
    created_ns: int = 0
    touched_ns: int = 0
    stamp: int = 0
    append_blocks: int = 0
    # SMB properties, as answered; "" where no client set them. The change time holds while the file is the
    # one of `identity`.
    attributes: str = ""
    permission_key: str = ""
    changed_ns: int = 0
    # In a share's snapshot: inode and ctime of the file that it was taken of.
    origin: tuple[int, int] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    tier_changed_ns: int = 0
    rehydrating_to: str = ""
    rehydrate_priority: str = ""
    is_sealed: bool = False
    sequence_number: int = 0
    copy: Mapping[str, str] = field(default_factory=dict)
    # It outlives the bytes: a lease stays while there is a file of that name, whoever changes it.
    lease: Lease | None = None

    def document(self) -> str:
        # By hand: asdict() copies deeply, which is a tenth of the cost of a small write.
        values = {name: value for name, value in vars(self).items() if value and name not in _OWN_COLUMNS}
        content = {name: value for name, value in vars(self.content).items() if value}
        if content:
            values["content"] = content
        return _encode(values)

    @classmethod
    def parse(cls, identity: Identity, document: str) -> "Record":
        return cls.of(identity, json.loads(document))

    @classmethod
    def of(cls, identity: Identity, values: dict[str, Any]) -> "Record":
        """The record with these `values`, which document() wrote."""
        if "content" in values:
            values["content"] = ContentHeaders(**values["content"])
        if "lease" in values:
            values["lease"] = Lease(*values["lease"])
        if "origin" in values:
            values["origin"] = tuple(values["origin"])
        # Not by __init__, which sets the fields of a frozen instance one by one: a page of a listing has
        # thousands of these.
        record = cls.__new__(cls)
        vars(record).update(_unset_fields())
        vars(record).update(values, identity=identity)
        return record


@lru_cache(maxsize=1)
def _unset_fields() -> Mapping[str, Any]:
    """Every field of a record but the identity, as it is when nobody set it."""
    nothing = vars(Record(Identity(0, 0, 0)))
    return {name: value for name, value in nothing.items() if name != "identity"}


@dataclass(frozen=True)
class Listed:
    """What a listing tells of an entry that is not simply what is there now.

    `deleted_ns` is 0 for what is not deleted; for `kept_days` more a deleted one can be undeleted.
    """

    snapshot: str = ""
    deleted_ns: int = 0
    kept_days: int = 0
    is_uncommitted: bool = False


@dataclass(frozen=True)
class Item:
    """A file or directory as a client sees it."""

    name: str
    is_directory: bool
    size: int
    ino: int
    mtime_ns: int
    ctime_ns: int
    record: Record | None
    parent_ino: int = 0
    listed: Listed | None = None
    lease: LeaseFacts = UNLEASED

    @property
    def etag(self) -> str:
        stamp = self.record.stamp if self.record else 0
        mix = hashlib.blake2b(
            b"%d %d %d %d %d" % (self.ino, self.size, self.mtime_ns, self.ctime_ns, stamp), digest_size=7
        )
        return f'"0x{mix.hexdigest().upper()}"'

    @property
    def identity(self) -> Identity:
        return Identity(self.ino, self.size, _stored(self.mtime_ns))

    @property
    def modified_ns(self) -> int:
        return max(self.mtime_ns, self.record.touched_ns if self.record else 0)

    @property
    def last_modified(self) -> datetime:
        return whole_seconds(self.modified_ns)

    @property
    def created_ns(self) -> int:
        known = self.record.created_ns if self.record else 0
        return known or min(self.mtime_ns, self.ctime_ns)

    @property
    def version(self) -> Version:
        return Version(self.etag, self.last_modified, self.tags)

    @property
    def content(self) -> ContentHeaders:
        return self.record.content if self.record else NO_CONTENT_HEADERS

    @property
    def content_type(self) -> str:
        return self.content.type or (DEFAULT_TYPE if self.record else guess_type(self.name))

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.record.metadata if self.record else {}

    @property
    def md5(self) -> str:
        return self.record.md5 if self.record else ""

    @property
    def tier(self) -> str:
        return self.record.tier if self.record else ""

    @property
    def tier_changed_ns(self) -> int:
        return self.record.tier_changed_ns if self.record else 0

    @property
    def rehydrating_to(self) -> str:
        return self.record.rehydrating_to if self.record else ""

    @property
    def rehydrate_priority(self) -> str:
        return self.record.rehydrate_priority if self.record else ""

    @property
    def append_blocks(self) -> int:
        return self.record.append_blocks if self.record else 0

    @property
    def is_sealed(self) -> bool:
        return self.record.is_sealed if self.record else False

    @property
    def sequence_number(self) -> int:
        return self.record.sequence_number if self.record else 0

    @property
    def tags(self) -> Mapping[str, str]:
        return self.record.tags if self.record else {}

    @property
    def copy(self) -> Mapping[str, str]:
        return self.record.copy if self.record else {}

    @property
    def blob_type(self) -> str:
        return self.record.blob_type if self.record else "BlockBlob"

    @property
    def attributes(self) -> str:
        own = self.record.attributes if self.record else ""
        return own or ("Directory" if self.is_directory else "Archive")

    @property
    def is_read_only(self) -> bool:
        return self.record is not None and "ReadOnly" in self.record.attributes

    @property
    def permission_key(self) -> str:
        return (self.record.permission_key if self.record else "") or DEFAULT_PERMISSION_KEY

    @property
    def changed_ns(self) -> int:
        record = self.record
        wanted = record is not None and record.changed_ns and record.identity == self.identity
        return record.changed_ns if record is not None and wanted else self.ctime_ns


def item_of(
    name: str, found: os.stat_result, record: Record | None, *, parent_ino: int = 0, now_ns: int = 0
) -> Item:
    """`now_ns` decides what is told of a lease of limited duration; answers to writes tell nothing of it."""
    ino, ctime_ns = record.origin if record and record.origin else (found.st_ino, found.st_ctime_ns)
    return Item(
        name=name,
        is_directory=stat.S_ISDIR(found.st_mode),
        size=found.st_size,
        ino=ino,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=ctime_ns,
        record=record,
        parent_ino=parent_ino,
        lease=facts_of(record.lease, now_ns) if record else UNLEASED,
    )


def first_record(item: Item) -> Record:
    """A record of a file that had none, telling what was told of it without."""
    return Record(item.identity, ContentHeaders(type=item.content_type), created_ns=item.created_ns)


def choose_blob_record(found: os.stat_result, newest: Record | None, older: Record | None) -> Record | None:
    """The record that describes the blob as it lies there.

    That is the older one while the newest one's file has yet to be renamed into place. A file that neither
    describes was changed from outside and inherits from the newest.
    """
    if newest is None or newest.identity.fits(found):
        return newest
    if older is not None and older.identity.fits(found):
        return older
    return replace(newest, md5="", blob_type=_type_after_change(newest, Identity.of(found)))


def _type_after_change(record: Record, now: Identity) -> str:
    """What a blob is once its file was written to from outside: only a growing file is still an append blob,
    only one of whole pages still a page blob."""
    same_file = record.identity.ino == now.ino
    if record.blob_type == "AppendBlob" and same_file and record.identity.size <= now.size:
        return "AppendBlob"
    if record.blob_type == "PageBlob" and same_file and now.size % 512 == 0:
        return "PageBlob"
    return "BlockBlob"


def _stored(ns: int) -> int:
    """A time as the side store can hold it, to the year 2262: files may have later ones."""
    return min(ns, _LATEST_NS)


def whole_seconds(ns: int) -> datetime:
    """A file's time; of those that no calendar has, which a job may set, the nearest."""
    return datetime.fromtimestamp(min(max(ns // _NS, _FIRST_SECOND), _LAST_SECOND), tz=UTC)


@lru_cache(maxsize=1024)
def _type_of_ending(ending: str) -> str:
    return _types.guess_type(f"x{ending}")[0] or DEFAULT_TYPE


def guess_type(name: str) -> str:
    """Type of a file that nobody described: logs must show in a browser, not download."""
    base = name.rpartition("/")[2].lower()
    if base.endswith(_TEXT_ENDINGS):
        return _TEXT
    dot = base.rfind(".")
    return _type_of_ending(base[dot:]) if dot > 0 else DEFAULT_TYPE
