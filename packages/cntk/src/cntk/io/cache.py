"""Parsed text files, kept in a cache directory and memory-mapped.

An entry is a directory named by what it was made of: a digest of the file's bytes and of the streams asked
for.  It never lies beside the data, and may be deleted at any time: it is made again.  Set
OPENBATCHAI_CNTK_CACHE to a directory to have it elsewhere than in the user's cache directory, or to an empty
string to have none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .ctf import Field, StreamData

SMALLEST = 4 << 20  # bytes of text; below, parsing is as fast
_LARGEST = 8 << 30  # bytes of all entries together
_ABANDONED = 24 * 3600.0  # seconds after which what nobody finished is rubbish of a killed process
_VERSION = 1
_NEW = ".new-"
_ARRAYS = ("samples", "offsets", "indptr", "indices", "values")


def directory() -> Path | None:
    """Where the entries are; None when the user wants none."""
    given = os.environ.get("OPENBATCHAI_CNTK_CACHE")
    if given is not None:
        return Path(given) if given else None
    base = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # no home directory
        return (Path(base) if base else Path.home() / ".cache") / "openbatchai-cntk"
    return None


def key_of(path: str, fields: Sequence[Field]) -> str:
    """The name of an entry: what the file holds and what was asked for."""
    description = json.dumps([_VERSION, [asdict(field) for field in fields]])
    digest = hashlib.sha256(description.encode())
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        digest.update(data)
    return digest.hexdigest()


def load(folder: Path, key: str, fields: Sequence[Field]) -> list[StreamData] | None:
    """An entry, memory-mapped; None when there is none or it is damaged."""
    entry = folder / key
    try:
        result = []
        for i, field in enumerate(fields):
            arrays = {}
            for name in _ARRAYS:
                file = entry / f"{i}.{name}.npy"
                # No pickles: an entry holds numbers only.
                arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False) if file.exists() else None
            samples = arrays["samples"]
            if samples is None or samples.ndim != 2 or samples.shape[1] != field.dim:
                return None
            result.append(
                StreamData(
                    field, samples, arrays["offsets"], arrays["indptr"], arrays["indices"], arrays["values"]
                )
            )
        os.utime(entry)  # used just now
    except (OSError, ValueError):
        return None
    return result


def store(folder: Path, key: str, data: Sequence[StreamData]) -> None:
    """Keep an entry.  Nothing happens when the directory cannot be written or is full."""
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_NEW, dir=folder))
        for i, stream in enumerate(data):
            for name in _ARRAYS:
                array = getattr(stream, name)
                if array is not None:
                    np.save(temporary / f"{i}.{name}.npy", array, allow_pickle=False)
        target = folder / key
        if target.exists():  # a damaged one, or another process was faster
            shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        _make_room(folder, target)
    except OSError:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _make_room(folder: Path, keep: Path) -> None:
    """Delete the entries that were not used for the longest time, and what was never finished."""
    entries = []
    for entry in folder.iterdir():
        if entry.name.startswith(_NEW) and entry.stat().st_mtime < time.time() - _ABANDONED:
            shutil.rmtree(entry, ignore_errors=True)
        if entry.is_dir() and len(entry.name) == 64:
            size = sum(file.stat().st_size for file in entry.iterdir())
            entries.append((entry.stat().st_mtime, size, entry))
    total = sum(size for _, size, _ in entries)
    for _, size, entry in sorted(entries):
        if total <= _LARGEST:
            break
        if entry != keep:
            shutil.rmtree(entry, ignore_errors=True)
            total -= size
