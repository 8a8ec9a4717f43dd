"""A request that was let in when its account was still there, and comes to its work when it is not."""

from datetime import UTC, datetime

import pytest

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.containers import ContainerSettings
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.domain.ports import ItemRef, StorageService

ACCOUNT = "acct"
REF = ItemRef(StorageService.BLOB, ACCOUNT, "container")


class Ring:
    def __init__(self):
        self.known = {ACCOUNT: ("a2V5", "a2V5")}

    def keys(self, account):
        return self.known.get(account)


class Clock:
    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ring():
    return Ring()


@pytest.fixture
def storage(tmp_path, ring):
    made = Storage(tmp_path, ring, Clock(), FsyncPolicy.NEVER)
    made.create_account(ACCOUNT)
    yield made
    made.close()


def delete_account(storage, ring):
    del ring.known[ACCOUNT]
    storage.delete_account(ACCOUNT)


def test_nothing_of_it_comes_back(storage, ring, tmp_path):
    delete_account(storage, ring)
    with pytest.raises(StorageError) as refusal:
        storage.containers.create(REF, ContainerSettings())
    assert refusal.value.code is StorageCode.RESOURCE_NOT_FOUND
    assert not (tmp_path / ACCOUNT).exists()


def test_one_that_is_known_gets_its_place_back(storage, tmp_path):
    """A service may be killed between the record of a new account and its directories."""
    storage.delete_account(ACCOUNT)
    storage.containers.create(REF, ContainerSettings())
    assert (tmp_path / ACCOUNT / "blob" / REF.container).is_dir()


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.container(StorageService.BLOB, "container"),
        lambda store: store.put_container(StorageService.BLOB, "container", "{}"),
        lambda store: store.drop_container(StorageService.BLOB, "container"),
    ],
)
def test_records_are_as_gone_as_the_account(storage, ring, use):
    store = storage.places.store(ACCOUNT)
    delete_account(storage, ring)
    with pytest.raises(StorageError) as refusal:
        use(store)
    assert refusal.value.code is StorageCode.RESOURCE_NOT_FOUND
