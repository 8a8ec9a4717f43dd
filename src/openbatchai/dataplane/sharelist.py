"""Listing a directory of a share: its entries in the order of Azure Files (storage.md 7.2)."""

import os
import stat
from collections.abc import Iterator
from itertools import islice

from openbatchai.dataplane import beneath, filenames
from openbatchai.dataplane.dirtables import DirectoryTables, PackedNames, Table

_FORM = "files"

# The name of a file or directory, and what it leads to.
Entry = tuple[str, os.stat_result]


def entries(
    share: int, path: str, tables: DirectoryTables, *, prefix: str, after: str, limit: int
) -> list[Entry]:
    """The first `limit` entries of the directory `path` behind the name `after` ("" for the first page).

    Files and directories that a client may reach: pipes, devices and links that lead out are left out.
    """
    fd = beneath.open_beneath(share, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        table = tables.table(fd, _FORM, _read)
        return list(islice(_reachable(share, path, fd, _matching(table, prefix, after)), limit))
    finally:
        os.close(fd)


def _read(directory: int) -> Table:
    # The key of the order and the name in one string, NUL between them: for a million names a list of keys
    # beside the list of names would be a hundred megabytes more.
    with os.scandir(directory) as found:
        rows = [f"{filenames.fold(entry.name)}\0{entry.name}" for entry in found]
    rows.sort()
    # Folding keeps the length.
    names = (row[(len(row) + 1) // 2 :] for row in rows)
    return Table(PackedNames(name for name in names if name.isascii() or not _has_surrogates(name)))


def _matching(table: Table, prefix: str, after: str) -> Iterator[str]:
    wanted = filenames.fold(prefix)
    index = table.first_at(prefix, key=filenames.fold) if prefix else 0
    if after:
        index = max(index, table.first_at(after, key=filenames.order))
    for name in table.from_index(index):
        if prefix and not filenames.fold(name).startswith(wanted):
            return
        if name != after:
            yield name


def _reachable(share: int, path: str, directory: int, names: Iterator[str]) -> Iterator[Entry]:
    for name in names:
        try:
            found: os.stat_result | None = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if found is not None and stat.S_ISLNK(found.st_mode):
            found = beneath.stat_beneath(share, f"{path}/{name}" if path else name)
        if found is not None and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            yield name, found


def _has_surrogates(name: str) -> bool:
    """Whether a name of the file system is no UTF-8."""
    return any("\ud800" <= char <= "\udfff" for char in name)
