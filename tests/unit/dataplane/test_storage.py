"""Storage on a real directory: order of listings, crashes, mounts, and the side store."""

import base64
import hashlib
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbatchai.dataplane import FsyncPolicy, Storage, beneath, recovery
from openbatchai.dataplane.appends import AppendDemands
from openbatchai.dataplane.bloblist import BlobQuery
from openbatchai.dataplane.blobtree import APPEND_BLOB, BlobProperties
from openbatchai.dataplane.blocks import Source
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.containers import ContainerSettings
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sharetree import FileSettings
from openbatchai.domain.ports import ItemRef, MountRefusedError, StorageService

KEY = base64.b64encode(b"k" * 64).decode()
SECOND = base64.b64encode(b"s" * 64).decode()


class Ring:
    def keys(self, account):
        return (KEY, SECOND) if account == "acct" else None


class Fixed:
    def now(self) -> datetime:
        return datetime(2026, 11, 20, 10, tzinfo=UTC)


def open_storage(root: Path, fsync: FsyncPolicy = FsyncPolicy.NEVER) -> Storage:
    return Storage(root, Ring(), Fixed(), fsync)


@pytest.fixture
def storage(tmp_path):
    opened = open_storage(tmp_path)
    opened.create_account("acct")
    yield opened
    opened.close()


def blob(path: str = "", container: str = "data") -> ItemRef:
    return ItemRef(StorageService.BLOB, "acct", container, path)


def put(storage: Storage, path: str, content: bytes = b"x", **properties):
    upload = storage.blobs.new_upload("acct", hashing=False)
    try:
        upload.write(content)
        return storage.blobs.put(blob(path), upload, BlobProperties(**properties), Conditions())
    finally:
        upload.discard()


def names(storage: Storage, **query) -> list[str]:
    """All pages of a listing, one entry each."""
    found, marker = [], ""
    while True:
        page = storage.list_blobs("acct", "data", BlobQuery(**query, marker=marker, limit=1))
        found += [entry if isinstance(entry, str) else entry.name for entry in page.entries]
        marker = page.next_marker
        if not marker:
            return found


PARTS = st.text("ab-./é".replace("/", ""), min_size=1, max_size=3).filter(
    lambda part: part not in (".", "..")
)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(PATHS, max_size=12), st.text("ab-/.", max_size=3))
def test_listing_is_sorted_by_full_name_whatever_the_pages(tmp_path_factory, paths, prefix):
    storage = open_storage(tmp_path_factory.mktemp("s"))
    try:
        storage.create_container(blob())
        stored = set()
        for path in sorted(paths):
            if not any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in stored):
                put(storage, path)
                stored.add(path)
        matching = sorted(name for name in stored if name.startswith(prefix))
        assert names(storage, prefix=prefix) == matching
        folded = {
            name[: name.index("/", len(prefix)) + 1] if "/" in name[len(prefix) :] else name
            for name in matching
        }
        assert names(storage, prefix=prefix, delimiter="/") == sorted(folded)
    finally:
        storage.close()


def test_prefixes_and_blobs_are_merged_in_one_order(storage):
    storage.create_container(blob())
    for path in ("b/1", "b-1", "b.1", "b/2/x", "a"):
        put(storage, path)
    assert names(storage, delimiter="/") == ["a", "b-1", "b.1", "b/"]
    assert names(storage, delimiter="/", prefix="b/") == ["b/1", "b/2/"]
    assert names(storage, delimiter="1") == ["a", "b-1", "b.1", "b/1", "b/2/x"]


@pytest.mark.parametrize("prefix", ["../", "/", "a/../", "./", "//", "a\0"])
def test_prefixes_that_climb_find_nothing(storage, prefix):
    storage.create_container(blob())
    put(storage, "a")
    assert names(storage, prefix=prefix) == []


def test_a_record_whose_file_a_crash_kept_from_arriving_describes_nothing(storage):
    storage.create_container(blob())
    item = put(storage, "b", b"old", metadata={"v": "1"})
    key = (StorageService.BLOB, "data", "b")
    side = storage.places.store("acct")

    side.announce(key, Record(Identity(1, 2, 3), metadata={"v": "2"}), replaces=item.record)
    assert storage.blobs.properties(blob("b")).metadata == {"v": "1"}
    storage.blobs.set_metadata(blob("b"), {"v": "4"}, Conditions())
    assert storage.blobs.properties(blob("b")).metadata == {"v": "4"}


