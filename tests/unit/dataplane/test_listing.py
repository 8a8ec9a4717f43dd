"""Listings against a model of plain sets of names, whatever clients and jobs do; tables of directories."""

import base64
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.bloblist import BlobQuery, behind
from openbatchai.dataplane.blobtree import BlobProperties
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.dirtables import DirectoryTables, PackedNames, Table
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.filenames import fold, order
from openbatchai.dataplane.records import Item, Listed
from openbatchai.domain.ports import ItemRef, StorageService

LETTERS = "ab-./%é"
# Short and of few letters, so that names meet; now and then one that has to be cut.
NAMES = st.one_of(
    st.text(LETTERS, min_size=1, max_size=5),
    st.sampled_from(
        ["a", "a/", "a/b", ".%a", ".%a%2F/b", "a//", "l" * 300, "l" * 300 + "/a", "l" * 299 + "k"]
    ),
)
PATHS_OF_JOBS = st.lists(st.sampled_from(["a", "b", "a-", "é", "ab"]), min_size=1, max_size=3).map("/".join)
PREFIXES = st.one_of(st.text(LETTERS, max_size=3), st.sampled_from(["l" * 260, "l" * 300 + "/"]))
DELIMITERS = st.sampled_from(["", "", "/", "/", "-", "a", "/a", "b/", "é"])


class Ring:
    def keys(self, account: str) -> tuple[str, ...]:
        return (base64.b64encode(b"k" * 64).decode(),)


class Fixed:
    def now(self) -> datetime:
        return datetime(2026, 11, 20, 10, tzinfo=UTC)


def ref(name: str = "") -> ItemRef:
    return ItemRef(StorageService.BLOB, "acct", "data", name)


def open_storage(root: Path) -> Storage:
    return Storage(root, Ring(), Fixed(), FsyncPolicy.NEVER)


def put(storage: Storage, name: str, **metadata: str) -> None:
    upload = storage.blobs.new_upload("acct", hashing=False)
    try:
        storage.blobs.put(ref(name), upload, BlobProperties(metadata=metadata), Conditions())
    finally:
        upload.discard()


def listed(storage: Storage, limit: int = 5000, **query: object) -> Iterator[str]:
    marker = ""
    while True:
        page = storage.list_blobs("acct", "data", BlobQuery(marker=marker, limit=limit, **query))  # type: ignore[arg-type]
        assert len(page.entries) == limit or (len(page.entries) < limit and not page.next_marker)
        yield from (entry if isinstance(entry, str) else entry.name for entry in page.entries)
        marker = page.next_marker
        if not marker:
            return


def model(names: set[str], prefix: str, delimiter: str, start_from: str = "") -> list[str]:
    """What the service's documentation says of a set of names."""
    found = set()
    for name in names:
        if name.startswith(prefix) and name >= start_from:
            head, mark, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            found.add(prefix + head + mark if mark else name)
    return sorted(found)


class Container(RuleBasedStateMachine):
    """Clients put and delete blobs; jobs write and remove files and directories of their own."""

    @initialize(kept_from=st.sampled_from([1, 3, 1000]))
    def create(self, kept_from: int) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.storage = open_storage(self.root)
        self.storage.places.tables = DirectoryTables(kept_from=kept_from)
        self.storage.create_container(ref())
        self.home = self.root / "acct" / "blob" / "data"
        self.names: set[str] = set()
        self.of_jobs: set[str] = set()

    def teardown(self) -> None:
        self.storage.close()
        shutil.rmtree(self.root)

    @rule(name=NAMES)
    def put(self, name: str) -> None:
        put(self.storage, name)
        self.names.add(name)

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.names)))
        self.storage.blobs.delete(ref(name), Conditions())
        self.names.discard(name)
        self.of_jobs.discard(name)

    @rule(path=PATHS_OF_JOBS)
    def write(self, path: str) -> None:
        """As a job does: where a file is in the way it gets an error, and where a blob of that name is
        stored under an escape this one counts from now on."""
        if path in self.names:
            return
        with contextlib.suppress(OSError):
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            (self.home / path).write_text("x")
            self.names.add(path)
            self.of_jobs.add(path)

    @rule(path=PATHS_OF_JOBS)
    def make_directory(self, path: str) -> None:
        with contextlib.suppress(OSError):
            (self.home / path).mkdir(parents=True)

    @precondition(lambda self: self.of_jobs)
    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.of_jobs)))
        with contextlib.suppress(OSError):
            # Not there when a client has put the blob anew in another place.
            (self.home / path).unlink()
            self.names.discard(path)
        self.of_jobs.discard(path)

    @rule(data=st.data(), prefix=PREFIXES, delimiter=DELIMITERS, limit=st.integers(1, 4), start=PREFIXES)
    def page(self, data: st.DataObject, prefix: str, delimiter: str, limit: int, start: str) -> None:
        expected = model(self.names, prefix, delimiter, start)
        query = {"prefix": prefix, "delimiter": delimiter, "start_from": start}
        assert list(listed(self.storage, limit, **query)) == expected

    @invariant()
    def everything_is_listed(self) -> None:
        if hasattr(self, "names"):
            assert list(listed(self.storage)) == sorted(self.names)
            assert list(listed(self.storage, delimiter="/")) == model(self.names, "", "/")


