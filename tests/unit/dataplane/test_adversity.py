"""What must hold when something goes wrong just then: bad requests, races with deletion, odd files, kills."""

import base64
import os
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.appends import AppendDemands
from openbatchai.dataplane.bloblist import BlobQuery
from openbatchai.dataplane.blobtree import APPEND_BLOB, BlobProperties
from openbatchai.dataplane.caseindex import CaseIndex
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.pageranges import PageRange, changed_pages
from openbatchai.dataplane.sharemoves import Rename
from openbatchai.dataplane.sharetree import FileSettings
from openbatchai.dataplane.smb import PermissionWish, SmbWishes
from openbatchai.domain.ports import ItemRef, StorageService

KEY = base64.b64encode(b"k" * 64).decode()
BAD_PERMISSION = FileSettings(smb=SmbWishes(permission=PermissionWish(key="1*1")))


class Ring:
    def keys(self, account):
        return (KEY, KEY) if account == "acct" else None


class Fixed:
    def now(self) -> datetime:
        return datetime(2026, 11, 20, 10, tzinfo=UTC)


def open_storage(root: Path) -> Storage:
    return Storage(root, Ring(), Fixed(), FsyncPolicy.NEVER)


@pytest.fixture
def storage(tmp_path):
    opened = open_storage(tmp_path)
    opened.create_account("acct")
    opened.create_container(blob())
    opened.create_container(file())
    yield opened
    opened.close()


def blob(path: str = "") -> ItemRef:
    return ItemRef(StorageService.BLOB, "acct", "data", path)


def file(path: str = "") -> ItemRef:
    return ItemRef(StorageService.FILE, "acct", "share", path)


def put(storage: Storage, path: str, content: bytes = b"x", blob_type: str = "BlockBlob"):
    upload = storage.blobs.new_upload("acct", hashing=False)
    try:
        upload.write(content)
        return storage.blobs.put(blob(path), upload, BlobProperties(), Conditions(), blob_type=blob_type)
    finally:
        upload.discard()


# --- starts


def test_a_start_is_not_kept_from_serving_by_an_account_that_was_just_deleted(tmp_path):
    """A kill may leave any part of it; what it was doing does not matter any more."""
    first = open_storage(tmp_path)
    first.create_account("acct")
    first.create_container(blob())
    upload = first.blobs.new_upload("acct", hashing=False)
    upload.write(b"left behind")
    first.close()
    os.close(upload.fd)
    (tmp_path / "acct").rename(tmp_path / ".deleted-0123")

    again = open_storage(tmp_path)
    again.recovered.result()
    again.close()

    assert not (tmp_path / ".deleted-0123").exists()


def test_blocks_of_a_container_that_is_gone_are_not_those_of_a_new_one(storage, tmp_path):
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"old")
    storage.blobs.put_block(blob("b"), base64.b64encode(b"1").decode(), upload)
    upload.discard()
    shutil.rmtree(tmp_path / "acct/blob/data")

    storage.create_container(blob())

    with pytest.raises(StorageError, match="does not exist"):
        storage.blobs.block_lists(blob("b"))


# --- requests that are refused


def test_a_refused_permission_leaves_the_file_as_it_is(storage):
    storage.files.create(file("f"), 5, FileSettings(), content=b"bytes")

    moved = Rename(directory=False, smb=BAD_PERMISSION.smb)
    for change in (
        lambda: storage.files.create(file("f"), 9, BAD_PERMISSION),
        lambda: storage.files.set_properties(file("f"), 9, BAD_PERMISSION),
        lambda: storage.moves.rename(file("f"), file("g"), moved),
    ):
        with pytest.raises(StorageError) as refused:
            change()
        assert refused.value.code.status == 400
        opened = storage.files.open(file("f"))
        assert os.pread(opened.fd, 99, 0) == b"bytes"
        os.close(opened.fd)


# --- odd files


@pytest.mark.parametrize("second", [10**12, -(10**12)])
def test_a_file_of_a_time_beyond_all_calendars_can_be_listed(second):
    root = Path("/dev/shm") / f"adversity-{os.getpid()}"
    storage = open_storage(root)
    try:
        storage.create_account("acct")
        storage.create_container(blob())
        path = root / "acct/blob/data/f"
        path.touch()
        os.utime(path, ns=(0, second * 10**9))
        page = storage.list_blobs("acct", "data", BlobQuery())
        assert [item.last_modified.year in (1, 1970, 9999) for item in page.entries] == [True]
    finally:
        storage.close()
        shutil.rmtree(root)


def test_changes_in_large_files_are_all_found(tmp_path):
    now, then = tmp_path / "now", tmp_path / "then"
    content = bytearray(os.urandom(4 << 20))
    then.write_bytes(content)
    expected = []
    for page in (0, 2047, 3000, 8191):
        content[page * 512] ^= 1
        expected.append(PageRange(page * 512, (page + 1) * 512))
    now.write_bytes(content)
    with now.open("rb") as one, then.open("rb") as other:
        assert list(changed_pages(one.fileno(), other.fileno(), 0, 4 << 20)) == expected


# --- failures on the way


def test_what_is_deleted_while_it_is_listed_is_left_out(storage, tmp_path):
    # A name without its snapshot, as in the moment between the looks at both.
    home = tmp_path / "acct/.snapshots/file/share"
    home.mkdir(parents=True)
    (home / "2026-01-01T00:00:00.0000000Z").touch()

    listed = storage.containers.list(
        "acct", StorageService.FILE, prefix="", marker="", limit=10, with_snapshots=True
    )

    assert [(found.name, found.snapshot) for found in listed.entries] == [("share", "")]


def test_a_directory_that_could_not_be_read_has_no_index(tmp_path):
    index = CaseIndex(least=1)
    (tmp_path / "A").touch()

    def fail(directory: int) -> list[str]:
        raise OSError("no descriptor left")

    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="no descriptor"):
        index.offer(fd, 1, fail)
    assert index.names(fd, "a") is None
    os.close(fd)
    index.close()


def test_an_append_is_settled_when_it_is_answered(storage):
    """A start would put its record in the place of what came later."""
    put(storage, "log", b"", APPEND_BLOB)
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"line\n")
    storage.appends.append(blob("log"), upload, AppendDemands(), Conditions())
    assert storage.places.unfinished_appends() == []
    upload.discard()


def test_an_append_without_its_record_has_not_happened(storage):
    put(storage, "log", b"", APPEND_BLOB)
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"line\n")
    full = "CREATE TRIGGER full BEFORE INSERT ON item BEGIN SELECT RAISE(FAIL, 'full'); END"
    storage.places.store("acct").database.write(full, ())
    with pytest.raises(sqlite3.Error, match="full"):
        storage.appends.append(blob("log"), upload, AppendDemands(), Conditions())
    upload.discard()
    assert storage.blobs.properties(blob("log")).size == 0
