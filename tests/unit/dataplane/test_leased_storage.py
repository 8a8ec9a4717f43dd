"""Leases on a real directory while time passes and the service restarts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.blobtree import BlobProperties
from openbatchai.dataplane.conditions import UNCONDITIONAL, Conditions
from openbatchai.dataplane.containers import ContainerSettings
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.leases import LeaseAction, LeaseRequest, LeaseState
from openbatchai.domain.ports import ItemRef, StorageService

A = "aaaaaaaa-0000-0000-0000-000000000000"
ACQUIRE = LeaseRequest(LeaseAction.ACQUIRE, proposed_id=A, duration_s=30)
RENEW = LeaseRequest(LeaseAction.RENEW, A)
CONTAINER = ItemRef(StorageService.BLOB, "acct", "data")
BLOB = ItemRef(StorageService.BLOB, "acct", "data", "b")


class NoKeys:
    def keys(self, account):
        return None


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 20, 10, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def pass_seconds(self, seconds: int) -> None:
        self.time += timedelta(seconds=seconds)


class Place:
    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, Watch()
        self.storage = self._open()
        self.storage.create_account("acct")
        self.storage.containers.create(CONTAINER, ContainerSettings())

    def restart(self) -> None:
        self.storage.close()
        self.storage = self._open()

    def _open(self) -> Storage:
        return Storage(self.root, NoKeys(), self.clock, FsyncPolicy.NEVER)

    def put(self, lease_id: str | None = None) -> None:
        upload = self.storage.blobs.new_upload("acct", hashing=False)
        try:
            self.storage.blobs.put(BLOB, upload, BlobProperties(), Conditions(lease_id=lease_id))
        finally:
            upload.discard()


@pytest.fixture
def place(tmp_path):
    opened = Place(tmp_path)
    yield opened
    opened.storage.close()


def test_a_blob_lease_runs_out_by_the_clock_and_survives_a_restart(place):
    place.put()
    place.storage.blobs.lease(BLOB, ACQUIRE, UNCONDITIONAL)
    place.clock.pass_seconds(29)
    place.restart()
    with pytest.raises(StorageError) as refused:
        place.put()
    assert refused.value.code is StorageCode.LEASE_ID_MISSING
    place.put(A)
    place.clock.pass_seconds(1)
    assert place.storage.blobs.properties(BLOB).lease.state is LeaseState.EXPIRED
    # Nobody wrote, so the holder gets it back.
    place.storage.blobs.lease(BLOB, RENEW, UNCONDITIONAL)
    place.clock.pass_seconds(30)
    place.put()
    assert place.storage.blobs.properties(BLOB).lease.state is LeaseState.AVAILABLE
    with pytest.raises(StorageError) as lost:
        place.storage.blobs.lease(BLOB, RENEW, UNCONDITIONAL)
    assert lost.value.code is StorageCode.LEASE_ID_MISMATCH


def test_a_container_lease_runs_out_and_stays_renewable(place):
    containers = place.storage.containers
    containers.lease(CONTAINER, ACQUIRE, UNCONDITIONAL)
    place.restart()
    containers = place.storage.containers
    with pytest.raises(StorageError) as refused:
        containers.delete(CONTAINER, UNCONDITIONAL)
    assert refused.value.code is StorageCode.LEASE_ID_MISSING
    place.clock.pass_seconds(30)
    assert containers.get(CONTAINER).lease.state is LeaseState.EXPIRED
    # Unlike a blob's, also when its settings were changed meanwhile.
    containers.update(CONTAINER, UNCONDITIONAL, metadata={"a": "b"})
    containers.lease(CONTAINER, RENEW, UNCONDITIONAL)
    place.clock.pass_seconds(30)
    containers.delete(CONTAINER, UNCONDITIONAL)


def test_a_container_made_again_has_no_lease(place):
    place.storage.containers.lease(CONTAINER, ACQUIRE, UNCONDITIONAL)
    place.storage.places.container_path("acct", StorageService.BLOB, "data").rmdir()
    place.storage.containers.create(CONTAINER, ContainerSettings())
    assert place.storage.containers.get(CONTAINER).lease.state is LeaseState.AVAILABLE
