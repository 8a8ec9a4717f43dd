"""The rows of what is kept of blobs beside what is there now: snapshots, and what was softly deleted.

A row is the whole truth about its bytes: they lie in a file of their own that nobody else writes, so there
is no stat to compare with.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from openbatchai.dataplane.records import Identity, Item, Listed, Record
from openbatchai.dataplane.sidedb import SideDatabase
from openbatchai.dataplane.sideschema import OF_SERVICES
from openbatchai.dataplane.sidestore import Key
from openbatchai.domain.ports import StorageService

# In place of a time; later than all.
ITSELF = "~"
_DAY_NS = 24 * 3600 * 1_000_000_000
_ROWS = 1000
_COLUMNS = "path, time, file, deleted_ns, expires_ns, ino, size, mtime_ns, ctime_ns, document, blocks"
_WHERE_ITEM = "service = ? AND container = ? AND path = ?"


@dataclass(frozen=True)
class Kept:
    """One former or frozen state of a blob.

    `time` names a snapshot; ITSELF is the blob itself, softly deleted. `file` is the name of its bytes.
    `deleted_ns` and `expires_ns` are 0 unless it was softly deleted.
    """

    item: Item
    time: str
    file: str
    blocks: str = ""
    deleted_ns: int = 0
    expires_ns: int = 0

    @property
    def is_snapshot(self) -> bool:
        return self.time != ITSELF

    def lasts(self, now_ns: int) -> bool:
        """Whether it has not expired."""
        return not self.expires_ns or self.expires_ns > now_ns

    def told(self, now_ns: int) -> Item:
        """The item as headers and listings tell it."""
        days = max(0, self.expires_ns - now_ns) // _DAY_NS if self.expires_ns else 0
        snapshot = self.time if self.is_snapshot else ""
        return replace(self.item, listed=Listed(snapshot, self.deleted_ns, days))


class KeptRows:
    """A row counts once it is ready: its file is there. Until then only recovery looks at it."""

    def __init__(self, database: SideDatabase) -> None:
        self._database = database

    def announce(self, key: Key, kept: Kept) -> None:
        """Write a row whose file is about to come."""
        item, document = kept.item, kept.item.record.document() if kept.item.record else "{}"
        values = (kept.time, 0, kept.file, kept.deleted_ns, kept.expires_ns)
        found = (item.ino, item.size, item.mtime_ns, item.ctime_ns, document, kept.blocks)
        self._change(
            "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_text(key), *values, *found),
        )

    def set_ready(self, key: Key, time: str, *, ready: bool) -> None:
        self._change(
            f"UPDATE kept SET ready = ? WHERE {_WHERE_ITEM} AND time = ?", (int(ready), *_text(key), time)
        )

    def set_record(self, key: Key, time: str, record: Record) -> None:
        self._database.write(
            f"UPDATE kept SET document = ? WHERE {_WHERE_ITEM} AND time = ?",
            (record.document(), *_text(key), time),
        )

    def set_deleted(self, key: Key, time: str, deleted_ns: int, expires_ns: int) -> None:
        """0 and 0 take the deletion back."""
        self._change(
            f"UPDATE kept SET deleted_ns = ?, expires_ns = ? WHERE {_WHERE_ITEM} AND time = ?",
            (deleted_ns, expires_ns, *_text(key), time),
        )

    def rename(self, key: Key, time: str, new_time: str) -> None:
        self._change(
            f"UPDATE kept SET time = ? WHERE {_WHERE_ITEM} AND time = ?", (new_time, *_text(key), time)
        )

    def drop(self, key: Key, time: str) -> None:
        self._change(f"DELETE FROM kept WHERE {_WHERE_ITEM} AND time = ?", (*_text(key), time))

    def _change(self, sql: str, values: tuple[object, ...]) -> None:
        # All of these are steps of a deletion, which may be what makes room on a full disk.
        self._database.remove([(sql, values)])

    def get(self, key: Key, time: str) -> Kept | None:
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM kept WHERE {_WHERE_ITEM} AND time = ? AND ready = 1", (*_text(key), time)
        )
        return _kept(rows[0]) if rows else None

    def of_item(self, key: Key) -> list[Kept]:
        """All that is kept of one blob, the oldest snapshot first, then the blob itself."""
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM kept WHERE {_WHERE_ITEM} AND ready = 1 ORDER BY time", _text(key)
        )
        return [_kept(row) for row in rows]

    def latest(self, key: Key) -> str:
        """The time of the newest snapshot, deleted ones and unready ones too; "" when there is none."""
        rows = self._database.read(
            f"SELECT max(time) FROM kept WHERE {_WHERE_ITEM} AND time < ?", (*_text(key), ITSELF)
        )
        return str(rows[0][0] or "")

    def listed(self, container: str, prefix: str, start: str) -> Iterator[Kept]:
        """What is kept of a container's blobs whose names begin with `prefix` and are not before `start`, in
        the order of name and time."""
        path, time = max(prefix, start), ""
        while True:
            rows = self._database.read(
                f"SELECT {_COLUMNS} FROM kept WHERE service = ? AND container = ? AND (path, time) > (?, ?)"
                " AND ready = 1 ORDER BY path, time LIMIT ?",
                (StorageService.BLOB.value, container, path, time, _ROWS),
            )
            for row in rows:
                found = _kept(row)
                path, time = found.item.name, found.time
                if not path.startswith(prefix):
                    return
                yield found
            if len(rows) < _ROWS:
                return

    def unready(self) -> list[tuple[str, str, str, str, str]]:
        """(service, container, path, time, file) of all rows that a killed service left unready."""
        rows = self._database.read(
            f"SELECT service, container, path, time, file FROM kept WHERE ready = 0 AND {OF_SERVICES}", ()
        )
        return [(str(row[0]), str(row[1]), str(row[2]), str(row[3]), str(row[4])) for row in rows]

    def expired(self, now_ns: int) -> list[tuple[str, str, str, str]]:
        """(service, container, path, time) of what need not be kept any longer."""
        rows = self._database.read(
            "SELECT service, container, path, time FROM kept WHERE expires_ns > 0 AND expires_ns <= ?"
            f" AND ready = 1 AND {OF_SERVICES}",
            (now_ns,),
        )
        return [(str(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in rows]


def _text(key: Key) -> tuple[str, str, str]:
    return key[0].value, key[1], key[2]


def _kept(row: tuple[object, ...]) -> Kept:
    path, time, file, deleted_ns, expires_ns, ino, size, mtime_ns, ctime_ns, document, blocks = row
    identity = Identity(_number(ino), _number(size), _number(mtime_ns))
    record = Record.parse(identity, str(document)) if document != "{}" else None
    item = Item(
        name=str(path),
        is_directory=False,
        size=identity.size,
        ino=identity.ino,
        mtime_ns=identity.mtime_ns,
        ctime_ns=_number(ctime_ns),
        record=record,
    )
    return Kept(item, str(time), str(file), str(blocks), _number(deleted_ns), _number(expires_ns))


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"the side store holds {value!r} where a number belongs")
    return value
