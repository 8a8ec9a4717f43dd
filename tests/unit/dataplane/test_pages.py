"""Ranges of pages on real sparse files, and pages that a crash left half written."""

import os
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.blobtree import BlobProperties
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.pageranges import PAGE, changed_pages, written_pages
from openbatchai.dataplane.pages import NO_DEMANDS
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import Record
from openbatchai.dataplane.recovery import announce
from openbatchai.domain.ports import ItemRef, StorageService

PAGES = 24
WRITES = st.lists(st.tuples(st.integers(0, PAGES - 1), st.booleans()), max_size=20)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    home = tmp_path_factory.mktemp("pages")
    opened = [os.open(home / name, os.O_RDWR | os.O_CREAT) for name in ("now", "then")]
    yield opened
    for fd in opened:
        os.close(fd)


def fill(fd: int, writes: list[tuple[int, bool]], seed: int) -> list[int]:
    """Write pages, or zeros over them; what each page holds then."""
    os.ftruncate(fd, 0)
    os.ftruncate(fd, PAGES * PAGE)
    held = [0] * PAGES
    for page, is_zero in writes:
        held[page] = 0 if is_zero else 1 + (page + seed) % 200
        os.pwrite(fd, bytes([held[page]]) * PAGE, page * PAGE)
    return held


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(WRITES, WRITES, st.integers(0, 1), st.integers(0, PAGES), st.integers(0, PAGES))
def test_ranges_are_those_of_a_model(files, writes, former, seed, one, other):
    now, then = fill(files[0], writes, seed), fill(files[1], former, 0)
    first, last = sorted((one, other))
    written = list(written_pages(files[0], first * PAGE, last * PAGE))
    expected = {page for page in range(first, last) if now[page]}
    assert _pages(written) == expected
    assert all(before.end < after.start for before, after in pairwise(written))
    changed = list(changed_pages(files[0], files[1], first * PAGE, last * PAGE))
    differing = {page for page in range(first, last) if now[page] != then[page]}
    assert _pages(each for each in changed if not each.is_clear) == {p for p in differing if now[p]}
    assert _pages(each for each in changed if each.is_clear) == {p for p in differing if not now[p]}


def _pages(ranges) -> set[int]:
    return {page for each in ranges for page in range(each.start // PAGE, each.end // PAGE)}


def test_a_large_extent_is_not_read_through(tmp_path):
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(fd, b"\1" * (3 << 20), 512)
        os.pwrite(fd, bytes(4096), 1 << 20)
        assert [(each.start, each.end) for each in written_pages(fd, 0, (3 << 20) + 512)] == [
            (512, (3 << 20) + 512)
        ]
    finally:
        os.close(fd)


class Ring:
    def keys(self, account):
        return ("a2V5",)


class Wall:
    def now(self) -> datetime:
        return datetime.now(UTC)


def test_pages_that_a_kill_left_half_written_are_completed_by_the_next_start(tmp_path):
    ref = ItemRef(StorageService.BLOB, "acct", "data", "disk")
    storage = Storage(tmp_path, Ring(), Wall(), FsyncPolicy.NEVER)
    storage.create_account("acct")
    storage.create_container(ref)
    storage.pages.create(ref, 4 * PAGE, BlobProperties(sequence_number=3), Conditions())
    acknowledged = storage.blobs.new_upload("acct", hashing=False)
    acknowledged.write(b"a" * PAGE)
    storage.pages.write(ref, Span(0, PAGE), acknowledged, NO_DEMANDS, Conditions())
    # What write() has done when the service dies in the middle of its copy.
    upload = storage.blobs.new_upload("acct", hashing=False)
    upload.write(b"b" * 2 * PAGE)
    file = tmp_path / "acct/blob/data/disk"
    fd = os.open(file, os.O_RDWR)
    identity = storage.blobs.properties(ref).identity
    record = Record(identity, blob_type="PageBlob", sequence_number=3, stamp=7)
    announce(storage.places, ref, upload, fd, PAGE, record, in_place=True)
    os.pwrite(fd, b"b" * 100, PAGE)
    os.close(fd)
    storage.close()
    reopened = Storage(tmp_path, Ring(), Wall(), FsyncPolicy.NEVER)
    try:
        assert file.read_bytes() == b"a" * PAGE + b"b" * 2 * PAGE + bytes(PAGE)
        found = reopened.blobs.properties(ref)
        assert (found.blob_type, found.sequence_number, found.record.stamp) == ("PageBlob", 3, 7)
        assert not list((tmp_path / "acct/.staging/appends").iterdir())
    finally:
        reopened.close()
