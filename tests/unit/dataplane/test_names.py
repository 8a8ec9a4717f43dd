"""Blob names as paths and back, and where blobs lie beside what jobs make."""

import base64
import os
import posixpath
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from openbatchai.dataplane import FsyncPolicy, Storage, blobnames
from openbatchai.dataplane.bloblist import BlobQuery
from openbatchai.dataplane.blobtree import BlobProperties
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageError
from openbatchai.domain.ports import ItemRef, StorageService

COMPONENTS = st.one_of(
    st.sampled_from(["", ".", "..", ".%", ".%a", "%", "%2F", "%25", ".%25", ".%%2F", "a%"]),
    st.sampled_from(["a" * length for length in (248, 249, 255, 256, 1024)]),
    st.text("a.%2F5é\U0001f600", max_size=8),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), max_size=300),
    st.builds(lambda text, count: text * count, st.text("%é.a", min_size=1, max_size=3), st.integers(1, 400)),
)
KINDS = st.booleans()


def decoded(path: str, *, directory: bool) -> str | None:
    """The component that a path on disk is the escape of, by what a listing of directories sees."""
    *cuts, last = path.split("/")
    heads = [blobnames.uncut(cut) for cut in cuts]
    end = blobnames.unescape(last, directory=directory)
    if end is None or None in heads:
        return None
    component = "".join(head or "" for head in heads) + end
    return component if blobnames.is_canonical(component, path.split("/"), directory=directory) else None


@settings(max_examples=400, deadline=None)
@given(COMPONENTS, KINDS)
def test_escapes_can_be_stored_and_decoded(component, directory):
    path = blobnames.escape(component, directory=directory)
    for entry in path.split("/"):
        assert len(entry.encode()) <= blobnames.NAME_BYTES
        assert entry not in ("", ".", "..")
        assert entry.startswith(blobnames.PREFIX)
    assert decoded(path, directory=directory) == component
    assert decoded(path, directory=not directory) is None


@settings(max_examples=400, deadline=None)
@given(COMPONENTS, COMPONENTS, KINDS, KINDS)
@example("a", ".%a", False, False)
@example("", "/", True, False)
@example("a", "a%2F", True, False)
def test_no_two_components_share_a_form(first, second, first_kind, second_kind):
    """Only as they are, where the kind of the entry tells them apart, two may have one name."""
    assume((first, first_kind) != (second, second_kind))
    ones = set(blobnames.forms(first, directory=first_kind))
    others = set(blobnames.forms(second, directory=second_kind))
    assert ones & others <= ({first} if first == second else set())
    assert not any(path.startswith(f"{one}/") for one in ones for path in others)


@settings(max_examples=400, deadline=None)
@given(st.text("a.%2F5é", max_size=12), KINDS)
def test_a_name_on_disk_stands_for_one_component_at_most(entry, directory):
    component = blobnames.unescape(entry, directory=directory)
    assert component is None or blobnames.escape(component, directory=directory) == entry
    assert component is None or blobnames.uncut(entry) is None


def test_forms_that_jobs_see():
    assert blobnames.forms("a", directory=False) == ("a", ".%a")
    assert blobnames.forms("a", directory=True) == ("a", ".%a%2F")
    assert blobnames.forms("", directory=False) == (".%",)
    assert blobnames.forms("..", directory=True) == (".%..%2F",)
    assert blobnames.forms(".%a", directory=False) == (".%.%25a",)
    assert blobnames.forms("%41", directory=False) == ("%41", ".%%2541")


# --- on a disk


class Ring:
    def keys(self, account: str) -> tuple[str, ...]:
        return (base64.b64encode(b"k" * 64).decode(),)


class Fixed:
    def now(self) -> datetime:
        return datetime(2026, 11, 20, 10, tzinfo=UTC)


class Container:
    """A container `data`, its directory, and short forms of the calls."""

    def __init__(self, root: Path) -> None:
        self.storage = Storage(root, Ring(), Fixed(), FsyncPolicy.NEVER)
        self.storage.create_container(self.ref())
        self.path = root / "acct" / "blob" / "data"

    @staticmethod
    def ref(name: str = "") -> ItemRef:
        return ItemRef(StorageService.BLOB, "acct", "data", name)

    def put(self, name: str, content: bytes = b"x", **metadata: str) -> None:
        upload = self.storage.blobs.new_upload("acct", hashing=False)
        try:
            upload.write(content)
            self.storage.blobs.put(self.ref(name), upload, BlobProperties(metadata=metadata), Conditions())
        finally:
            upload.discard()

    def get(self, name: str) -> bytes:
        opened = self.storage.blobs.open(self.ref(name))
        try:
            return os.read(opened.fd, 1 << 20)
        finally:
            os.close(opened.fd)

    def delete(self, name: str) -> None:
        self.storage.blobs.delete(self.ref(name), Conditions())

    def names(self, **query: str) -> list[str]:
        page = self.storage.list_blobs("acct", "data", BlobQuery(**query))
        return [entry if isinstance(entry, str) else entry.name for entry in page.entries]

    def files(self) -> set[str]:
        """Paths below the container, as a job sees them; directories end in a slash."""
        found = set()
        for base, directories, names in os.walk(self.path):
            home = os.path.relpath(base, self.path)
            found |= {posixpath.normpath(f"{home}/{name}") for name in names}
            found |= {posixpath.normpath(f"{home}/{name}") + "/" for name in directories}
        return found

    def is_missing(self, name: str) -> bool:
        try:
            self.storage.blobs.properties(self.ref(name))
        except StorageError as error:
            return error.code.code == "BlobNotFound"
        return False


