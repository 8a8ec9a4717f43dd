"""Leases on a real directory while time passes and the service restarts."""

import pytest
from harness.timed import BLOB, CONTAINER, Place

from openbatchai.dataplane.conditions import UNCONDITIONAL
from openbatchai.dataplane.containers import ContainerSettings
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.leases import LeaseAction, LeaseRequest, LeaseState
from openbatchai.domain.ports import StorageService

A = "aaaaaaaa-0000-0000-0000-000000000000"
ACQUIRE = LeaseRequest(LeaseAction.ACQUIRE, proposed_id=A, duration_s=30)
RENEW = LeaseRequest(LeaseAction.RENEW, A)


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
