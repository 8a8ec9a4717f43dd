"""What must hold when something goes wrong just then: bad requests, races with deletion, odd files, kills."""

import base64
import contextlib
import os
import shutil
import sqlite3
import subprocess
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from harness.waiting import until

from openbatchai.dataplane import FsyncPolicy, Storage, beneath, recovery
from openbatchai.dataplane.appends import AppendDemands
from openbatchai.dataplane.bloblist import BlobQuery
from openbatchai.dataplane.blobtree import APPEND_BLOB, PAGE_BLOB, BlobProperties
from openbatchai.dataplane.caseindex import CaseIndex
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.kept import KeptBlobs
from openbatchai.dataplane.pageranges import PageRange, changed_pages
from openbatchai.dataplane.pages import NO_DEMANDS
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.sharemoves import MoveJournal, Moves, Rename
from openbatchai.dataplane.sharesnapshots import ShareSnapshots
from openbatchai.dataplane.sharetree import FileSettings, ShareTree
from openbatchai.dataplane.smb import PermissionWish, SmbWishes
from openbatchai.dataplane.usage import Usage
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


def put(storage: Storage, path: str, content: bytes = b"x", blob_type: str = "BlockBlob", **properties):
    upload = storage.blobs.new_upload("acct", hashing=False)
    try:
        upload.write(content)
        return storage.blobs.put(
            blob(path), upload, BlobProperties(**properties), Conditions(), blob_type=blob_type
        )
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


def test_a_start_goes_on_where_a_half_added_block_cannot_be_looked_at(storage, tmp_path):
    """A file that a job executes cannot be opened for writing."""
    put(storage, "log", b"", APPEND_BLOB)
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"line\n")
    record = storage.blobs.properties(blob("log")).record
    recovery.announce(storage.places, blob("log"), upload, upload.fd, 0, record)
    storage.close()
    program = tmp_path / "acct/blob/data/log"
    shutil.copy(shutil.which("sleep"), program)
    program.chmod(0o755)
    job = subprocess.Popen([program, "60"])
    try:
        again = open_storage(tmp_path)
        assert again.blobs.properties(blob("log")).size == program.stat().st_size
        assert again.places.unfinished_appends() == []
        again.close()
    finally:
        job.kill()
        job.wait()
        os.close(upload.fd)


def test_a_start_keeps_what_was_deleted_though_a_job_has_another_link_to_it(tmp_path):
    storage = open_storage(tmp_path)
    storage.create_account("acct")
    storage.create_container(blob())
    item = put(storage, "b", b"bytes")
    path = tmp_path / "acct/blob/data/b"
    (tmp_path / "acct/blob/data/best").hardlink_to(path)
    kept = KeptBlobs(storage.places, Fixed())
    with beneath.open_directory_fd(path.parent) as parent:
        kept.keep_former(blob("b"), item, "", parent, "b", 7, replaced=False)
    path.unlink()
    storage.close()

    again = open_storage(tmp_path)
    again.snapshots.undelete(blob("b"))
    assert path.read_bytes() == b"bytes"
    again.close()


@pytest.mark.parametrize("is_pages", [False, True])
def test_a_start_leaves_alone_what_a_job_put_in_the_place_of_a_half_written_blob(storage, tmp_path, is_pages):
    path = tmp_path / "acct/blob/data/b"
    put(storage, "b", bytes(1024), PAGE_BLOB if is_pages else APPEND_BLOB)
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"x" * 512)
    record = storage.blobs.properties(blob("b")).record
    offset = 0 if is_pages else 1024
    with path.open("rb") as opened:
        recovery.announce(
            storage.places, blob("b"), upload, opened.fileno(), offset, record, in_place=is_pages
        )
        # The job's file cannot get the inode while this one is open.
        by_job = b"j" * 1200
        if is_pages:
            path.unlink()
        path.write_bytes(by_job)
    storage.close()
    os.close(upload.fd)

    open_storage(tmp_path).close()

    assert path.read_bytes() == by_job