@pytest.fixture
def container(tmp_path):
    made = Container(tmp_path)
    yield made
    made.storage.close()


ODD = [
    *["a", "a/", "a//", "a//b", "/", "/a", "//", ".", "..", "a/.", "a/..", "../a", "a/../b", "a/b", "a/b/c"],
    *[".%", ".%a", ".%a/b", "%2F", "a\\b", "a:b?*", "a\nb", "\u0001", "\ufffe", "é"],
    *["x" * 300, "x" * 300 + "/y", "x" * 255, "x" * 255 + "/y", "y" * 250, "y" * 250 + "/z", "z" * 1024],
    *["\U0001f600" * 512, "漢" * 1024, "/" * 253, "./" * 253, "漢/" * 253 + "漢" * 500],
]


@pytest.mark.parametrize("names", [ODD, ODD[::-1]], ids=["parents first", "children first"])
def test_every_name_is_stored_listed_read_and_deleted_as_put(container, names):
    before = {entry.name for entry in container.path.parents[2].iterdir()}
    for number, name in enumerate(names):
        container.put(name, str(number).encode(), number=str(number))
    assert container.names() == sorted(names)
    for number, name in enumerate(names):
        assert container.get(name) == str(number).encode()
        assert container.storage.blobs.properties(container.ref(name)).metadata == {"number": str(number)}
    for name in names:
        container.put(name, b"again")
        assert container.get(name) == b"again"
    assert container.names() == sorted(names)
    for number, name in enumerate(names):
        container.delete(name)
        assert container.is_missing(name)
        assert container.names() == sorted(names[number + 1 :])
    assert {entry.name for entry in container.path.parents[2].iterdir()} == before
    assert not any(path for path in container.files() if not path.endswith("/"))


def test_what_comes_second_gives_way(container):
    container.put("a")
    container.put("a/b")
    container.put("c/d")
    container.put("c")
    assert container.files() == {"a", ".%a%2F/", ".%a%2F/b", "c/", "c/d", ".%c"}
    assert container.names() == ["a", "a/b", "c", "c/d"]
    assert container.names(delimiter="/") == ["a", "a/", "c", "c/"]
    assert container.names(prefix="a/") == ["a/b"]


def test_where_some_blobs_of_a_prefix_are_others_go(container):
    container.put("a")
    container.put("a/b")
    container.delete("a")
    container.put("a/c")
    assert container.files() == {".%a%2F/", ".%a%2F/b", ".%a%2F/c"}
    container.put("a")
    assert container.names() == ["a", "a/b", "a/c"]


def test_a_directory_that_a_job_makes_beside_the_escaped_one_is_the_same_prefix(container):
    container.put("a")
    container.put("a/b", b"of the client")
    container.delete("a")
    (container.path / "a").mkdir()
    (container.path / "a/b").write_text("of the job")
    (container.path / "a/c").write_text("of the job")
    assert container.names() == ["a/b", "a/c"]
    assert container.names(delimiter="/") == ["a/"]
    assert container.get("a/b") == b"of the job"
    container.delete("a/b")
    assert container.is_missing("a/b")
    assert container.names() == ["a/c"]


def test_a_blob_beside_a_directory_gives_way_to_a_file_of_its_name(container):
    container.put("a/b")
    container.put("a", b"of the client")
    (container.path / "a/b").unlink()
    (container.path / "a").rmdir()
    (container.path / "a").write_text("of the job")
    assert container.get("a") == b"of the job"
    assert container.names() == ["a"]
    container.delete("a")
    assert container.is_missing("a")
    assert container.files() == set()


def test_entries_that_begin_with_the_prefix_and_are_no_escape_are_nobodys(container):
    (container.path / ".%a%41").write_text("x")
    (container.path / ".%b%2F").write_text("a file with the name of a directory")
    (container.path / ".%c").mkdir()
    (container.path / ".%c/d").write_text("x")
    (container.path / ".%e%").mkdir()
    (container.path / ".%e%/.%f").write_text("never so short")
    (container.path / ".%e%/g").write_text("x")
    assert container.names() == []
    for name in (".%a%41", "aA", "b", "c/d", ".%c/d", "ef", ".%e%/.%f"):
        assert container.is_missing(name)
    container.put("b/1")
    container.put("c/d", b"own")
    assert container.names() == ["b/1", "c/d"]
    assert container.get("c/d") == b"own"


