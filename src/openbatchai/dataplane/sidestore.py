"""The side store: one SQLite file per account with what the directories cannot hold.

Losing it loses headers and metadata, never content.

An item has two slots. The record of a file that is about to be renamed into place goes, in one write, to
the slot that does not describe the file it replaces, so whichever of the two files a crash leaves, its record
is there (records.choose_blob_record). `turn` tells which slot was written last. What never arrived is
withdrawn, after a crash by the next start.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sidedb import SideDatabase
from openbatchai.dataplane.sideschema import (
    HAS_TAGS,
    MIGRATIONS,
    OF_SERVICES,
    TABLES_OF_CONTAINERS,
    TABLES_OF_ITEMS,
)
from openbatchai.domain.ports import StorageService

_WHERE_ITEM = "service = ? AND container = ? AND path = ?"
_IS = "ino = ? AND size = ? AND mtime_ns = ?"
_NEWEST = f"SELECT slot FROM item WHERE {_WHERE_ITEM} ORDER BY turn DESC LIMIT 1"
_DESCRIBING = f"SELECT slot FROM item WHERE {_WHERE_ITEM} AND {_IS} ORDER BY turn DESC LIMIT 1"


def _upsert(slot: str) -> str:
    """A record becomes the newest, in `slot`. The block list stays while the content is the same."""
    return f"""
    INSERT INTO item (service, container, path, slot, turn, ino, size, mtime_ns, document, blocks)
    VALUES (?, ?, ?, {slot}, coalesce((SELECT max(turn) + 1 FROM item WHERE {_WHERE_ITEM}), 0), ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        blocks = CASE WHEN (ino, size, mtime_ns) = (excluded.ino, excluded.size, excluded.mtime_ns)
                 THEN blocks ELSE excluded.blocks END,
        turn = excluded.turn, ino = excluded.ino, size = excluded.size, mtime_ns = excluded.mtime_ns,
        document = excluded.document
    """


_PUT = _upsert(f"coalesce(({_DESCRIBING}), ({_NEWEST}), 0)")
_ANNOUNCE = _upsert(f"coalesce(1 - ({_DESCRIBING}), 0)")
_NOTHING = (0, 0, 0)
# Every table with rows of a container, and the column that names it.
ROWS_OF_CONTAINERS = (
    ("container", "name"),
    ("share_snapshot", "name"),
    ("share_snapshot_item", "container"),
    *((table, "container") for table in TABLES_OF_CONTAINERS),
)

# Where an item is, as the store keys it: service, container, path.
Key = tuple[StorageService, str, str]
# The records in an item's two slots, the newest first.
Records = tuple[Record | None, Record | None]


class SideStore:
    """Items, containers and service properties. Other concerns put classes of their own over `database`."""

    def __init__(self, file: Path, *, durable: bool) -> None:
        self.database = SideDatabase(file, MIGRATIONS, durable=durable)

    def close(self, *, gone: bool = False) -> None:
        self.database.close(gone=gone)

    # --- items

    def records(self, key: Key) -> Records:
        rows = self.database.read(
            f"SELECT ino, size, mtime_ns, document FROM item WHERE {_WHERE_ITEM} ORDER BY turn DESC",
            _text(key),
        )
        return _two([_record(row) for row in rows])

    def records_between(
        self, service: StorageService, container: str, first: str, last: str, *, most: int
    ) -> dict[str, Records] | None:
        """Records of all paths from `first` to `last`, both included; None when there are more than `most`.

        There may be many more rows than files: a job may have deleted a million of them.
        """
        rows = self.database.read(
            "SELECT path, ino, size, mtime_ns, document FROM item"
            " WHERE service = ? AND container = ? AND path >= ? AND path <= ?"
            " ORDER BY path, turn DESC LIMIT ?",
            (service.value, container, first, last, most + 1),
        )
        return _by_path(rows) if len(rows) <= most else None

    def records_of(self, service: StorageService, container: str, paths: Sequence[str]) -> dict[str, Records]:
        rows = self.database.read(
            "SELECT path, ino, size, mtime_ns, document FROM item"
            " WHERE service = ? AND container = ? AND path IN (SELECT value FROM json_each(?))"
            " ORDER BY path, turn DESC",
            (service.value, container, json.dumps(paths)),
        )
        return _by_path(rows)

    def tagged_after(self, after: tuple[str, str], container: str, limit: int) -> list[tuple[str, str]]:
        """(container, path) of the next blobs that may have tags, in that order; `container=""` is any."""
        rows = self.database.read(
            "SELECT DISTINCT container, path FROM item WHERE service = ? AND (container, path) > (?, ?)"
            f" AND (? = '' OR container = ?) AND {HAS_TAGS}"
            " ORDER BY container, path LIMIT ?",
            (StorageService.BLOB.value, *after, container, container, limit),
        )
        return [(str(row[0]), str(row[1])) for row in rows]

    def blocks(self, key: Key, identity: Identity) -> str:
        """The committed block list of the file with this identity, as it was given to announce()."""
        rows = self.database.read(
            f"SELECT blocks FROM item WHERE {_WHERE_ITEM} AND {_IS} ORDER BY turn DESC",
            (*_text(key), *_three(identity)),
        )
        return str(rows[0][0]) if rows else ""

    def announce(self, key: Key, record: Record, *, replaces: Record | None, blocks: str = "") -> None:
        """Write the record of a file that a rename is about to bring; called under the item's lock.

        `replaces`, the record of the file that is there now, stays beside it.
        """
        of = _text(key)
        kept = _three(replaces.identity) if replaces else _NOTHING
        values = (*of, *of, *kept, *of, *_three(record.identity), record.document(), blocks)
        self.database.write(_ANNOUNCE, values)

    def withdraw(self, key: Key, record: Record) -> None:
        """The announced file does not come."""
        self.database.remove(
            [(f"DELETE FROM item WHERE {_WHERE_ITEM} AND {_IS}", (*_text(key), *_three(record.identity)))]
        )

    def withdraw_all(self, identities: Iterable[Identity]) -> None:
        """Files that may have been announced, of whatever item, do not come. Reads the whole table."""
        wanted = [_three(identity) for identity in identities]
        with self.database.transaction() as connection:
            connection.execute("CREATE TEMP TABLE gone (ino INTEGER, size INTEGER, mtime_ns INTEGER)")
            connection.executemany("INSERT INTO gone VALUES (?, ?, ?)", wanted)
            connection.execute("DELETE FROM item WHERE (ino, size, mtime_ns) IN (SELECT * FROM gone)")
            connection.execute("DROP TABLE gone")

    def put(self, key: Key, record: Record) -> None:
        """Write the record of a file that is in place; called under the item's lock."""
        of, identity = _text(key), _three(record.identity)
        self.database.write(_PUT, (*of, *of, *identity, *of, *of, *identity, record.document(), ""))

    def drop(self, *keys: Key) -> None:
        """Forget items and everything that hangs on them."""
        self.database.remove(
            [
                (f"DELETE FROM {table} WHERE {_WHERE_ITEM}", _text(key))
                for table in TABLES_OF_ITEMS
                for key in keys
            ]
        )

    def keys_after(self, last: Key | None, limit: int) -> list[Key]:
        """At most `limit` keys of items, in order, behind `last`; from the first one without it."""
        rows = self.database.read(
            "SELECT DISTINCT service, container, path FROM item"
            f" WHERE (service, container, path) > (?, ?, ?) AND {OF_SERVICES}"
            " ORDER BY service, container, path LIMIT ?",
            (*(_text(last) if last else ("", "", "")), limit),
        )
        return [(StorageService(str(service)), str(name), str(path)) for service, name, path in rows]

    # --- containers and services

    def containers(self) -> list[tuple[StorageService, str]]:
        rows = self.database.read(f"SELECT service, name FROM container WHERE {OF_SERVICES}", ())
        return [(StorageService(str(service)), str(name)) for service, name in rows]

    def container(self, service: StorageService, name: str, snapshot: str = "") -> str | None:
        """What is stored of a container, or of a share's snapshot."""
        table, where = ("share_snapshot", " AND snapshot = ?") if snapshot else ("container", "")
        rows = self.database.read(
            f"SELECT document FROM {table} WHERE service = ? AND name = ?{where}",
            (service.value, name, snapshot) if snapshot else (service.value, name),
        )
        return str(rows[0][0]) if rows else None

    def put_container(self, service: StorageService, name: str, document: str, snapshot: str = "") -> None:
        if snapshot:
            self.database.write(
                "INSERT OR REPLACE INTO share_snapshot VALUES (?, ?, ?, ?)",
                (service.value, name, snapshot, document),
            )
        else:
            self.database.write(
                "INSERT OR REPLACE INTO container VALUES (?, ?, ?)", (service.value, name, document)
            )

    def drop_container(self, service: StorageService, name: str) -> None:
        self.database.remove(
            [
                (f"DELETE FROM {table} WHERE service = ? AND {column} = ?", (service.value, name))
                for table, column in ROWS_OF_CONTAINERS
            ]
        )

    def service_properties(self, service: StorageService) -> str | None:
        rows = self.database.read(
            "SELECT document FROM service_properties WHERE service = ?", (service.value,)
        )
        return str(rows[0][0]) if rows else None

    def put_service_properties(self, service: StorageService, document: str) -> None:
        self.database.write(
            "INSERT OR REPLACE INTO service_properties VALUES (?, ?)", (service.value, document)
        )


def _text(key: Key) -> tuple[str, str, str]:
    return key[0].value, key[1], key[2]


def _three(identity: Identity) -> tuple[int, int, int]:
    return identity.ino, identity.size, identity.mtime_ns


def _two(records: list[Record]) -> Records:
    newest, older, *_ = (*records, None, None)
    return newest, older


def _by_path(rows: Sequence[Sequence[object]]) -> dict[str, Records]:
    """Rows of path and record, the newest of each path first."""
    # All documents in one go: there may be thousands, and most of the cost of reading one is the call.
    documents = json.loads(f"[{','.join(str(row[4]) for row in rows)}]")
    found: dict[str, Records] = {}
    for (name, ino, size, mtime_ns, _), values in zip(rows, documents, strict=True):
        path = str(name)
        record = Record.of(_identity((ino, size, mtime_ns)), values)
        known = found.get(path)
        found[path] = (record, None) if known is None else (known[0], record)
    return found


def _record(row: Sequence[object]) -> Record:
    *identity, document = row
    return Record.parse(_identity(identity), str(document))


def _identity(row: Sequence[object]) -> Identity:
    ino, size, mtime_ns = row
    if isinstance(ino, int) and isinstance(size, int) and isinstance(mtime_ns, int):
        return Identity(ino, size, mtime_ns)
    raise TypeError(f"the side store holds {row!r} where numbers belong")
