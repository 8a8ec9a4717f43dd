"""Snapshots of shares: what a kill leaves of them, odd trees, and how usage is measured."""

import base64
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sharetree import FileSettings
from openbatchai.dataplane.snapshotrows import SnapshotRows
from openbatchai.dataplane.usage import Usage
from openbatchai.domain.ports import ItemRef, StorageService

KEY = base64.b64encode(b"k" * 64).decode()
SHARE = ItemRef(StorageService.FILE, "acct", "share")


class Ring:
    def keys(self, account):
        return (KEY, KEY) if account == "acct" else None


class Fixed:
    def now(self) -> datetime:
        return datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.fixture
def storage(tmp_path):
    opened = Storage(tmp_path, Ring(), Fixed(), FsyncPolicy.CLOSE)
    opened.create_account("acct")
    opened.create_container(SHARE)
    yield opened
    opened.close()


def file(path: str, snapshot: str = "") -> ItemRef:
    return replace(SHARE, path=path, snapshot=snapshot)


def test_rows_of_a_snapshot_that_never_came_go_at_the_next_start(storage, tmp_path):
    unfinished = replace(SHARE, snapshot="2026-01-01T00:00:00.0000000Z")
    rows = SnapshotRows(storage.places.store("acct").database)
    rows.add(unfinished, [("f", Record(Identity(1, 2, 3)))])
    storage.containers.describe_snapshot(unfinished, storage.containers.get(SHARE).settings)
    kept = storage.share_snapshots.create(SHARE, None).snapshot
    assert rows.snapshots() == [("share", unfinished.snapshot), ("share", kept)]
    storage.close()
    again = Storage(tmp_path, Ring(), Fixed(), FsyncPolicy.NEVER)
    found = SnapshotRows(again.places.store("acct").database).snapshots()
    again.close()
    assert found == [("share", kept)]


def test_a_snapshot_that_cannot_be_made_leaves_nothing(storage, tmp_path):
    storage.files.create(file("f"), 1, FileSettings())
    home = tmp_path / "acct/.snapshots/file"
    home.mkdir(parents=True)
    (home / "share").write_text("in the way")
    with pytest.raises(OSError, match="share"):
        storage.share_snapshots.create(SHARE, None)
    storage.places.in_background(lambda: None).result()
    assert list((tmp_path / "acct/.staging/made").iterdir()) == []
    assert SnapshotRows(storage.places.store("acct").database).snapshots() == []


def test_links_are_kept_and_what_cannot_be_read_is_left_out(storage, tmp_path):
    home = tmp_path / "acct/file/share"
    (home / "f").write_text("text")
    (home / "inside").symlink_to("f")
    (home / "outside").symlink_to(tmp_path)
    os.mkfifo(home / "pipe")
    (home / os.fsdecode(b"\xff")).write_text("no name")
    taken = storage.share_snapshots.create(SHARE, None).snapshot
    listed = storage.directories.list(file("", taken), prefix="", marker="", limit=10, recorded=True)
    assert [item.name for item in listed.entries] == ["f", "inside"]
    opened = storage.files.open(file("inside", taken))
    assert os.read(opened.fd, 10) == b"text"
    os.close(opened.fd)


def test_snapshots_taken_at_the_same_moment_have_names_in_order(storage):
    names = [storage.share_snapshots.create(SHARE, None).snapshot for _ in range(3)]
    assert names == sorted(set(names))


def test_a_share_made_anew_has_none_of_the_former_snapshots(storage, tmp_path):
    taken = storage.share_snapshots.create(SHARE, None).snapshot
    (tmp_path / "acct/file/share").rmdir()
    storage.create_container(SHARE)
    assert storage.containers.snapshots(SHARE) == []
    with pytest.raises(StorageError):
        storage.containers.get(replace(SHARE, snapshot=taken))


def test_usage_is_measured_anew_after_a_while(storage, tmp_path):
    now = [0.0]

    def monotonic() -> float:
        now[0] += 1
        return now[0]

    usage = Usage(storage.places, monotonic)
    home = tmp_path / "acct/file/share"
    (home / "a").write_bytes(bytes(10))
    assert usage.used_bytes(SHARE) == 10
    (home / "b").write_bytes(bytes(5))
    assert usage.used_bytes(SHARE) == 10
    now[0] += 100
    assert usage.used_bytes(SHARE) == 15
    with pytest.raises(StorageError):
        usage.used_bytes(replace(SHARE, container="missing"))
