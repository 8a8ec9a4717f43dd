"""The SQLite file under the side store: one connection, one lock, and a schema that is brought up to date.

Each concern keeps its tables behind a small class of its own, made over one SideDatabase; all of an
account's share its file, so that what belongs together can change in one transaction.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from openbatchai.dataplane.errors import StorageCode, StorageError

_SPARE_BYTES = 256 << 10


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def missing_account() -> StorageError:
    return StorageError(StorageCode.RESOURCE_NOT_FOUND, "There is no such storage account here.")


class SideDatabase:
    """`migrations[n]` brings a file of version n to version n + 1; `durable` syncs every commit."""

    def __init__(self, file: Path, migrations: Sequence[str], *, durable: bool) -> None:
        self._lock = threading.Lock()
        self._gone = False
        # Autocommit: each statement is a transaction of its own unless transaction() says otherwise.
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=30)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._migrate(migrations)
        except BaseException:
            self._connection.close()
            raise
        self._spare = file.with_suffix(".spare")
        self._keep_spare()

    def close(self, *, gone: bool = False) -> None:
        """`gone`: with its account. Whoever still uses it is told so, by 404."""
        with self._lock:
            self._gone = gone
            self._connection.close()

    def _check(self) -> None:
        if self._gone:
            raise missing_account()

    def read(self, sql: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        with self._lock:
            self._check()
            return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, values: tuple[object, ...]) -> None:
        """One statement, one transaction. OSError (ENOSPC) when the disk is full."""
        with self._lock, _full_disk_told():
            self._check()
            self._connection.execute(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Several statements that all happen or none; read() and write() wait meanwhile.

        OSError (ENOSPC) when the disk is full.
        """
        with self._lock, _full_disk_told():
            self._check()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has ended it already where the disk was full.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def remove(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        """Statements of a removal or a rename, as one transaction; a full disk has room kept for them."""
        try:
            self._all(statements)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            with self._lock, suppress(sqlite3.OperationalError):
                self._spare.unlink(missing_ok=True)
                # What the log holds has its place in the database by now, so the log can become short.
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._all(statements)
            self._keep_spare()

    def _all(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        with self.transaction() as connection:
            for sql, values in statements:
                connection.execute(sql, values)

    def _keep_spare(self) -> None:
        """Room on the disk that nothing else takes; none when it is full already."""
        with suppress(OSError), self._spare.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _SPARE_BYTES)

    def _migrate(self, migrations: Sequence[str]) -> None:
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found > len(migrations):
            raise RuntimeError(f"the side store has version {found}, this program knows {len(migrations)}")
        for version, script in enumerate(migrations[found:], start=found + 1):
            # One transaction with the number, so that a service killed in between repeats all of it.
            self._connection.executescript(f"BEGIN; {script}; PRAGMA user_version = {version}; COMMIT;")
