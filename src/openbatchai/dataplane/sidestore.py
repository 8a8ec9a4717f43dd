"""The side store: one SQLite file per account with what the directories cannot hold.

Losing it loses headers and metadata, never content.

An item has two slots. The record of a file that is about to be renamed into place goes, in one write, to
the slot that does not describe the file it replaces, so whichever of the two files a crash leaves, its record
is there (records.choose_blob_record). `turn` tells which slot was written last. What never arrived is
withdrawn, after a crash by the next start.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sidedb import SideDatabase
from openbatchai.dataplane.sideschema import MIGRATIONS, TABLES_OF_CONTAINERS, TABLES_OF_ITEMS
from openbatchai.domain.ports import StorageService

_WHERE_ITEM = "service = ? AND container = ? AND path = ?"
_IS = "ino = ? AND size = ? AND mtime_ns = ?"
# The committed block list stays as long as it is the same content that is described.
_UPSERT = """
INSERT INTO item (service, container, path, slot, turn, ino, size, mtime_ns, document, blocks)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    blocks = CASE WHEN (ino, size, mtime_ns) = (excluded.ino, excluded.size, excluded.mtime_ns)
             THEN blocks ELSE excluded.blocks END,
    turn = excluded.turn, ino = excluded.ino, size = excluded.size, mtime_ns = excluded.mtime_ns,
    document = excluded.document
"""

# Where an item is, as the store keys it: service, container, path.
Key = tuple[StorageService, str, str]
# The records in an item's two slots, the newest first.
Records = tuple[Record | None, Record | None]


class SideStore:
    """Items, containers and service properties. Other concerns put classes of their own over `database`."""

    def __init__(self, file: Path, *, durable: bool) -> None:
        self.database = SideDatabase(file, MIGRATIONS, durable=durable)

    def close(self) -> None:
        self.database.close()

    # --- items

    def records(self, key: Key) -> Records:
        rows = self.database.read(
            f"SELECT ino, size, mtime_ns, document FROM item WHERE {_WHERE_ITEM} ORDER BY turn DESC",
            _text(key),
        )
        return _two([_record(row) for row in rows])

    def records_between(
        self, service: StorageService, container: str, first: str, last: str
    ) -> dict[str, Records]:
        """Records of all paths from `first` to `last`, both included."""
        rows = self.database.read(
            "SELECT path, ino, size, mtime_ns, document FROM item"
            " WHERE service = ? AND container = ? AND path >= ? AND path <= ? ORDER BY path, turn DESC",
            (service.value, container, first, last),
        )
        return _by_path(rows)

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
            " AND (? = '' OR container = ?) AND instr(document, '\"tags\":') > 0"
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
        slots = self._slots(key)
        kept = next((slot for slot in slots if replaces and slot.identity == replaces.identity), None)
        target = 1 - kept.number if kept else 0
        self._put(key, target, slots, record, blocks)

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
        slots = self._slots(key)
        same = next((slot for slot in slots if slot.identity == record.identity), None)
        target = same or (slots[0] if slots else None)
        self._put(key, target.number if target else 0, slots, record, "")

    def _slots(self, key: Key) -> list["_Slot"]:
        """The slots in use, the newest first."""
        rows = self.database.read(
            f"SELECT slot, turn, ino, size, mtime_ns FROM item WHERE {_WHERE_ITEM} ORDER BY turn DESC",
            _text(key),
        )
        return [_Slot(_number(slot), _number(turn), _identity(rest)) for slot, turn, *rest in rows]

    def _put(self, key: Key, slot: int, slots: list["_Slot"], record: Record, blocks: str) -> None:
        turn = slots[0].turn + 1 if slots else 0
        values = (slot, turn, *_three(record.identity), record.document(), blocks)
        self.database.write(_UPSERT, (*_text(key), *values))

    def drop(self, key: Key) -> None:
        """Forget an item and everything that hangs on it."""
        self.database.remove(
            [(f"DELETE FROM {table} WHERE {_WHERE_ITEM}", _text(key)) for table in TABLES_OF_ITEMS]
        )

    def keys_after(self, last: Key | None, limit: int) -> list[Key]:
        """At most `limit` keys of items, in order, behind `last`; from the first one without it."""
        rows = self.database.read(
            "SELECT DISTINCT service, container, path FROM item WHERE (service, container, path) > (?, ?, ?)"
            " ORDER BY service, container, path LIMIT ?",
            (*(_text(last) if last else ("", "", "")), limit),
        )
        return [(StorageService(str(service)), str(name), str(path)) for service, name, path in rows]

    # --- containers and services

    def containers(self) -> list[tuple[StorageService, str]]:
        rows = self.database.read("SELECT service, name FROM container", ())
        return [(StorageService(str(service)), str(name)) for service, name in rows]

    def container(self, service: StorageService, name: str) -> str | None:
        rows = self.database.read(
            "SELECT document FROM container WHERE service = ? AND name = ?", (service.value, name)
        )
        return str(rows[0][0]) if rows else None

    def put_container(self, service: StorageService, name: str, document: str) -> None:
        self.database.write(
            "INSERT OR REPLACE INTO container VALUES (?, ?, ?)", (service.value, name, document)
        )

    def drop_container(self, service: StorageService, name: str) -> None:
        columns = [("container", "name"), *((table, "container") for table in TABLES_OF_CONTAINERS)]
        self.database.remove(
            [
                (f"DELETE FROM {table} WHERE service = ? AND {column} = ?", (service.value, name))
                for table, column in columns
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


@dataclass(frozen=True)
class _Slot:
    number: int
    turn: int
    identity: Identity


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


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"the side store holds {value!r} where a number belongs")
    return value
