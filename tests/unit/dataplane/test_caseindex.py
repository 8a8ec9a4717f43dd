"""What the index of a directory says is what is in the directory, whoever changes it and however fast."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openbatchai.dataplane.caseindex import CaseIndex


class Watched:
    """A directory, an index over it, and how often the directory was read for it."""

    def __init__(self, path: Path, **bounds: int) -> None:
        self.path = path
        self.index = CaseIndex(**{"least": 1, **bounds})
        self.reads = 0
        path.mkdir(exist_ok=True)

    def read(self, directory: int) -> list[str]:
        self.reads += 1
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries]

    def names(self, name: str, path: Path | None = None) -> list[str] | None:
        fd = os.open(path or self.path, os.O_RDONLY)
        try:
            found = self.index.names(fd, name)
            return None if found is None else sorted(found)
        finally:
            os.close(fd)

    def offer(self, path: Path | None = None, count: int = 1) -> None:
        fd = os.open(path or self.path, os.O_RDONLY)
        try:
            self.index.offer(fd, count, self.read)
        finally:
            os.close(fd)


@pytest.fixture
def watched(tmp_path):
    made = Watched(tmp_path / "watched")
    (made.path / "Model.bin").touch()
    made.offer()
    yield made
    made.index.close()


def test_every_kind_of_change_is_known_at_once(watched):
    home = watched.path
    assert watched.names("MODEL.BIN") == ["Model.bin"]
    (home / "model.bin").touch()
    assert watched.names("MODEL.BIN") == ["Model.bin", "model.bin"]
    (home / "Model.bin").unlink()
    assert watched.names("MODEL.BIN") == ["model.bin"]
    (home / "model.bin").rename(home / "É")
    assert watched.names("MODEL.BIN") == []
    assert watched.names("é") == ["É"]
    (home / "Dir").mkdir()
    (home / "dir").symlink_to("Dir")
    os.link(home / "É", home / "DIR")
    assert watched.names("dIR") == ["DIR", "Dir", "dir"]
    (home / "Dir").rename(home.parent / "Dir")
    (home.parent / "DiR").touch()
    (home.parent / "DiR").rename(home / "DiR")
    assert watched.names("dir") == ["DIR", "DiR", "dir"]
    assert watched.reads == 1


def test_writers_in_many_threads_find_what_they_made(watched):
    def write(number: int) -> list[list[str] | None]:
        found = []
        for count in range(50):
            (watched.path / f"File-{number}-{count}").touch()
            if watched.names(f"FILE-{number}-{count}") is None:
                watched.offer()
            found.append(watched.names(f"file-{number}-{count}"))
        return found

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(write, range(8)))
    for number, found in enumerate(results):
        # Unknown it may be, under so many changes at once, but never wrong.
        assert all(names in (None, [f"File-{number}-{count}"]) for count, names in enumerate(found))


def test_a_queue_that_overflows_ends_the_index(watched):
    changes = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if changes > 1 << 16:
        pytest.skip(f"a queue of {changes} takes long to fill")
    names = [os.fspath(watched.path / name) for name in ("Model.bin", "x")]
    for number in range(changes // 2 + 10):
        os.rename(names[number % 2], names[1 - number % 2])  # noqa: PTH104 (a Path for each takes as long again)
    (watched.path / "Y").touch()
    assert watched.names("y") is None
    watched.offer()
    assert watched.names("y") == ["Y"]


def test_a_directory_that_is_replaced_is_another(watched):
    shutil.rmtree(watched.path)
    watched.path.mkdir()
    (watched.path / "New").touch()
    assert watched.names("model.bin") in (None, [])
    watched.offer()
    assert watched.names("NEW") == ["New"]


def test_memory_is_bounded(tmp_path):
    watched = Watched(tmp_path / "a", most_names=3)
    other = tmp_path / "b"
    other.mkdir()
    for name in ("a", "b"):
        (watched.path / name).touch()
        (other / name).touch()
    watched.offer(count=2)
    watched.offer(other, count=2)
    assert watched.names("A") is None
    assert watched.names("A", other) == ["a"]
    watched.offer(count=4)
    assert watched.names("A") is None
    watched.index.close()


def test_a_closed_index_knows_nothing(watched):
    watched.index.close()
    watched.offer()
    assert watched.names("model.bin") is None
