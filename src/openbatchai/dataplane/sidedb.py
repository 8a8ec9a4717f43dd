"""The SQLite file under the side store: one connection, one lock, and a schema that is brought up to date.

Each concern keeps its tables behind a small class of its own, made over one SideDatabase; all of an
account's share its file, so that what belongs together can change in one transaction.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class SideDatabase:
    """`migrations[n]` brings a file of version n to version n + 1; `durable` syncs every commit."""

    def __init__(self, file: Path, migrations: Sequence[str], *, durable: bool) -> None:
        self._lock = threading.Lock()
        # Autocommit: each statement is a transaction of its own unless transaction() says otherwise.
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=30)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._migrate(migrations)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def read(self, sql: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, values: tuple[object, ...]) -> None:
        """One statement, one transaction."""
        with self._lock:
            self._connection.execute(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Several statements that all happen or none; read() and write() wait meanwhile."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _migrate(self, migrations: Sequence[str]) -> None:
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found > len(migrations):
            raise RuntimeError(f"the side store has version {found}, this program knows {len(migrations)}")
        for version, script in enumerate(migrations[found:], start=found + 1):
            # One transaction with the number, so that a service killed in between repeats all of it.
            self._connection.executescript(f"BEGIN; {script}; PRAGMA user_version = {version}; COMMIT;")
