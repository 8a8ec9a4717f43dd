"""Renaming files and directories of a share: the item, and what is recorded of it and of all below it.

Two things change, the directory and the side store, so a journal comes first: a start after a kill sees by
the inode whether the rename happened, and moves the records or does not.
"""

import errno
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from openbatchai.dataplane import beneath, shareentries
from openbatchai.dataplane.containers import refuse_snapshot
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import Item, Record
from openbatchai.dataplane.sharetree import ShareTree
from openbatchai.dataplane.sidedb import SideDatabase
from openbatchai.dataplane.sideschema import TABLES_OF_ITEMS
from openbatchai.dataplane.smb import NO_WISHES, SmbWishes
from openbatchai.domain.ports import ItemRef, StorageService

_FILE = StorageService.FILE.value
# Longer than most snapshots take; every call that waits holds one of the service's threads.
_WAIT_S = 5.0


@dataclass(frozen=True)
class Rename:
    """How a rename is to be done, and what it changes of the item beside its name."""

    directory: bool
    replaces: bool = False
    ignores_read_only: bool = False
    source_lease: str | None = None
    target_lease: str | None = None
    metadata: Mapping[str, str] | None = None
    content_type: str = ""
    smb: SmbWishes = NO_WISHES


class Moves:
    def __init__(self, tree: ShareTree, wait_s: float = _WAIT_S) -> None:
        self._tree = tree
        self._wait_s = wait_s
        self._locks: dict[tuple[str, str], threading.Lock] = {}

    @contextmanager
    def alone(self, ref: ItemRef) -> Iterator[None]:
        """Taken while a snapshot is made too: what moved meanwhile might be missing in it.

        ServerBusy (503), after which clients try again, when that takes long.
        """
        lock = self._locks.setdefault((ref.account, ref.container), threading.Lock())
        if not lock.acquire(timeout=self._wait_s):
            raise StorageError(StorageCode.SERVER_BUSY)
        try:
            yield
        finally:
            lock.release()

    def rename(self, source: ItemRef, target: ItemRef, how: Rename) -> Item:
        """Both in the same share. Raises ResourceNotFound, ParentNotFound, ResourceAlreadyExists, …"""
        tree = self._tree
        refuse_snapshot(target)
        if not source.path or not target.path:
            raise StorageError(StorageCode.INVALID_INPUT, "The root directory of a share has no name.")
        # A directory takes everything below it along, so no other writer may be at work there.
        with self.alone(target), tree.places.locked_all(), tree.share(target) as share:
            old = tree.existing(share, source, directory=how.directory)
            new = self._place(share, target, old, how)
            tree.check_write(tree.current(share, source, old), how.source_lease, ignores_read_only=True)
            tree.check_wishes(target, how.smb)
            if new != old:
                self._move(share, target, old, new, replaces=how.replaces)

            def change(record: Record) -> Record:
                if how.metadata is not None:
                    record = replace(record, metadata=dict(how.metadata))
                if how.content_type:
                    record = replace(record, content=replace(record.content, type=how.content_type))
                return record

            if how.directory:
                with beneath.directory_beneath(share, new) as fd:
                    tree.set_write_time(fd, how.smb.written)
            else:
                fd = tree.open(share, new, os.O_RDONLY)
                try:
                    tree.set_write_time(fd, how.smb.written)
                finally:
                    os.close(fd)
            return tree.change(share, target, new, change, how.smb)

    def _place(self, share: int, target: ItemRef, old: str, how: Rename) -> str:
        """The path on disk that the item gets; 409 for one that is taken."""
        found = shareentries.find(share, target.path)
        if found is None:
            new = shareentries.place_for(share, target.path)
        elif found == old:
            # Only the letter case changes.
            parent, _ = beneath.split(found)
            name = beneath.split(target.path)[1]
            return f"{parent}/{name}" if parent else name
        else:
            self._check_taken(share, target, found, how)
            new = found
        if f"{new}/".startswith(f"{old}/"):
            raise StorageError(StorageCode.INVALID_INPUT, "A directory cannot be moved into itself.")
        return new

    def _check_taken(self, share: int, target: ItemRef, path: str, how: Rename) -> None:
        taken = self._tree.current(share, target, path)
        if not how.replaces or taken is None:
            raise StorageError(StorageCode.RESOURCE_EXISTS)
        if taken.is_directory:
            raise StorageError(StorageCode.TYPE_MISMATCH)
        self._tree.check_write(taken, how.target_lease, ignores_read_only=how.ignores_read_only)

    def _move(self, share: int, target: ItemRef, old: str, new: str, *, replaces: bool) -> None:
        tree = self._tree
        journal = MoveJournal(tree.store(target).database)
        (old_parent, old_name), (new_parent, new_name) = beneath.split(old), beneath.split(new)
        with (
            shareentries.parent_of(share, old_parent) as source,
            shareentries.parent_of(share, new_parent) as destination,
        ):
            ino = os.stat(old_name, dir_fd=source, follow_symlinks=False).st_ino
            replaced = self._replaced(destination, new_name) if replaces else 0
            move = journal.begin(Move(target.container, old, new, ino, replaced))
            try:
                if replaced and stat.S_ISDIR(os.stat(old_name, dir_fd=source).st_mode):
                    # No rename puts a directory in the place of a file: they change places, the file goes.
                    beneath.exchange(source, old_name, destination, new_name)
                    with suppress(FileNotFoundError):
                        os.unlink(old_name, dir_fd=source)
                elif replaced:
                    os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=destination)
                else:
                    beneath.rename_to_new(source, old_name, destination, new_name)
            except OSError as error:
                journal.forget(move)
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                    raise StorageError(StorageCode.RESOURCE_EXISTS) from None
                raise
            tree.places.sync_directory(destination)
            tree.places.sync_directory(source)
            try:
                journal.finish(move)
            except BaseException:
                if not replaced:
                    # Else the next start would give these rows away, whoever they are of by then.
                    beneath.rename_to_new(destination, new_name, source, old_name)
                    journal.forget(move)
                raise

    @staticmethod
    def _replaced(directory: int, name: str) -> int:
        """The inode of what a rename is to replace; 0 when there is nothing."""
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return 0