def test_restart_cleans_uploads_and_keeps_blocks(tmp_path):
    first = open_storage(tmp_path)
    first.create_container(blob())
    block = first.blobs.new_upload("acct", hashing=False)
    block.write(b"block")
    block_id = base64.b64encode(b"0001").decode()
    first.blobs.put_block(blob("b"), block_id, block)
    block.discard()
    torn = first.blobs.new_upload("acct", hashing=False)
    torn.write(b"half")
    (tmp_path / "acct/.staging/deleted/old").mkdir()
    first.close()

    second = open_storage(tmp_path)
    assert not torn.path.exists()
    second.blobs.put_block_list(blob("b"), [(Source.LATEST, block_id)], BlobProperties(), Conditions())
    assert (tmp_path / "acct/blob/data/b").read_bytes() == b"block"
    second.close()
    assert list((tmp_path / "acct/.staging/deleted").iterdir()) == []


_KILLED = """
import os, signal, sys
sys.path[:0] = [{source!r}, {tests!r}]
from pathlib import Path
import importlib.util
spec = importlib.util.spec_from_file_location("t", {file!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
storage = module.open_storage(Path({root!r}))
count = 0
while True:
    for letter in b"abc":
        module.put(storage, "b", bytes([letter]) * 200_000, metadata={{"letter": chr(letter)}})
    count += 1
    if count == {rounds}:
        print("busy", flush=True)
"""


@pytest.mark.parametrize("rounds", [1, 3, 7])
def test_kill_leaves_the_old_or_the_new_blob_whole(tmp_path, rounds):
    first = open_storage(tmp_path)
    first.create_container(blob())
    first.close()
    script = _KILLED.format(
        source=str(Path(__file__).parents[3] / "src"),
        tests=str(Path(__file__).parent),
        file=__file__,
        root=str(tmp_path),
        rounds=rounds,
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"busy\n"
        writer.kill()
    second = open_storage(tmp_path)
    content = (tmp_path / "acct/blob/data/b").read_bytes()
    assert content == content[:1] * 200_000
    assert storage_letter(second) == content[:1].decode()
    assert list((tmp_path / "acct/.staging/uploads").iterdir()) == []
    assert names(second) == ["b"]
    second.close()


def storage_letter(storage: Storage) -> str:
    return storage.blobs.properties(blob("b")).metadata["letter"]


@pytest.mark.parametrize("policy", list(FsyncPolicy))
def test_every_fsync_policy_writes(tmp_path, policy):
    storage = open_storage(tmp_path, policy)
    storage.create_container(blob())
    put(storage, "a/b", b"content")
    share = ItemRef(StorageService.FILE, "acct", "share", "f")
    storage.create_container(share)
    storage.files.create(share, 4, FileSettings())
    storage.files.put_range(share, 0, b"1234")
    assert (tmp_path / "acct/blob/data/a/b").read_bytes() == b"content"
    assert (tmp_path / "acct/file/share/f").read_bytes() == b"1234"
    storage.close()


def test_replacing_a_link_by_a_blob_leaves_its_target(storage, tmp_path):
    storage.create_container(blob())
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "acct/blob/data/b").symlink_to(target)
    put(storage, "b", b"new")
    assert target.read_text() == "kept"
    assert (tmp_path / "acct/blob/data/b").read_bytes() == b"new"


def test_list_directory(storage, tmp_path):
    share = ItemRef(StorageService.FILE, "acct", "logs", "")
    assert storage.create_container(share)
    assert not storage.create_container(share)
    home = tmp_path / "acct/file/logs/job"
    (home / "models").mkdir(parents=True)
    (home / "stdout.txt").write_text("12345")
    entries = storage.list_directory(ItemRef(StorageService.FILE, "acct", "logs", "job"))
    assert [(entry.name, entry.is_directory, entry.size) for entry in entries] == [
        ("models", True, 0),
        ("stdout.txt", False, 5),
    ]
    assert storage.list_directory(ItemRef(StorageService.FILE, "acct", "logs", "no")) is None
    assert storage.list_directory(ItemRef(StorageService.FILE, "acct", "none", "")) is None
    assert storage.list_directory(ItemRef(StorageService.FILE, "acct", "logs", "../..")) is None


def test_locate(storage, tmp_path):
    share = ItemRef(StorageService.FILE, "acct", "share")
    storage.create_container(share)
    assert storage.locate(share, KEY) == os.fspath(tmp_path / "acct/file/share")
    assert storage.locate(share, SECOND) == storage.locate(share, KEY)
    for ref, key, text in (
        (ItemRef(StorageService.FILE, "other", "share"), KEY, "account 'other' does not exist"),
        (share, "wrong", "the key of account 'acct' is not valid (share 'share')"),
        (ItemRef(StorageService.FILE, "acct", "none"), KEY, "share 'none' does not exist in account 'acct'"),
        (ItemRef(StorageService.FILE, "acct", "../x"), KEY, "share '../x' does not exist in account 'acct'"),
    ):
        with pytest.raises(MountRefusedError, match="^" + text.replace("(", r"\(").replace(")", r"\)")):
            storage.locate(ref, key)


