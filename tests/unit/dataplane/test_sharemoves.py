"""Renames in shares: what a start makes of those that a killed service was carrying out."""

import base64
from datetime import UTC, datetime

import pytest

from openbatchai.dataplane import FsyncPolicy, Storage, beneath
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.sharemoves import Move, MoveJournal, Rename
from openbatchai.dataplane.sharetree import FileSettings
from openbatchai.domain.ports import ItemRef, StorageService

KEY = base64.b64encode(b"k" * 64).decode()


class Ring:
    def keys(self, account):
        return (KEY, KEY) if account == "acct" else None


class Fixed:
    def now(self) -> datetime:
        return datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.fixture
def open_storage(tmp_path):
    opened = []

    def make() -> Storage:
        if opened:
            opened.pop().close()
        opened.append(Storage(tmp_path, Ring(), Fixed(), FsyncPolicy.NEVER))
        # Else it might still be dropping rows when the test moves files behind its back.
        opened[-1].recovered.result()
        return opened[-1]

    storage = make()
    storage.create_account("acct")
    storage.create_container(ref(""))
    yield make
    opened.pop().close()


def ref(path: str) -> ItemRef:
    return ItemRef(StorageService.FILE, "acct", "share", path)


def fill(storage: Storage) -> None:
    storage.directories.create(ref("d"), {"path": "d"})
    for path in ("d/f", "g"):
        storage.files.create(ref(path), 1, FileSettings(metadata={"path": path}))


def journal(storage: Storage) -> MoveJournal:
    return MoveJournal(storage.places.store("acct").database)


def test_a_rename_that_happened_is_completed_by_the_next_start(open_storage, tmp_path):
    storage = open_storage()
    fill(storage)
    home = tmp_path / "acct/file/share"
    journal(storage).begin(Move("share", "d", "e", (home / "d").stat().st_ino))
    (home / "d").rename(home / "e")
    storage = open_storage()
    assert storage.directories.properties(ref("e")).metadata == {"path": "d"}
    assert storage.files.properties(ref("e/f")).metadata == {"path": "d/f"}
    assert journal(storage).unfinished() == []


def test_a_file_that_changed_places_with_a_directory_goes_at_the_next_start(open_storage, tmp_path):
    storage = open_storage()
    fill(storage)
    home = tmp_path / "acct/file/share"
    inodes = (home / "d").stat().st_ino, (home / "g").stat().st_ino
    journal(storage).begin(Move("share", "d", "g", *inodes))
    with beneath.open_directory_fd(home) as fd:
        beneath.exchange(fd, "d", fd, "g")
    storage = open_storage()
    assert storage.directories.properties(ref("g")).metadata == {"path": "d"}
    assert not (home / "d").exists()


def test_a_rename_that_did_not_happen_is_forgotten(open_storage, tmp_path):
    storage = open_storage()
    fill(storage)
    journal(storage).begin(Move("share", "d/f", "g", (tmp_path / "acct/file/share/d/f").stat().st_ino))
    storage = open_storage()
    assert storage.files.properties(ref("d/f")).metadata == {"path": "d/f"}
    assert storage.files.properties(ref("g")).metadata == {"path": "g"}
    assert journal(storage).unfinished() == []


def test_a_refused_rename_leaves_no_journal(open_storage):
    storage = open_storage()
    fill(storage)
    with pytest.raises(StorageError):
        storage.moves.rename(ref("d"), ref("g"), Rename(directory=True))
    assert journal(storage).unfinished() == []


def test_names_that_only_begin_alike_are_not_below(open_storage):
    storage = open_storage()
    fill(storage)
    for path in ("d-", "d0", "d.txt"):
        storage.files.create(ref(path), 1, FileSettings(metadata={"path": path}))
    storage.moves.rename(ref("d"), ref("x"), Rename(directory=True))
    for path in ("d-", "d0", "d.txt"):
        assert storage.files.properties(ref(path)).metadata == {"path": path}