def test_only_when_a_job_holds_every_form_there_is_no_place(container):
    for entry in ("a", ".%a%2F"):
        (container.path / entry).write_text("x")
    with pytest.raises(StorageError) as refused:
        container.put("a/b")
    assert refused.value.code.code == "PathConflict"
    assert container.files() == {"a", ".%a%2F"}
    assert container.is_missing("a/b")


def test_empty_directories_give_way_to_a_blob_of_their_name(container):
    container.put("a/b/c")
    container.delete("a/b/c")
    assert container.files() == {"a/", "a/b/"}
    assert container.names(delimiter="/") == []
    container.put("a")
    assert container.files() == {"a"}


@pytest.mark.parametrize("mark", [{"hdi_isfolder": "true"}, {"Hdi_isfolder": "True"}])
def test_a_folder_mark_is_a_directory_to_jobs(container, mark):
    container.put("a", b"", **mark)
    container.put("a/b")
    assert container.files() == {"a/", "a/b", ".%a"}
    assert container.names() == ["a", "a/b"]
    assert container.get("a") == b""
    container.delete("a/b")
    assert "a/" in container.files()
    container.delete("a")
    assert container.files() == set()


def test_a_folder_mark_with_a_slash_is_a_directory_to_jobs(container):
    container.put("a/", b"", hdi_isfolder="true")
    assert container.files() == {"a/", "a/.%"}
    (container.path / "a/model.bin").write_text("x")
    assert container.names() == ["a/", "a/model.bin"]
    container.delete("a/")
    assert container.files() == {"a/", "a/model.bin"}


def test_a_folder_mark_in_the_place_of_a_blob_is_just_a_blob(container):
    container.put("a", b"content")
    container.put("a", b"", hdi_isfolder="true")
    assert container.files() == {"a"}
    assert container.get("a") == b""


def test_the_control_plane_sees_true_names_in_directories(container):
    container.put("out/log", b"12")
    container.put("out/log/part")
    container.put("out/", b"")
    (container.path / "out/empty").mkdir()
    entries = container.storage.list_directory(container.ref("out"))
    assert [(entry.name, entry.is_directory, entry.size) for entry in entries] == [
        ("empty", True, 0),
        ("log", False, 2),
        ("log", True, 0),
    ]
    below = container.storage.list_directory(container.ref("out/log"))
    assert [entry.name for entry in below] == ["part"]
    assert container.storage.list_directory(container.ref("none")) is None


def test_links_out_of_the_container_hide_nothing_and_hold_nothing(container, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    (container.path / "out").symlink_to(outside)
    (container.path / "secret").symlink_to(outside / "secret")
    (container.path / "loop").symlink_to("loop")
    for name in ("out/secret", "secret", "loop", "loop/x"):
        assert container.is_missing(name)
    assert container.names() == []
    container.put("out/secret", b"own")
    container.put("loop/x", b"own")
    assert container.names() == ["loop/x", "out/secret"]
    assert container.get("out/secret") == b"own"
    assert (outside / "secret").read_text() == "x"
    assert len(list(outside.iterdir())) == 1


def test_what_is_no_file_is_no_blob(container):
    os.mkfifo(container.path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(container.path / "socket"))
        (container.path / "link").symlink_to("target")
        (container.path / "target").write_text("followed inside")
        assert container.names() == ["link", "target"]
        assert container.get("link") == b"followed inside"
        for name in ("fifo", "socket", "fifo/x"):
            assert container.is_missing(name)


def test_names_that_are_no_utf8_are_not_listed(container):
    (container.path / os.fsdecode(b"\xff")).write_text("x")
    (container.path / os.fsdecode(b".%\xff")).write_text("x")
    (container.path / "é").write_text("x")
    assert container.names() == ["é"]
    assert container.names(delimiter="/") == ["é"]


def test_orphaned_rows_of_escaped_blobs_are_not_dropped_by_a_start(tmp_path):
    first = Container(tmp_path)
    first.put("a")
    first.put("a/b", color="red")
    first.put("c//", color="blue")
    first.storage.close()
    second = Container.__new__(Container)
    second.storage = Storage(tmp_path, Ring(), Fixed(), FsyncPolicy.NEVER)
    second.storage.recovered.result(30)
    assert second.storage.blobs.properties(second.ref("a/b")).metadata == {"color": "red"}
    assert second.storage.blobs.properties(second.ref("c//")).metadata == {"color": "blue"}
    second.storage.close()


def test_writers_of_names_that_get_in_each_others_way(container):
    """Each deletes and puts its own blob, while directories come and go beneath the others' feet."""
    names = ["a", "a/b", "a/b/c", "a/b/c/", "a/b//"]

    def write(name: str) -> None:
        for _ in range(20):
            container.put(name, name.encode())
            assert container.get(name) == name.encode()
            container.delete(name)
            assert container.is_missing(name)
        container.put(name, name.encode())

    with ThreadPoolExecutor(len(names)) as pool:
        for done in [pool.submit(write, name) for name in names]:
            done.result()
    assert container.names() == sorted(names)
    assert [container.get(name) for name in names] == [name.encode() for name in names]
