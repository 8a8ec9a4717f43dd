"""Deleted containers and shares that can come back: until when, and what of them the disk holds."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.conditions import UNCONDITIONAL
from openbatchai.dataplane.containers import ContainerSettings
from openbatchai.dataplane.errors import StorageError
from openbatchai.domain.ports import ItemRef, StorageService

ACCOUNT = "acct"
REF = ItemRef(StorageService.FILE, ACCOUNT, "share")


class Ring:
    def keys(self, account):
        return ("a2V5", "a2V5")


class Clock:
    def __init__(self):
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(tmp_path, clock):
    made = []

    def start():
        for storage in made:
            storage.close()
        made[:] = [Storage(tmp_path, Ring(), clock, FsyncPolicy.NEVER)]
        made[0].create_account(ACCOUNT)
        return made[0]

    yield start
    for storage in made:
        storage.close()


@pytest.fixture
def storage(opened):
    found = opened()
    policy = {"Enabled": "true", "Days": "2"}
    found.settings.change(ACCOUNT, StorageService.FILE, {"ShareDeleteRetentionPolicy": policy})
    found.containers.create(REF, ContainerSettings(metadata={"a": "1"}))
    return found


def deleted(storage):
    page = storage.containers.list(
        ACCOUNT, StorageService.FILE, prefix="", marker="", limit=10, with_deleted=True
    )
    return [found.deletion for found in page.entries if found.deletion]


def trees(tmp_path):
    return [*(tmp_path / ACCOUNT / ".retained").glob("*/*/*/tree")]


def test_it_lasts_as_long_as_it_was_told(storage, clock, tmp_path):
    storage.containers.delete(REF, UNCONDITIONAL)
    [told] = deleted(storage)
    clock.time += timedelta(days=2) - timedelta(seconds=1)
    assert [one.version for one in deleted(storage)] == [told.version]
    clock.time += timedelta(seconds=1)
    assert deleted(storage) == []
    with pytest.raises(StorageError) as missing:
        storage.containers.restore(REF, told.version, "share")
    assert missing.value.code.code == "ShareNotFound"
    storage.containers.retained.remove_expired(ACCOUNT)
    rows = storage.places.store(ACCOUNT).database.read("SELECT service FROM container", ())
    assert rows == []


def test_a_start_lets_go_of_what_has_expired(opened, storage, clock, tmp_path):
    storage.containers.delete(REF, UNCONDITIONAL)
    assert len(trees(tmp_path)) == 1
    clock.time += timedelta(days=3)
    # Closing waits for what is done in the background.
    opened()
    opened()
    assert trees(tmp_path) == []


def test_a_deleted_account_does_not_come_back_to_be_swept(storage, tmp_path):
    storage.containers.delete(REF, UNCONDITIONAL)
    storage.delete_account(ACCOUNT)
    storage.containers.retained.remove_expired(ACCOUNT)
    assert not (tmp_path / ACCOUNT).exists()


def test_it_outlives_a_start(opened, storage):
    storage.containers.delete(REF, UNCONDITIONAL)
    again = opened()
    again.recovered.result()
    [told] = deleted(again)
    back = again.containers.restore(REF, told.version.lower(), "share")
    assert back.settings.metadata == {"a": "1"}
    assert deleted(again) == []


def test_a_lost_side_store_loses_no_tree(opened, storage, tmp_path):
    storage.containers.delete(REF, UNCONDITIONAL)
    storage.close()
    for file in (tmp_path / ACCOUNT / ".meta").iterdir():
        file.unlink()
    opened()
    opened()
    assert len(trees(tmp_path)) == 1


def test_a_place_for_what_never_came_goes(opened, storage, tmp_path):
    empty = tmp_path / ACCOUNT / ".retained" / "file" / "stray" / "01D64EB9886F00C4"
    empty.mkdir(parents=True)
    opened()
    assert not empty.exists()


def test_versions_of_the_same_moment_differ(storage):
    for _ in range(3):
        storage.containers.delete(REF, UNCONDITIONAL)
        storage.containers.create(REF, ContainerSettings())
    assert len({told.version for told in deleted(storage)}) == 3


@pytest.mark.parametrize("moved", [False, True])
def test_a_start_brings_nothing_back_over_what_was_made_meanwhile(opened, storage, tmp_path, moved):
    """The service was killed while a share came back, and then somebody made a directory of its name."""
    storage.containers.delete(REF, UNCONDITIONAL)
    [told] = deleted(storage)
    rows = storage.places.store(ACCOUNT).database
    rows.write("UPDATE retained SET state = 'coming', target = 'back'", ())
    if moved:
        rows.write("UPDATE container SET service = 'file', name = 'back'", ())
    made = tmp_path / ACCOUNT / "file" / "back" / "f"
    made.parent.mkdir()
    made.write_bytes(b"mine")
    again = opened()
    assert made.read_bytes() == b"mine"
    assert [one.version for one in deleted(again)] == [told.version]
    assert again.containers.get(replace(REF, container="back")).settings.metadata == {}
    restored = again.containers.restore(REF, told.version, "share")
    assert restored.settings.metadata == {"a": "1"}


def test_what_could_not_come_back_can_be_asked_for_again_at_once(storage):
    storage.containers.delete(REF, UNCONDITIONAL)
    [told] = deleted(storage)
    rows = storage.places.store(ACCOUNT).database
    rows.write("CREATE TRIGGER no BEFORE UPDATE ON container BEGIN SELECT RAISE(ABORT, 'refused'); END", ())
    with pytest.raises(sqlite3.IntegrityError, match="refused"):
        storage.containers.restore(REF, told.version, "share")
    rows.write("DROP TRIGGER no", ())
    assert [one.version for one in deleted(storage)] == [told.version]

    storage.containers.restore(REF, told.version, "share")

    assert deleted(storage) == []
    assert storage.containers.get(REF).settings.metadata == {"a": "1"}