def test_delete_account_and_make_it_again(storage, tmp_path):
    storage.create_container(blob())
    put(storage, "b", metadata={"a": "1"})
    storage.delete_account("acct")
    assert not (tmp_path / "acct").exists()
    storage.delete_account("acct")
    storage.create_account("acct")
    storage.create_container(blob())
    assert names(storage) == []
    with pytest.raises(ValueError, match="not a storage account name"):
        storage.create_account("../x")


class _OneLess(Places):
    """The first account is deleted right after all of them were listed."""

    def accounts(self):
        found = super().accounts()
        self.delete_account(found[0])
        return found


def test_an_account_deleted_while_orphans_are_looked_for_stays_deleted(tmp_path):
    before = open_storage(tmp_path)
    for account in ("acct", "other"):
        before.create_account(account)
        before.create_container(ItemRef(StorageService.BLOB, account, "data", ""))
    put(before, "b")
    (tmp_path / "other/blob/data").rmdir()
    before.close()
    places = _OneLess(tmp_path, FsyncPolicy.NEVER, {"acct", "other"}.__contains__)

    recovery.drop_orphans(places)

    assert not (tmp_path / "acct").exists()
    assert not places.store("other").containers()
    places.close()


def test_deleted_container_forgets_its_records(storage):
    storage.create_container(blob())
    put(storage, "b", metadata={"a": "1"})
    storage.containers.delete(blob(), Conditions())
    storage.containers.create(blob(), ContainerSettings())
    assert put(storage, "b").metadata == {}


def test_without_openat2_links_are_not_followed_at_all(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "link").symlink_to("d")
    with beneath.open_directory_fd(tmp_path) as fd:
        os.close(beneath._open_without_links(fd, "d/f", os.O_RDONLY))
        for path in ("link/f", "link"):
            with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
                beneath._open_without_links(fd, path, os.O_RDONLY)


class _Meanwhile(list):
    """Lets something else happen between the look at a blob's blocks and their use."""

    happen = None

    def __iter__(self):
        self.happen()
        return super().__iter__()


def test_a_block_list_never_takes_its_blocks_from_another_content(storage):
    storage.containers.create(blob(), ContainerSettings())
    block_id = base64.b64encode(b"1").decode()
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"right")
    storage.blobs.put_block(blob("b"), block_id, upload)
    upload.discard()
    storage.blobs.put_block_list(blob("b"), [(Source.LATEST, block_id)], BlobProperties(), Conditions())
    wanted = _Meanwhile([(Source.COMMITTED, block_id)])
    wanted.happen = lambda: put(storage, "b", b"wrong")

    with pytest.raises(StorageError) as refused:
        storage.blobs.put_block_list(blob("b"), wanted, BlobProperties(), Conditions())

    assert refused.value.code.code == "InvalidBlockList"


def test_an_append_that_fails_leaves_nothing_of_itself(storage):
    """The client sends the block again, which must not follow a part of it."""
    storage.containers.create(blob(), ContainerSettings())
    upload = storage.blobs.new_upload("acct", hashing=False)
    storage.blobs.put(blob("log"), upload, BlobProperties(), Conditions(), blob_type=APPEND_BLOB)
    upload.discard()
    first, upload = (storage.blobs.new_upload("acct", hashing=False) for _ in range(2))
    for each in (first, upload):
        each.write(b"x" * 700_000)
    storage.appends.append(blob("log"), first, AppendDemands(), Conditions())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        with pytest.raises(OSError, match="too large"):
            storage.appends.append(blob("log"), upload, AppendDemands(), Conditions())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        upload.discard()

    assert storage.blobs.properties(blob("log")).size == 700_000


def test_an_upload_takes_any_number_of_pieces(storage):
    upload = storage.blobs.new_upload("acct", hashing=True)
    pieces = [bytes([number % 256]) for number in range(3000)]
    upload.write(*pieces, b"end")
    upload.write()
    assert upload.path.read_bytes() == b"".join(pieces) + b"end"
    assert upload.size == 3003
    assert upload.md5 == base64.b64encode(hashlib.md5(b"".join(pieces) + b"end").digest()).decode()
    upload.discard()