@dataclass(frozen=True)
class Move:
    """`ino` is the item's, `replaced` that of what it takes the place of; `number` the journal gives."""

    container: str
    source: str
    target: str
    ino: int
    replaced: int = 0
    number: int = 0


class MoveJournal:
    """Renames under way in the shares of one account."""

    def __init__(self, database: SideDatabase) -> None:
        self._database = database

    def begin(self, move: Move) -> Move:
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO move (container, source, target, ino, replaced) VALUES (?, ?, ?, ?, ?)",
                (move.container, move.source, move.target, move.ino, move.replaced),
            )
            return replace(move, number=cursor.lastrowid or 0)

    def forget(self, move: Move) -> None:
        self._database.remove([("DELETE FROM move WHERE id = ?", (move.number,))])

    def finish(self, move: Move) -> None:
        """The item has its new name: its rows, and those of all below it, follow."""
        statements: list[tuple[str, tuple[object, ...]]] = []
        for table in TABLES_OF_ITEMS:
            statements += [
                (f"DELETE FROM {table} WHERE {_WITHIN}", _within(move.container, move.target)),
                (
                    f"UPDATE {table} SET path = ? || substr(path, ?) WHERE {_WITHIN}",
                    (move.target, len(move.source) + 1, *_within(move.container, move.source)),
                ),
            ]
        self._database.remove([*statements, ("DELETE FROM move WHERE id = ?", (move.number,))])

    def unfinished(self) -> list[Move]:
        rows = self._database.read(
            "SELECT container, source, target, ino, replaced, id FROM move ORDER BY id", ()
        )
        return [Move(str(row[0]), str(row[1]), str(row[2]), *_numbers(row[3:])) for row in rows]


def finish_moves(places: Places) -> None:
    """At a start: complete the renames that a killed service was carrying out, as far as they happened."""
    for account in places.accounts():
        journal = MoveJournal(places.store(account).database)
        for move in journal.unfinished():
            if _lies_at(places, account, move.container, move.target, move.ino):
                _drop_replaced(places, account, move)
                journal.finish(move)
            else:
                journal.forget(move)


def _drop_replaced(places: Places, account: str, move: Move) -> None:
    """The file that changed places with the directory which took its name."""
    if not move.replaced or not _lies_at(places, account, move.container, move.source, move.replaced):
        return
    parent_path, name = beneath.split(move.source)
    with (
        places.container(account, StorageService.FILE, move.container) as share,
        shareentries.parent_of(share, parent_path) as parent,
    ):
        os.unlink(name, dir_fd=parent)


def _lies_at(places: Places, account: str, container: str, path: str, ino: int) -> bool:
    parent_path, name = beneath.split(path)
    try:
        with (
            places.container(account, StorageService.FILE, container) as share,
            shareentries.parent_of(share, parent_path) as parent,
        ):
            return os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino == ino
    except (StorageError, FileNotFoundError):
        return False


# The item itself and everything below it: "0" is the character after "/".
_WITHIN = "service = ? AND container = ? AND (path = ? OR (path >= ? AND path < ?))"


def _within(container: str, path: str) -> tuple[str, ...]:
    return _FILE, container, path, f"{path}/", f"{path}0"


def _numbers(values: tuple[object, ...]) -> list[int]:
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) < len(values):
        raise TypeError(f"the side store holds {values!r} where numbers belong")
    return numbers