def test_a_start_takes_back_what_was_kept_of_a_blob_that_is_still_there(tmp_path):
    storage = open_storage(tmp_path)
    storage.create_account("acct")
    storage.create_container(blob())
    item = put(storage, "b", b"bytes")
    kept = KeptBlobs(storage.places, Fixed())
    with beneath.open_directory_fd(tmp_path / "acct/blob/data") as parent:
        kept.keep_former(blob("b"), item, "", parent, "b", 7, replaced=False)
    storage.close()

    again = open_storage(tmp_path)
    query = BlobQuery(include=frozenset({"deleted"}))
    assert [item.listed for item in again.list_blobs("acct", "data", query).entries] == [None]
    assert list((tmp_path / "acct/.snapshots/blob/data").iterdir()) == []
    again.close()


def test_a_container_made_anew_knows_nothing_of_one_that_was_removed_from_outside(storage, tmp_path):
    put(storage, "b", metadata={"of": "the former"})
    shutil.rmtree(tmp_path / "acct/blob/data")
    storage.create_container(blob())
    (tmp_path / "acct/blob/data/b").touch()
    assert storage.blobs.properties(blob("b")).metadata == {}


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


def test_a_directory_that_does_not_give_way_stays_whole(storage, tmp_path):
    tree = tmp_path / "acct/blob/data/a"
    (tree / "output").mkdir(parents=True)
    for number in range(20):
        (tree / f"b{number}" / "empty").mkdir(parents=True)
    (tree / "b7" / "empty" / "file").touch()
    before = sorted(tree.rglob("*"))

    put(storage, "a", b"blob")

    assert sorted(tree.rglob("*")) == before
    assert storage.blobs.properties(blob("a")).size == 4


def test_an_append_blob_that_a_job_made_shorter_is_none_any_more(storage, tmp_path):
    put(storage, "log", b"12345", APPEND_BLOB)
    path = tmp_path / "acct/blob/data/log"
    with path.open("ab") as job:
        job.write(b"6")
    assert storage.blobs.properties(blob("log")).blob_type == APPEND_BLOB
    os.truncate(path, 4)
    assert storage.blobs.properties(blob("log")).blob_type == "BlockBlob"


def test_a_blob_that_is_put_does_away_with_its_uncommitted_blocks(storage):
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"block")
    storage.blobs.put_block(blob("b"), base64.b64encode(b"1").decode(), upload)
    upload.discard()
    put(storage, "b", b"whole")
    _, lists = storage.blobs.block_lists(blob("b"))
    assert lists.uncommitted == ()


def test_what_is_kept_is_not_read_through_a_link(storage, tmp_path):
    """A job may put a link in the place of a blob while that is being kept."""
    put(storage, "b", b"bytes")
    taken, time = storage.snapshots.create(blob("b"), None, Conditions())
    assert taken.size == 5
    (secret := tmp_path / "secret").write_bytes(b"others")
    (kept,) = (tmp_path / "acct/.snapshots/blob/data").iterdir()
    kept.unlink()
    kept.symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        storage.blobs.open(replace(blob("b"), snapshot=time))


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


def test_a_page_of_a_listing_reads_no_records_of_what_jobs_have_deleted(storage):
    for name in ("a", "z"):
        put(storage, name)
    rows = ((f"m{number:06}", "x" * 500) for number in range(20_000))
    with storage.places.store("acct").database.transaction() as connection:
        connection.executemany(
            "INSERT INTO item VALUES ('blob', 'data', ?, 0, 1, 1, 1, json_object('md5', ?), '', 0)", rows
        )
    tracemalloc.start()
    try:
        page = storage.list_blobs("acct", "data", BlobQuery())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [item.name for item in page.entries] == ["a", "z"]
    assert all(item.record for item in page.entries)
    assert most < 2 << 20


