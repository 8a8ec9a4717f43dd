"""The side store: its schema's versions, and what goes with an item."""

import sqlite3
from pathlib import Path

import pytest

from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sidedb import SideDatabase
from openbatchai.dataplane.sideschema import MIGRATIONS
from openbatchai.dataplane.sidestore import Key, SideStore
from openbatchai.domain.ports import StorageService

KEY: Key = (StorageService.BLOB, "data", "a.bin")
RECORD = Record(Identity(1, 2, 3), metadata={"k": "v"})
WAITING = Record(Identity(4, 5, 6), metadata={"k": "w"})
ONE = "CREATE TABLE one (x INTEGER)"
TWO = "CREATE TABLE two (x INTEGER); INSERT INTO two SELECT x FROM one"


def version(file: Path) -> int:
    connection = sqlite3.connect(file)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_a_file_is_brought_to_the_newest_version_and_keeps_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "side.db"
    old = SideDatabase(file, (ONE,), durable=False)
    old.write("INSERT INTO one VALUES (?)", (7,))
    old.close()
    new = SideDatabase(file, (ONE, TWO), durable=False)
    assert new.read("SELECT x FROM two", ()) == [(7,)]
    new.close()
    assert version(file) == 2


def test_a_migration_that_fails_changes_nothing_and_is_done_by_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "side.db"
    SideDatabase(file, (ONE,), durable=False).close()
    with pytest.raises(sqlite3.OperationalError):
        SideDatabase(file, (ONE, "CREATE TABLE two (x INTEGER); SELECT * FROM missing"), durable=False)
    assert version(file) == 1
    new = SideDatabase(file, (ONE, TWO), durable=False)
    assert new.read("SELECT x FROM two", ()) == []
    new.close()


def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    SideDatabase(tmp_path / "side.db", (ONE, TWO), durable=False).close()
    with pytest.raises(RuntimeError, match="version 2"):
        SideDatabase(tmp_path / "side.db", (ONE,), durable=False)


def test_a_file_from_before_versions_opens_with_everything_in_it(tmp_path: Path) -> None:
    file = tmp_path / "side.db"
    connection = sqlite3.connect(file)
    connection.executescript(MIGRATIONS[0])
    for pending, record in enumerate((RECORD, WAITING)):
        identity = record.identity
        values = ("blob", "data", "a.bin", pending, identity.ino, identity.size, identity.mtime_ns)
        insert = "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        connection.execute(insert, (*values, record.document(), "blocks"))
    connection.commit()
    connection.close()
    assert version(file) == 0
    store = SideStore(file, durable=False)
    # The confirmed one is what a file that neither describes inherits from.
    assert store.records(KEY) == (RECORD, WAITING)
    assert store.blocks(KEY, RECORD.identity) == "blocks"
    store.close()
    assert version(file) == len(MIGRATIONS)


def test_dropping_a_container_drops_its_items_and_no_others(tmp_path: Path) -> None:
    store = SideStore(tmp_path / "side.db", durable=False)
    other: Key = (StorageService.BLOB, "data2", "a.bin")
    for key in (KEY, other):
        store.put(key, RECORD)
    store.drop_container(StorageService.BLOB, "data")
    assert store.records(KEY) == (None, None)
    assert store.records(other) == (RECORD, None)
    store.close()