TestContainer = Container.TestCase
TestContainer.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@pytest.fixture
def storage(tmp_path):
    opened = open_storage(tmp_path)
    opened.create_container(ref())
    yield opened
    opened.close()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "acct" / "blob" / "data"


@settings(deadline=None)
@given(st.text("ab\ud7ff\ue000\U0010ffff", max_size=4), st.text("ab\ud7ff\ue000\U0010ffff", max_size=6))
def test_behind_is_the_least_string_after_all_with_a_prefix(prefix, name):
    assert (name < behind(prefix)) == (name < prefix or name.startswith(prefix))


def test_a_page_goes_on_behind_its_last_name_whatever_comes_and_goes(storage):
    for name in ("b", "d", "f", "h"):
        put(storage, name)
    first = storage.list_blobs("acct", "data", BlobQuery(limit=2))
    assert [item.name for item in first.entries] == ["b", "d"]
    storage.blobs.delete(ref("d"), Conditions())
    put(storage, "c")
    put(storage, "e")
    rest = storage.list_blobs("acct", "data", BlobQuery(marker=first.next_marker))
    assert [item.name for item in rest.entries] == ["e", "f", "h"]


def test_a_delimited_page_goes_on_behind_its_last_prefix(storage):
    for name in ("a/1", "a/2", "b", "c-1", "c-2", "d"):
        put(storage, name)
    assert list(listed(storage, 1, delimiter="/")) == ["a/", "b", "c-1", "c-2", "d"]
    assert list(listed(storage, 1, delimiter="-")) == ["a/1", "a/2", "b", "c-", "d"]
    assert list(listed(storage, 1, delimiter="/", start_from="a/2")) == ["a/", "b", "c-1", "c-2", "d"]
    assert list(listed(storage, 1, delimiter="/", start_from="a/3")) == ["b", "c-1", "c-2", "d"]


def test_thousands_under_one_common_prefix_are_told_of_once(storage, home):
    for number in range(700):
        (home / f"a-{number}").touch()
    (home / "b").touch()
    assert list(listed(storage, 1, delimiter="-")) == ["a-", "b"]


def test_deep_trees_are_walked(storage, home):
    """Deeper than Python's own stack, and than a process has descriptors."""
    name = "/".join("d" for _ in range(254))
    put(storage, name)
    deeper = "/".join("e" for _ in range(512))
    (home / deeper).parent.mkdir(parents=True)
    (home / deeper).touch()
    assert list(listed(storage)) == [name, deeper]
    too_deep = home / "/".join("f" for _ in range(600)) / "x"
    too_deep.parent.mkdir(parents=True)
    too_deep.touch()
    assert list(listed(storage)) == [name, deeper]
    assert list(listed(storage, delimiter="/")) == ["d/", "e/"]


def test_empty_directories_are_no_prefixes(storage, home):
    (home / "a/b/c").mkdir(parents=True)
    (home / "d").mkdir()
    os.mkfifo(home / "d/fifo")
    assert list(listed(storage, delimiter="/")) == []
    (home / "a/b/c/blob").touch()
    assert list(listed(storage, delimiter="/")) == ["a/"]
    assert list(listed(storage, delimiter="/", prefix="a/b")) == ["a/b/"]


def test_records_are_joined_with_and_without_a_delimiter(storage):
    for name in ("a", "b/1", "b/2", "c"):
        put(storage, name, mine=name.replace("/", "-"))
    flat = storage.list_blobs("acct", "data", BlobQuery()).entries
    assert [entry.metadata["mine"] for entry in flat] == ["a", "b-1", "b-2", "c"]
    folded = storage.list_blobs("acct", "data", BlobQuery(delimiter="/")).entries
    assert [entry if isinstance(entry, str) else entry.metadata["mine"] for entry in folded] == [
        "a",
        "b/",
        "c",
    ]


def test_what_vanishes_during_a_listing_is_left_out(storage, home):
    for name in ("a/1", "b", "c"):
        put(storage, name)

    class Vanishing(DirectoryTables):
        def table(self, directory, form, read):
            found = super().table(directory, form, read)
            shutil.rmtree(home / "a", ignore_errors=True)
            (home / "b").unlink(missing_ok=True)
            return found

    storage.places.tables = Vanishing()
    assert list(listed(storage)) == ["c"]


