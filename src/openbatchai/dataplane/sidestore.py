"""The side store: one SQLite file per account with what the directories cannot hold.

Losing it loses headers and metadata, never content. A blob's record is written before its file is renamed
into place, as `pending`, and confirmed afterwards: whichever of the two the service survives, the record
that matches the file is found (records.choose_blob_record).
"""

from collections.abc import Iterable
from pathlib import Path

from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sidedb import SideDatabase
from openbatchai.dataplane.sideschema import MIGRATIONS, TABLES_OF_ITEMS
from openbatchai.domain.ports import StorageService

_UPSERT = "INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_WHERE_ITEM = "service = ? AND container = ? AND path = ?"

# Where an item is, as the store keys it: service, container, path.
Key = tuple[StorageService, str, str]


class SideStore:
    """Items, containers and service properties. Other concerns put classes of their own over `database`."""

    def __init__(self, file: Path, *, durable: bool) -> None:
        self.database = SideDatabase(file, MIGRATIONS, durable=durable)

    def close(self) -> None:
        self.database.close()

    # --- items

    def records(self, key: Key) -> tuple[Record | None, Record | None]:
        """The confirmed and the pending record of an item."""
        rows = self.database.read(
            f"SELECT pending, ino, size, mtime_ns, document FROM item WHERE {_WHERE_ITEM}", _text(key)
        )
        found = {bool(row[0]): _record(row[1:]) for row in rows}
        return found.get(False), found.get(True)

    def records_between(
        self, service: StorageService, container: str, first: str, last: str
    ) -> dict[str, tuple[Record | None, Record | None]]:
        """Records of all paths from `first` to `last`, both included."""
        rows = self.database.read(
            "SELECT path, pending, ino, size, mtime_ns, document FROM item"
            " WHERE service = ? AND container = ? AND path >= ? AND path <= ?",
            (service.value, container, first, last),
        )
        found: dict[str, tuple[Record | None, Record | None]] = {}
        for name, pending, *rest in rows:
            path = str(name)
            committed, waiting = found.get(path, (None, None))
            record = _record(rest)
            found[path] = (committed, record) if pending else (record, waiting)
        return found

    def blocks(self, key: Key, identity: Identity) -> str:
        """The committed block list of the file with this identity, as it was given to put()."""
        rows = self.database.read(
            f"SELECT blocks FROM item WHERE {_WHERE_ITEM} AND ino = ? AND size = ? AND mtime_ns = ?",
            (*_text(key), identity.ino, identity.size, identity.mtime_ns),
        )
        return str(rows[0][0]) if rows else ""

    def put(self, key: Key, record: Record, *, blocks: str | None = None, pending: bool = False) -> None:
        """Write a record; `blocks=None` keeps the block list that is there."""
        if blocks is None:
            kept = self.database.read(
                f"SELECT blocks FROM item WHERE {_WHERE_ITEM} AND pending = 0", _text(key)
            )
            blocks = str(kept[0][0]) if kept else ""
        identity = record.identity
        values = (identity.ino, identity.size, identity.mtime_ns, record.document(), blocks)
        self.database.write(_UPSERT, (*_text(key), int(pending), *values))

    def confirm(self, key: Key) -> None:
        """The file of the pending record is in place: it replaces the former record."""
        with self.database.transaction() as connection:
            waiting = connection.execute(
                f"SELECT 1 FROM item WHERE {_WHERE_ITEM} AND pending = 1", _text(key)
            ).fetchone()
            if waiting:
                connection.execute(f"DELETE FROM item WHERE {_WHERE_ITEM} AND pending = 0", _text(key))
                connection.execute(f"UPDATE item SET pending = 0 WHERE {_WHERE_ITEM}", _text(key))

    def settle(self, key: Key, identity: Identity) -> None:
        """Before a record is changed: decide about one that a killed service left pending."""
        _, waiting = self.records(key)
        if waiting is None:
            return
        if waiting.identity == identity:
            self.confirm(key)
        else:
            self.database.write(f"DELETE FROM item WHERE {_WHERE_ITEM} AND pending = 1", _text(key))

    def drop(self, key: Key) -> None:
        """Forget an item and everything that hangs on it."""
        with self.database.transaction() as connection:
            for table in TABLES_OF_ITEMS:
                connection.execute(f"DELETE FROM {table} WHERE {_WHERE_ITEM}", _text(key))

    # --- containers and services

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
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM container WHERE service = ? AND name = ?", (service.value, name))
            for table in TABLES_OF_ITEMS:
                connection.execute(
                    f"DELETE FROM {table} WHERE service = ? AND container = ?", (service.value, name)
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


def _record(row: Iterable[object]) -> Record:
    ino, size, mtime_ns, document = row
    return Record.parse(Identity(_number(ino), _number(size), _number(mtime_ns)), str(document))


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"the side store holds {value!r} where a number belongs")
    return value
