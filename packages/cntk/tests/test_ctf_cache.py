"""Large text files are parsed once; the cache may vanish, be damaged or be refused at any time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from cntk.io import cache
from cntk.io.ctf import Field, parse_file, read_file

FIELDS = [Field("x", 40, False), Field("y", 2, False)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENBATCHAI_CNTK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(file: Path, seed: int) -> np.ndarray:
    """A file just large enough to be kept."""
    values = np.random.default_rng(seed).integers(0, 10, (52000, 42))
    text = "\n".join("|x " + " ".join(map(str, row[:40])) + " |y " + f"{row[40]} {row[41]}" for row in values)
    file.write_text(text + "\n")
    assert file.stat().st_size >= cache.SMALLEST
    return values


def test_an_entry_is_for_what_the_file_holds(tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "data.txt"
    values = write(file, 0)
    stamp = file.stat()
    for _ in range(2):
        x, y = read_file(str(file), FIELDS)
        assert isinstance(x.samples, np.memmap)
        np.testing.assert_array_equal(x.gather(np.array([3, 51999])), values[[3, 51999], :40])
        np.testing.assert_array_equal(y.gather(np.arange(5)), values[:5, 40:])
    (entry,) = folder.iterdir()
    # Other streams of the same file are another entry.
    (only,) = read_file(str(file), FIELDS[:1])
    np.testing.assert_array_equal(only.gather(np.array([7])), values[7:8, :40])
    assert len(list(folder.iterdir())) == 2
    # The same name, size and time with other content.
    other = write(file, 1)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    np.testing.assert_array_equal(read_file(str(file), FIELDS)[0].gather(np.array([3])), other[3:4, :40])
    # What is mapped stays readable when the entry goes.
    for part in entry.iterdir():
        part.unlink()
    np.testing.assert_array_equal(x.gather(np.array([3])), values[3:4, :40])
    # A damaged entry is made again; so is one that is gone.
    (folder / cache.key_of(str(file), FIELDS) / "0.samples.npy").write_bytes(b"damaged")
    np.testing.assert_array_equal(read_file(str(file), FIELDS)[0].gather(np.array([3])), other[3:4, :40])
    assert cache.load(folder, cache.key_of(str(file), FIELDS), FIELDS) is not None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "data.txt"]


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path, folder: Path) -> None:
    for name, age in ((".new-old", 25 * 3600), (".new-recent", 0)):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.samples.npy").write_bytes(b"half")
        then = time.time() - age
        os.utime(folder / name, (then, then))
    file = tmp_path / "data.txt"
    write(file, 0)
    read_file(str(file), FIELDS)
    assert {p.name for p in folder.iterdir()} == {".new-recent", cache.key_of(str(file), FIELDS)}


def test_without_a_place_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data.txt"
    values = write(file, 0)
    (tmp_path / "occupied").write_text("a file")
    for place in ("", str(tmp_path / "occupied" / "below")):
        monkeypatch.setenv("OPENBATCHAI_CNTK_CACHE", place)
        x, _ = read_file(str(file), FIELDS)
        np.testing.assert_array_equal(x.gather(np.array([9])), values[9:10, :40])


def test_numbers_that_do_not_fit_bytes(tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    for text, wide in (("255", False), ("256", True), ("0.5", True), ("-1", True)):
        file.write_text(f"|x 1\n|x {text}\n")
        (data,) = parse_file(str(file), [Field("x", 1, False)])
        assert (data.samples.dtype == np.float32) == wide
        np.testing.assert_array_equal(data.gather(np.array([0, 1])), [[1], [float(text)]])