# --- other entries than what is there now


def entry(name: str, snapshot: str = "", **state: object) -> Item:
    return Item(name, False, 0, 1, 0, 0, None, listed=Listed(snapshot=snapshot, **state))  # type: ignore[arg-type]


class Source:
    def __init__(self, *items: Item) -> None:
        self.items = items

    def __call__(self, account: str, container: str, *, prefix: str, start: str) -> Iterator[Item]:
        return (item for item in self.items if item.name.startswith(prefix) and item.name >= start)


def told(storage: Storage, limit: int, *include: str, **query: str) -> list[str]:
    found, marker = [], ""
    while True:
        wanted = BlobQuery(marker=marker, limit=limit, include=frozenset(include), **query)
        page = storage.list_blobs("acct", "data", wanted)
        for item in page.entries:
            state = None if isinstance(item, str) else item.listed
            found.append(
                item if isinstance(item, str) else item.name + (f"@{state.snapshot}" if state else "")
            )
        marker = page.next_marker
        if not marker:
            return found


@pytest.mark.parametrize("limit", [1, 2, 5000])
def test_snapshots_come_before_their_blob_and_pages_may_part_them(storage, limit):
    storage.listing.sources["snapshots"] = Source(
        entry("a", "1"), entry("a", "2"), entry("b/c", "1"), entry("d", "1")
    )
    storage.listing.sources["deleted"] = Source(entry("b/c", "0", deleted_ns=1), entry("e", deleted_ns=1))
    for name in ("a", "b/c", "d"):
        put(storage, name)
    assert told(storage, limit) == ["a", "b/c", "d"]
    assert told(storage, limit, "snapshots") == ["a@1", "a@2", "a", "b/c@1", "b/c", "d@1", "d"]
    everything = ["a@1", "a@2", "a", "b/c@0", "b/c@1", "b/c", "d@1", "d", "e@"]
    assert told(storage, limit, "snapshots", "deleted") == everything
    assert told(storage, limit, "snapshots", "deleted", prefix="b") == ["b/c@0", "b/c@1", "b/c"]
    assert told(storage, limit, "snapshots", delimiter="/") == ["a@1", "a@2", "a", "b/", "d@1", "d"]
    storage.blobs.delete(ref("b/c"), Conditions())
    assert told(storage, limit, "deleted", delimiter="/") == ["a", "b/", "d", "e@"]


# --- what is kept between pages


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))))
def test_packed_names_are_a_sequence(names):
    packed = PackedNames(names)
    assert list(packed) == names
    assert [packed[at] for at in range(-len(names), 0)] == names
    assert packed[1:3] == names[1:3]
    assert packed[::2] == names[::2]


class Reader:
    """Reads a directory, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, directory: int) -> Table:
        self.count += 1
        return Table(sorted(os.listdir(directory)))


class Clocks:
    """A wall clock some time after what the directory's times say, and a monotonic one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.later_ns = 10**10
        self.monotonic_s = 0.0

    def wall_ns(self) -> int:
        return self.path.stat().st_ctime_ns + self.later_ns

    def monotonic(self) -> float:
        return self.monotonic_s


@pytest.fixture
def watched(tmp_path):
    directory = tmp_path / "watched"
    directory.mkdir()
    for name in "abc":
        (directory / name).touch()
    return directory


def tables(clocks: Clocks, **bounds: int) -> DirectoryTables:
    return DirectoryTables(wall_ns=clocks.wall_ns, monotonic=clocks.monotonic, kept_from=1, **bounds)


def rows(kept: DirectoryTables, directory: Path, reader: Reader) -> list[str]:
    fd = os.open(directory, os.O_RDONLY)
    try:
        return list(kept.table(fd, "x", reader).rows)
    finally:
        os.close(fd)


def test_a_directory_left_alone_is_read_once(watched):
    reader, kept = Reader(), tables(Clocks(watched))
    assert rows(kept, watched, reader) == rows(kept, watched, reader) == ["a", "b", "c"]
    assert reader.count == 1


def test_a_directory_is_read_by_one_reader_at_a_time(watched):
    reader, kept = Reader(), tables(Clocks(watched))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: rows(kept, watched, reader), range(8)))
    assert found == [["a", "b", "c"]] * 8
    assert reader.count == 1


def test_each_change_is_seen(watched):
    reader, kept = Reader(), tables(Clocks(watched))
    rows(kept, watched, reader)
    (watched / "d").touch()
    assert rows(kept, watched, reader) == ["a", "b", "c", "d"]
    (watched / "a").rename(watched / "e")
    assert rows(kept, watched, reader) == ["b", "c", "d", "e"]
    (watched / "b").unlink()
    assert rows(kept, watched, reader) == ["c", "d", "e"]


