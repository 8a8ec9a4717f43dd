"""Walking a container's directories in the order of the names of blobs (storage.md 5.2, 9).

Directories are read one at a time and no deeper than the walk goes; what is held is the table of each on the
way down. Blobs come with the stat of their file, made when the walk is there.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile

from openbatchai.dataplane import beneath, blobnames, blobplaces
from openbatchai.dataplane.dirtables import DirectoryTables, Table

_LONGEST_NAME = 1024
_CUTS = 17
_FORM = "blobs"
_OPEN = os.O_RDONLY | os.O_DIRECTORY

# A blob's name and stat; with None the name is a directory's, ending in a slash, that holds blobs.
Seen = tuple[str, os.stat_result | None]


@dataclass(frozen=True)
class Bound:
    """Where a walk begins: at `name`, or behind it."""

    name: str = ""
    is_included: bool = True

    def admits(self, name: str) -> bool:
        return name > self.name or (self.is_included and name == self.name)


class Walk:
    """`container` is the descriptor of the container's directory."""

    def __init__(self, container: int, tables: DirectoryTables) -> None:
        self._container = container
        self._tables = tables

    def blobs(self, prefix: str, bound: Bound) -> Iterator[Seen]:
        """Every blob whose name begins with `prefix`."""
        return self._walk(prefix, bound, recursive=True)

    def children(self, prefix: str, bound: Bound) -> Iterator[Seen]:
        """The same, but what lies below one more slash comes as one directory."""
        return self._walk(prefix, bound, recursive=False)

    def entries(self, components: Sequence[str]) -> list[tuple[str, os.stat_result]] | None:
        """Files and directories in one directory, empty ones too, by their names in it.

        None when no directory is at these components of a blob's name.
        """
        bases = blobplaces.directories(self._container, components)
        if not bases:
            return None
        frame = self._frame("", bases, Bound())
        found = []
        try:
            for row in frame.rows:
                name = row.removesuffix("/")
                for path in frame.paths(row, directory=row.endswith("/")):
                    seen = beneath.stat_beneath(self._container, path)
                    if (
                        name
                        and seen is not None
                        and (stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode))
                    ):
                        found.append((name, seen))
                        break
        finally:
            frame.close()
        return found

    def _walk(self, prefix: str, bound: Bound, *, recursive: bool) -> Iterator[Seen]:
        if "\0" in prefix:
            return iter(())
        *parents, partial = prefix.split("/")
        bases = blobplaces.directories(self._container, parents)
        return self._below(prefix[: len(prefix) - len(partial)], bases, partial, bound, recursive=recursive)

    def _below(
        self, full: str, bases: Sequence[str], partial: str, bound: Bound, *, recursive: bool
    ) -> Iterator[Seen]:
        """Depth first with frames of its own: names may have a thousand slashes."""
        frames = [self._frame(full, bases, bound)]
        if partial:
            # Rows before it are skipped by the bound that _frame() was given, or here one by one.
            frames[0].rows = takewhile(lambda row: row.startswith(partial), frames[0].rows_from(partial))
        try:
            while frames:
                frame = frames[-1]
                row = next(frame.rows, None)
                if row is None:
                    frames.pop().close()
                    continue
                name = frame.full + row
                if len(name) > _LONGEST_NAME or (not name.isascii() and _units(name) > _LONGEST_NAME):
                    continue
                if not row.endswith("/"):
                    found = self._stat(frame, row) if bound.admits(name) else None
                    if found is not None:
                        yield name, found
                elif recursive:
                    frame.close()
                    frames.append(self._frame(name, frame.paths(row, directory=True), bound))
                elif (bound.admits(name) or bound.name.startswith(name)) and self._holds_a_blob(
                    name, frame.paths(row, directory=True), bound
                ):
                    yield name, None
        finally:
            for frame in frames:
                frame.close()

    def _frame(self, full: str, bases: Sequence[str], bound: Bound) -> "_Frame":
        tables = [(base, table) for base in bases if (table := self._table(base)) is not None]
        if len(tables) == 1:
            base, table = tables[0]
            elsewhere = {row: [_join(base, path) for path in paths] for row, paths in table.elsewhere.items()}
            return _Frame(self._container, full, base, table, elsewhere, bound)
        # A name whose directory is there twice, or not at all.
        places: dict[str, list[str]] = {}
        for base, table in tables:
            for row in table.rows:
                paths = table.elsewhere.get(row, (row.removesuffix("/"),))
                places.setdefault(row, []).extend(_join(base, path) for path in paths)
        return _Frame(self._container, full, "", Table(sorted(places)), places, bound)

    def _table(self, base: str) -> Table | None:
        try:
            fd = beneath.open_beneath(self._container, base, _OPEN)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        try:
            return self._tables.table(fd, _FORM, read_names)
        finally:
            os.close(fd)

    def _stat(self, frame: "_Frame", row: str) -> os.stat_result | None:
        """The stat of what a client would read; None for links that lead out and for what is no file."""
        if row not in frame.elsewhere:
            found = frame.stat(row)
            if found is None or stat.S_ISREG(found.st_mode):
                return found
            if not stat.S_ISLNK(found.st_mode):
                return None
        for path in frame.paths(row, directory=False):
            target = beneath.stat_beneath(self._container, path)
            if target is not None and stat.S_ISREG(target.st_mode):
                return target
        return None

    def _holds_a_blob(self, full: str, bases: Sequence[str], bound: Bound) -> bool:
        return any(self._has_file(full, base, bound) for base in bases) or (
            next(self._below(full, bases, "", bound, recursive=True), None) is not None
        )

    def _has_file(self, full: str, base: str, bound: Bound) -> bool:
        """A quick look: most directories hold some file, and none of their names need sorting then."""
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            fd = beneath.open_beneath(self._container, base, _OPEN)
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        name = full + entry.name
                        if (
                            entry.is_file(follow_symlinks=False)
                            and _units(name) <= _LONGEST_NAME
                            and bound.admits(name)
                            and blobnames.is_plain(entry.name)
                        ):
                            return True
            finally:
                os.close(fd)
        return False


