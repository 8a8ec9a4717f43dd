"""Snapshots and soft deletion on a real directory: what is kept, where, and for how long."""

import os
import shutil
from dataclasses import replace

import pytest
from harness.timed import BLOB, CONTAINER, Place

from openbatchai.dataplane.bloblist import BlobQuery
from openbatchai.dataplane.blobtree import SnapshotsToo
from openbatchai.dataplane.clones import clone
from openbatchai.dataplane.conditions import UNCONDITIONAL
from openbatchai.dataplane.containers import ContainerSettings
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item
from openbatchai.domain.ports import StorageService

DAY_S = 24 * 3600


@pytest.fixture
def place(tmp_path):
    opened = Place(tmp_path)
    yield opened
    opened.storage.close()


def keep_deleted(place: Place, days: int) -> None:
    policy = {"Enabled": "true" if days else "false", "Days": str(days)}
    place.storage.settings.change("acct", StorageService.BLOB, {"DeleteRetentionPolicy": policy})


def listed(place: Place, *include: str) -> list[Item]:
    query = BlobQuery(include=frozenset(include))
    return [
        item for item in place.storage.list_blobs("acct", "data", query).entries if isinstance(item, Item)
    ]


def kept_files(place: Place) -> int:
    home = place.root / "acct/.snapshots/blob/data"
    return len(list(home.iterdir())) if home.exists() else 0


def settle(place: Place) -> None:
    """Until what is done in the background, one after the other, is done."""
    place.storage.places.in_background(lambda: None).result()


def read(place: Place, snapshot: str = "") -> bytes:
    opened = place.storage.blobs.open(replace(BLOB, snapshot=snapshot))
    try:
        return os.pread(opened.fd, 100, 0)
    finally:
        os.close(opened.fd)


def test_what_is_deleted_is_kept_for_its_days_and_then_gone(place):
    keep_deleted(place, 2)
    place.put(content=b"precious")
    assert place.storage.blobs.delete(BLOB, UNCONDITIONAL)
    place.clock.pass_seconds(DAY_S)
    place.restart()
    (deleted,) = listed(place, "deleted")
    assert deleted.listed
    assert deleted.listed.kept_days == 1
    place.clock.pass_seconds(DAY_S - 1)
    place.storage.snapshots.undelete(BLOB)
    assert read(place) == b"precious"
    place.storage.blobs.delete(BLOB, UNCONDITIONAL)
    settle(place)
    place.clock.pass_seconds(2 * DAY_S)
    assert listed(place, "deleted") == []
    with pytest.raises(StorageError) as gone:
        place.storage.snapshots.undelete(BLOB)
    assert gone.value.code is StorageCode.BLOB_NOT_FOUND
    assert kept_files(place) == 1
    place.restart()
    settle(place)
    assert kept_files(place) == 0


def test_whoever_deletes_later_clears_away_what_expired_meanwhile(place):
    keep_deleted(place, 1)
    place.put()
    place.storage.blobs.delete(BLOB, UNCONDITIONAL)
    place.clock.pass_seconds(DAY_S)
    other = replace(BLOB, path="other")
    place.put(ref=other)
    place.storage.blobs.delete(other, UNCONDITIONAL)
    settle(place)
    assert kept_files(place) == 1


def test_with_the_policy_off_again_deletion_is_for_good_and_what_was_kept_stays(place):
    keep_deleted(place, 7)
    place.put(content=b"1")
    place.storage.blobs.delete(BLOB, UNCONDITIONAL)
    keep_deleted(place, 0)
    other = replace(BLOB, path="other")
    place.put(ref=other)
    assert not place.storage.blobs.delete(other, UNCONDITIONAL)
    assert [item.name for item in listed(place, "deleted")] == ["b"]
    place.storage.snapshots.undelete(BLOB)
    assert read(place) == b"1"


def test_a_file_that_a_job_made_meanwhile_is_not_overwritten(place):
    keep_deleted(place, 7)
    place.put(content=b"deleted")
    place.storage.blobs.delete(BLOB, UNCONDITIONAL)
    (place.root / "acct/blob/data/b").write_bytes(b"of a job")
    place.storage.snapshots.undelete(BLOB)
    assert read(place) == b"of a job"
    (snapshot, live) = listed(place, "snapshots")
    assert snapshot.listed
    assert (read(place, snapshot.listed.snapshot), live.listed) == (b"deleted", None)


def test_a_link_is_removed_and_what_it_leads_to_stays(place):
    keep_deleted(place, 7)
    data = place.root / "acct/blob/data"
    (data / "target").write_bytes(b"t")
    (data / "b").symlink_to("target")
    place.storage.blobs.delete(BLOB, UNCONDITIONAL)
    assert [item.name for item in listed(place, "snapshots", "deleted")] == ["target"]


def test_a_snapshot_survives_a_restart_and_a_change_from_outside(place):
    place.put(content=b"old")
    item, time = place.storage.snapshots.create(BLOB, {"k": "v"}, UNCONDITIONAL)
    (place.root / "acct/blob/data/b").write_bytes(b"new and longer")
    place.restart()
    assert read(place, time) == b"old"
    found = place.storage.blobs.properties(replace(BLOB, snapshot=time))
    assert (found.etag, found.size, found.metadata) == (item.etag, 3, {"k": "v"})


def test_snapshots_of_one_instant_have_different_names(place):
    place.put(content=b"x")
    times = [place.storage.snapshots.create(BLOB, None, UNCONDITIONAL)[1] for _ in range(3)]
    place.storage.blobs.delete(BLOB, UNCONDITIONAL, SnapshotsToo.ONLY)
    keep_deleted(place, 7)
    place.put(content=b"y")
    assert times == sorted(set(times))


def test_nothing_is_left_of_a_container_that_was_removed_from_outside(place):
    place.put(content=b"x")
    place.storage.snapshots.create(BLOB, None, UNCONDITIONAL)
    shutil.rmtree(place.root / "acct/blob/data")
    place.restart()
    settle(place)
    assert kept_files(place) == 0
    place.storage.containers.create(CONTAINER, ContainerSettings())
    assert listed(place, "snapshots") == []


def test_a_full_copy_keeps_holes(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"data")
    with source.open("rb") as given, target.open("wb") as taken:
        clone(given.fileno(), taken.fileno())
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 1 << 20