def test_a_failed_creation_says_nothing_of_the_file_that_took_the_name(storage, tmp_path):
    """A link to nothing has the name, which a job makes good afterwards."""
    path = tmp_path / "acct/file/share/f"
    path.symlink_to("nothing")
    with pytest.raises(StorageError) as refused:
        storage.files.create(file("f"), 1, FileSettings(metadata={"of": "the client"}))
    assert refused.value.code.status == 409
    path.unlink()
    path.touch()
    assert storage.files.properties(file("f")).metadata == {}


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


def test_a_page_write_that_failed_is_not_done_again_by_a_start(storage):
    put(storage, "disk", bytes(1024), PAGE_BLOB)
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"x" * 512)
    full = "CREATE TRIGGER full BEFORE INSERT ON item BEGIN SELECT RAISE(FAIL, 'full'); END"
    storage.places.store("acct").database.write(full, ())
    with pytest.raises(sqlite3.Error, match="full"):
        storage.pages.write(blob("disk"), Span(0, 512), upload, NO_DEMANDS, Conditions())
    assert storage.places.unfinished_appends() == []
    upload.discard()


@pytest.fixture
def full_disk(tmp_path):
    """Fills a small file system of its own, below which `tmp_path` lies then."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")

    def fill() -> None:
        with (tmp_path / "ballast").open("ab") as file:
            while free := shutil.disk_usage(tmp_path).free:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)

    yield fill
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize("is_kept", [False, True])
def test_what_is_kept_can_be_deleted_on_a_full_disk(full_disk, storage, is_kept):
    for number in range(20):
        put(storage, f"b{number}", bytes(20_000))
    times = [storage.snapshots.create(blob(f"b{n}"), None, Conditions())[1] for n in range(20)]
    if is_kept:
        policy = {"DeleteRetentionPolicy": {"Enabled": "true", "Days": "7"}}
        storage.settings.change("acct", StorageService.BLOB, policy)
    full_disk()
    for number, time in enumerate(times):
        storage.snapshots.delete(replace(blob(f"b{number}"), snapshot=time), Conditions())
        storage.blobs.delete(blob(f"b{number}"), Conditions())
        if not is_kept:
            # Others take what becomes free.
            full_disk()
    assert storage.list_blobs("acct", "data", BlobQuery()).entries == []


def test_a_rename_on_a_full_disk_happens_or_does_not(full_disk, storage):
    for number in range(200):
        storage.files.create(file(f"f{number}"), 0, FileSettings(metadata={"m": str(number)}))
    full_disk()
    for number in range(200):
        try:
            moved = storage.moves.rename(file(f"f{number}"), file(f"g{number}"), Rename(directory=False))
        except OSError:
            moved = storage.files.properties(file(f"f{number}"))
        assert moved.metadata == {"m": str(number)}


def test_a_rename_whose_rows_cannot_follow_has_not_happened(storage):
    storage.files.create(file("f"), 0, FileSettings(metadata={"m": "1"}))
    database = storage.places.store("acct").database
    full = "CREATE TRIGGER full BEFORE UPDATE OF path ON item BEGIN SELECT RAISE(FAIL, 'full'); END"
    database.write(full, ())
    with pytest.raises(sqlite3.Error, match="full"):
        storage.moves.rename(file("f"), file("g"), Rename(directory=False))
    assert storage.files.properties(file("f")).metadata == {"m": "1"}
    assert MoveJournal(database).unfinished() == []


# --- calls in each other's way


def test_a_rename_does_not_wait_long_for_a_snapshot(storage):
    """Waiting calls would take all the threads of the service."""
    storage.files.create(file("f"), 1, FileSettings())
    moves = Moves(ShareTree(storage.places, storage.permissions, Fixed()), wait_s=0)
    with moves.alone(file()), pytest.raises(StorageError) as refused:
        moves.rename(file("f"), file("g"), Rename(directory=False))
    assert refused.value.code.status == 503
    assert moves.rename(file("f"), file("g"), Rename(directory=False)).size == 1


def test_a_share_is_not_copied_while_something_in_it_is_renamed(storage):
    tree = ShareTree(storage.places, storage.permissions, Fixed())
    moves = Moves(tree, wait_s=0)
    snapshots = ShareSnapshots(tree, storage.containers, moves, Fixed())
    with moves.alone(file()), pytest.raises(StorageError) as refused:
        snapshots.create(file(), None)
    assert refused.value.code.status == 503
    assert snapshots.create(file(), None).snapshot


def test_a_name_that_was_taken_meanwhile_is_not_replaced(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with beneath.open_directory_fd(tmp_path) as fd, pytest.raises(FileExistsError):
        beneath.rename_to_new(fd, "a", fd, "b")
    assert (tmp_path / "b").read_text() == "b"


def test_a_snapshot_is_not_copied_again_under_the_lock_because_a_job_writes(storage, tmp_path):
    put(storage, "log", b"first")
    with ThreadPoolExecutor(1) as pool:
        with storage.places.locked("acct", (StorageService.BLOB, "data", "log")):
            taken = pool.submit(storage.snapshots.create, blob("log"), None, Conditions())
            staged = tmp_path / "acct/.staging/made"
            until(lambda: any(made.stat().st_size for made in staged.iterdir()), "the copy")
            with (tmp_path / "acct/blob/data/log").open("ab") as job:
                job.write(b" and second")
        snapshot, _ = taken.result()
    assert snapshot.size == 5


def test_a_search_for_tags_reads_no_blobs_without(storage):
    """All calls that need a record wait while the side store is read."""
    store, steps = storage.places.store("acct"), []
    with store.database.transaction() as connection:
        rows = ((f"m{number:06}", "{}") for number in range(20_000))
        connection.executemany("INSERT INTO item VALUES ('blob', 'data', ?, 0, 1, 1, 1, ?, '', 0)", rows)
        connection.set_progress_handler(lambda: steps.append(1), 1000)
    put(storage, "tagged", tags={"a": "b"})
    steps.clear()
    assert store.tagged_after(("", ""), "", 100) == [("data", "tagged")]
    assert len(steps) < 5


def test_a_snapshot_of_a_share_that_was_replaced_meanwhile_is_none_of_the_new_one(storage, tmp_path):
    storage.files.create(file("secret"), 1, FileSettings())
    with ThreadPoolExecutor(1) as pool:
        with storage.places.locked("acct", (StorageService.FILE, "share", "held")):
            taken = pool.submit(storage.share_snapshots.create, file(), None)
            until(lambda: (tmp_path / "acct/.snapshots/file/share").exists(), "the copy")
            (tmp_path / "acct/file/share").rename(tmp_path / "acct/.staging/deleted/former")
            (tmp_path / "acct/file/share").mkdir()
        with pytest.raises(StorageError) as refused:
            taken.result()
    assert refused.value.code.status == 404
    assert storage.containers.snapshots(file()) == []


def test_a_share_is_measured_by_one_call_at_a_time(storage):
    refused = []

    def clock() -> float:
        # In the midst of the first call.
        if not refused:
            refused.append(0)
            with pytest.raises(StorageError) as error:
                usage.used_bytes(file())
            refused.append(error.value.code.status)
        return 0.0

    usage = Usage(storage.places, clock, wait_s=0)
    assert usage.used_bytes(file()) == 0
    assert refused == [0, 503]


def test_reading_without_the_side_store_leaks_no_descriptors(storage):
    put(storage, "b")
    storage.files.create(file("f"), 1, FileSettings())
    storage.places.store("acct").database.write("ALTER TABLE item RENAME TO away", ())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for read in (
        lambda: storage.blobs.open(blob("b")),
        lambda: storage.files.open(file("f")),
        lambda: storage.copies.open(blob("b")),
    ):
        with pytest.raises(sqlite3.Error, match="no such table"):
            read()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