class _Frame:
    """A directory on the walk's way: `full` is what names in it begin with, `base` where it lies."""

    def __init__(
        self,
        container: int,
        full: str,
        base: str,
        table: Table,
        elsewhere: Mapping[str, Sequence[str]],
        bound: Bound,
    ) -> None:
        self.full = full
        self.elsewhere = elsewhere
        self._container = container
        self._base = base
        self._table = table
        self._fd = -1
        self._bound = bound.name
        self.rows = self.rows_from("")

    def rows_from(self, least: str) -> Iterator[str]:
        """Rows not before `least` that can lead to names within the bound."""
        if not self._bound.startswith(self.full):
            return (
                self._table.from_index(self._table.first_at(least)) if self._bound < self.full else iter(())
            )
        first = self._bound[len(self.full) :]
        index = self._table.first_at(max(first, least))
        head, slash, _ = first.partition("/")
        if slash and index and head + slash >= least and self._table.rows[index - 1] == head + slash:
            # The bound lies within this directory.
            index -= 1
        return self._table.from_index(index)

    def paths(self, row: str, *, directory: bool) -> Sequence[str]:
        name = row.removesuffix("/") if directory else row
        return self.elsewhere.get(row) or (_join(self._base, name),)

    def stat(self, name: str) -> os.stat_result | None:
        try:
            if self._fd < 0:
                self._fd = beneath.open_beneath(self._container, self._base, _OPEN)
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None

    def close(self) -> None:
        """Give the descriptor back; it is opened again when it is needed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_names(directory: int) -> Table:
    """What an open directory holds, by the names that its entries stand for."""
    with os.scandir(directory) as entries:
        rows = [f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries]
    rows.sort()
    first = Table(rows).first_at(blobnames.PREFIX)
    last = first
    while last < len(rows) and rows[last].startswith(blobnames.PREFIX):
        last += 1
    escapes = rows[first:last]
    del rows[first:last]
    if not "".join(rows).isascii():
        rows = [row for row in rows if _is_text(row)]
    if not escapes:
        return Table(rows)
    return _with_escapes(directory, rows, escapes)


def _with_escapes(directory: int, rows: list[str], escapes: list[str]) -> Table:
    plain = Table(rows)
    elsewhere: dict[str, tuple[str, ...]] = {}
    is_whole = True
    for entry in escapes:
        name, is_directory = entry.removesuffix("/"), entry.endswith("/")
        if is_directory and blobnames.uncut(name) is not None:
            is_whole = False
            found = _cut_names(directory, (name,))
        else:
            component = blobnames.unescape(name, directory=is_directory)
            end = "/" if is_directory else ""
            found = iter(()) if component is None else iter([(component + end, name)])
        for row, path in found:
            index = plain.first_at(row)
            is_taken = index < len(rows) and rows[index] == row
            elsewhere[row] = (row.removesuffix("/"), path) if is_taken else (path,)
    added = [row for row, paths in elsewhere.items() if len(paths) == 1]
    return Table(sorted([*rows, *added]), elsewhere, is_whole)


def _cut_names(directory: int, pieces: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Rows and paths of the long names that begin with these pieces."""
    text = "".join(blobnames.uncut(piece) or "" for piece in pieces)
    try:
        fd = beneath.open_beneath(directory, "/".join(pieces), _OPEN)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        with os.scandir(fd) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    finally:
        os.close(fd)
    for name, is_directory in entries:
        path = (*pieces, name)
        if is_directory and blobnames.uncut(name) is not None and len(path) < _CUTS:
            yield from _cut_names(directory, path)
            continue
        end = blobnames.unescape(name, directory=is_directory)
        if end is not None and blobnames.is_canonical(text + end, path, directory=is_directory):
            yield f"{text}{end}/" if is_directory else text + end, "/".join(path)


def _units(name: str) -> int:
    """The length of a name as the service counts it, in UTF-16."""
    return len(name) + sum(char > "\uffff" for char in name)


def _is_text(row: str) -> bool:
    """Whether a name of the file system is UTF-8; blobs have no others."""
    return row.isascii() or not any("\ud800" <= char <= "\udfff" for char in row)


def _join(base: str, path: str) -> str:
    return f"{base}/{path}" if base else path
