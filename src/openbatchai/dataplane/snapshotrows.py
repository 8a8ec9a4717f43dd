"""What the side store keeps of the items in a share's snapshots."""

from collections.abc import Iterable

from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sidedb import SideDatabase
from openbatchai.dataplane.sideschema import OF_SERVICES
from openbatchai.domain.ports import ItemRef

_OF_SNAPSHOT = "service = ? AND container = ? AND snapshot = ?"


class SnapshotRows:
    """`ref` in these methods names the snapshot; a record's identity is that of the original."""

    def __init__(self, database: SideDatabase) -> None:
        self._database = database

    def add(self, ref: ItemRef, records: Iterable[tuple[str, Record]]) -> None:
        rows = [(*_of(ref), path, *_three(record.identity), record.document()) for path, record in records]
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO share_snapshot_item VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

    def record(self, ref: ItemRef, path: str) -> Record | None:
        rows = self._database.read(
            "SELECT ino, size, mtime_ns, document FROM share_snapshot_item"
            f" WHERE {_OF_SNAPSHOT} AND path = ?",
            (*_of(ref), path),
        )
        return _record(*rows[0]) if rows else None

    def records_between(self, ref: ItemRef, first: str, last: str) -> dict[str, Record]:
        rows = self._database.read(
            "SELECT path, ino, size, mtime_ns, document FROM share_snapshot_item"
            f" WHERE {_OF_SNAPSHOT} AND path >= ? AND path <= ?",
            (*_of(ref), first, last),
        )
        return {str(path): _record(*rest) for path, *rest in rows}

    def path_of(self, ref: ItemRef, ino: int) -> str | None:
        """Where in the snapshot the file lies that had this inode."""
        rows = self._database.read(
            f"SELECT path FROM share_snapshot_item WHERE {_OF_SNAPSHOT} AND ino = ?", (*_of(ref), ino)
        )
        return str(rows[0][0]) if rows else None

    def snapshots(self) -> list[tuple[str, str]]:
        """Share and time of all snapshots with rows."""
        rows = self._database.read(f"SELECT name, snapshot FROM share_snapshot WHERE {OF_SERVICES}", ())
        rows += self._database.read(
            f"SELECT DISTINCT container, snapshot FROM share_snapshot_item WHERE {OF_SERVICES}", ()
        )
        return sorted({(str(share), str(snapshot)) for share, snapshot in rows})

    def drop(self, ref: ItemRef) -> None:
        self._database.remove(
            [
                (f"DELETE FROM share_snapshot_item WHERE {_OF_SNAPSHOT}", _of(ref)),
                ("DELETE FROM share_snapshot WHERE service = ? AND name = ? AND snapshot = ?", _of(ref)),
            ]
        )


def _of(ref: ItemRef) -> tuple[str, str, str]:
    return ref.service.value, ref.container, ref.snapshot


def _three(identity: Identity) -> tuple[int, int, int]:
    return identity.ino, identity.size, identity.mtime_ns


def _record(ino: object, size: object, mtime_ns: object, document: object) -> Record:
    if not isinstance(ino, int) or not isinstance(size, int) or not isinstance(mtime_ns, int):
        raise TypeError("the side store holds something else where an identity belongs")
    return Record.parse(Identity(ino, size, mtime_ns), str(document))
