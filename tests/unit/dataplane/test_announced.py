"""A blob's record is written before its file arrives: what describes it after a crash between any two steps.

The steps of a replacement are taken one by one, as BlobTree.replace takes them, and the service is then
left for dead: a new one opens the same directory while the old one's descriptors are still open.
"""

import base64
import errno
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.blobtree import BlobProperties, BlobTree
from openbatchai.dataplane.blocks import Source
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.containers import ContainerSettings
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.sidestore import Key
from openbatchai.domain.ports import ItemRef, StorageService

REF = ItemRef(StorageService.BLOB, "acct", "data", "b")
KEY: Key = (StorageService.BLOB, "data", "b")


class Ring:
    def keys(self, account: str) -> tuple[str, ...] | None:
        return (base64.b64encode(b"k" * 64).decode(),) if account == "acct" else None


class Wall:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Plane:
    """A data plane with one container, and what its one blob ought to be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: list[Storage] = []
        self.restart()
        self.storage.create_account("acct")
        self.storage.containers.create(ItemRef(StorageService.BLOB, "acct", "data", ""), ContainerSettings())
        self.content: bytes | None = None
        self.metadata: dict[str, str] = {}
        self._count = 0

    @property
    def storage(self) -> Storage:
        return self._opened[-1]

    @property
    def file(self) -> Path:
        return self.root / "acct" / "blob" / "data" / "b"

    def restart(self) -> None:
        self._opened.append(Storage(self.root, Ring(), Wall(), FsyncPolicy.NEVER))
        # Recovery would take the steps below, which are taken without locks, for what a crash left.
        self.storage.recovered.result()

    def close(self) -> None:
        for storage in self._opened:
            storage.close()

    def _next(self) -> tuple[bytes, dict[str, str]]:
        self._count += 1
        return b"%d" % self._count, {"v": str(self._count)}

    # --- what may happen

    def put(self) -> None:
        content, metadata = self._next()
        upload = self.storage.blobs.new_upload("acct", hashing=False)
        upload.write(content)
        self.storage.blobs.put(REF, upload, BlobProperties(metadata=metadata), Conditions())
        upload.discard()
        self.content, self.metadata = content, metadata

    def set_metadata(self) -> None:
        if self.content is None:
            return
        _, metadata = self._next()
        self.storage.blobs.set_metadata(REF, metadata, Conditions())
        self.metadata = metadata

    def crash_before_the_record(self) -> None:
        self.storage.blobs.new_upload("acct", hashing=False).write(self._next()[0])
        self.restart()

    def crash_before_the_rename(self) -> None:
        self._announce(*self._next())
        self.restart()

    def crash_after_the_rename(self) -> None:
        content, metadata = self._next()
        self._announce(content, metadata).rename(self.file)
        self.content, self.metadata = content, metadata
        self.restart()

    def grow_from_outside(self) -> None:
        if self.content is not None:
            with self.file.open("ab") as file:
                file.write(b"+")
            self.content += b"+"

    def replace_from_outside(self) -> None:
        """Its inode is often that of the content before the present one."""
        if self.content is not None:
            self.content, _ = self._next()
            other = self.root / "other"
            other.write_bytes(self.content)
            other.rename(self.file)

    def _announce(self, content: bytes, metadata: dict[str, str]) -> Path:
        upload = self.storage.blobs.new_upload("acct", hashing=False)
        upload.write(content)
        record = Record(Identity.of(os.fstat(upload.fd)), metadata=metadata)
        replaces = self.storage.blobs.properties(REF).record if self.content is not None else None
        self.storage.places.store("acct").announce(KEY, record, replaces=replaces)
        return upload.path

    # --- what must hold

    def check(self) -> None:
        if self.content is None:
            with pytest.raises(StorageError):
                self.storage.blobs.properties(REF)
        else:
            assert self.file.read_bytes() == self.content
            assert self.storage.blobs.properties(REF).metadata == self.metadata


STEPS = [
    Plane.put,
    Plane.set_metadata,
    Plane.crash_before_the_record,
    Plane.crash_before_the_rename,
    Plane.crash_after_the_rename,
    Plane.grow_from_outside,
    Plane.replace_from_outside,
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=8))
def test_the_record_is_always_that_of_the_file(steps):
    with tempfile.TemporaryDirectory() as root:
        plane = Plane(Path(root))
        try:
            for step in steps:
                step(plane)
                plane.check()
        finally:
            plane.close()


@pytest.fixture
def plane(tmp_path):
    opened = Plane(tmp_path)
    yield opened
    opened.close()


def test_between_record_and_rename_the_old_file_keeps_its_record(plane):
    plane.put()
    arriving = plane._announce(b"new", {"v": "new"})
    assert plane.storage.blobs.properties(REF).metadata == {"v": "1"}
    arriving.rename(plane.file)
    assert plane.storage.blobs.properties(REF).metadata == {"v": "new"}


def test_a_blob_that_cannot_take_its_place_leaves_no_record(plane):
    for name in ("b", ".%b"):
        plane.file.with_name(name).mkdir()
        (plane.file.with_name(name) / "inside").touch()
    with pytest.raises(StorageError):
        plane.put()
    assert plane.storage.places.store("acct").records(KEY) == (None, None)


def test_a_block_list_describes_only_the_content_it_made(plane):
    block = base64.b64encode(b"0001").decode()
    upload = plane.storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"block")
    plane.storage.blobs.put_block(REF, block, upload)
    plane.storage.blobs.put_block_list(REF, [(Source.LATEST, block)], BlobProperties(), Conditions())
    plane.storage.blobs.set_metadata(REF, {"v": "1"}, Conditions())
    _, lists = plane.storage.blobs.block_lists(REF)
    assert [found.id for found in lists.committed] == [block]

    plane.file.write_bytes(b"longer than before")
    plane.storage.blobs.set_metadata(REF, {"v": "2"}, Conditions())
    _, lists = plane.storage.blobs.block_lists(REF)
    assert lists.committed == ()


class BrokenDisk(Places):
    """Its directories cannot be made durable."""

    def sync_directory(self, fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_blob_that_is_in_its_place_keeps_its_record_whatever_fails_after(plane):
    plane.put()
    places = BrokenDisk(plane.root, FsyncPolicy.CLOSE)
    tree = BlobTree(places, Wall())
    upload = tree.new_upload("acct", hashing=False)
    upload.write(b"arrived")
    with pytest.raises(OSError, match="Input/output"):
        tree.replace(REF, upload, BlobProperties(metadata={"v": "arrived"}), Conditions())
    upload.discard()
    places.close()
    assert plane.file.read_bytes() == b"arrived"
    assert plane.storage.blobs.properties(REF).metadata == {"v": "arrived"}