def test_a_directory_changed_within_the_tick_is_not_kept(watched):
    """A later change in the same tick would leave the directory's times as they are."""
    reader, clocks = Reader(), Clocks(watched)
    clocks.later_ns = 10_000_000
    kept = tables(clocks)
    rows(kept, watched, reader)
    rows(kept, watched, reader)
    assert reader.count == 2
    clocks.later_ns = 60_000_000
    rows(kept, watched, reader)
    rows(kept, watched, reader)
    assert reader.count == 3


def test_a_job_that_sets_the_times_back_hides_nothing(watched):
    reader, kept = Reader(), tables(Clocks(watched))
    before = watched.stat()
    rows(kept, watched, reader)
    (watched / "d").touch()
    os.utime(watched, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert rows(kept, watched, reader) == ["a", "b", "c", "d"]


def test_memory_is_bounded_and_given_back(tmp_path):
    directories = []
    for name in "xyz":
        (tmp_path / name).mkdir()
        for number in range(100):
            (tmp_path / name / f"{number:010}").touch()
        directories.append(tmp_path / name)
    clocks = Clocks(directories[-1])
    one = PackedNames([f"{number:010}" for number in range(100)]).size
    kept, reader = tables(clocks, most_bytes=2 * one), Reader()
    for directory in directories:
        rows(kept, directory, reader)
    assert kept.size == 2 * one
    rows(kept, directories[1], reader)
    assert reader.count == 3
    rows(kept, directories[0], reader)
    assert reader.count == 4
    clocks.monotonic_s = 10_000
    rows(kept, directories[2], reader)
    assert kept.size == one
    big = tables(clocks, most_bytes=one - 1)
    assert len(rows(big, directories[0], reader)) == 100
    assert big.size == 0


# --- shares


@pytest.fixture
def share(storage, tmp_path):
    storage.create_container(ItemRef(StorageService.FILE, "acct", "share"))
    return tmp_path / "acct" / "file" / "share"


def in_share(storage: Storage, limit: int = 5000, prefix: str = "", path: str = "") -> list[str]:
    found, marker = [], ""
    place = ItemRef(StorageService.FILE, "acct", "share", path)
    while True:
        page = storage.directories.list(place, prefix=prefix, marker=marker, limit=limit, recorded=True)
        found += [item.name + "/" * item.is_directory for item in page.entries]
        marker = page.next_marker
        if not marker:
            return found


FILE_NAMES = st.text("aAbBéÉ_ß.", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None)
@given(st.sets(FILE_NAMES, max_size=12), st.text("aAéÉ_", max_size=2), st.integers(1, 4))
def test_a_directory_of_a_share_is_listed_in_its_order_whatever_the_pages(names, prefix, limit):
    with tempfile.TemporaryDirectory() as root:
        storage = open_storage(Path(root))
        storage.places.tables = DirectoryTables(kept_from=1)
        storage.create_container(ItemRef(StorageService.FILE, "acct", "share"))
        home = Path(root, "acct/file/share")
        for name in names:
            (home / name).touch()
        matching = [name for name in names if fold(name).startswith(fold(prefix))]
        assert in_share(storage, limit, prefix) == sorted(matching, key=order)
        storage.close()


def test_what_a_client_cannot_reach_is_not_in_a_share(storage, share, tmp_path):
    (share / "directory").mkdir()
    (share / "file").touch()
    (share / "inside").symlink_to("file")
    (share / "outside").symlink_to(tmp_path)
    (share / "dangling").symlink_to("nothing")
    (share / "loop").symlink_to("loop")
    (share / os.fsdecode(b"\xff")).touch()
    os.mkfifo(share / "fifo")
    assert in_share(storage) == ["directory/", "file", "inside"]
    assert in_share(storage, 1) == ["directory/", "file", "inside"]


def test_a_page_of_a_share_goes_on_behind_its_last_name(storage, share):
    for name in ("b", "D", "f"):
        (share / name).touch()
    place = ItemRef(StorageService.FILE, "acct", "share")
    first = storage.directories.list(place, prefix="", marker="", limit=2)
    assert [item.name for item in first.entries] == ["b", "D"]
    (share / "D").unlink()
    (share / "c").touch()
    (share / "d").touch()
    (share / "e").touch()
    rest = storage.directories.list(place, prefix="", marker=first.next_marker, limit=5)
    assert [item.name for item in rest.entries] == ["d", "e", "f"]


def test_names_beside_and_below_a_blob_that_a_job_takes_away(storage, home):
    put(storage, "a/b")
    put(storage, "a")
    shutil.rmtree(home / "a")
    assert list(listed(storage)) == ["a"]
    with pytest.raises(StorageError):
        storage.blobs.properties(ref("a/b"))
