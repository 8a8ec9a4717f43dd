"""Azure Files on a plain directory: ranges are written in place, names match without regard to case.

In place is the service's own semantics (storage.md 9): a job sees a file that is being uploaded just as it
would over SMB. There is no commit, so nothing of a file is ever in staging.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace

from openbatchai.dataplane import beneath, holes
from openbatchai.dataplane.bloblist import Page, decode_marker, encode_marker
from openbatchai.dataplane.blobtree import OpenItem
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import NO_CONTENT_HEADERS, ContentHeaders, Item, Record, item_of
from openbatchai.dataplane.sidestore import Key, SideStore
from openbatchai.dataplane.uploads import write_at
from openbatchai.domain.ports import Clock, ItemRef

# Ends excluded.
ByteRanges = list[tuple[int, int]]


@dataclass(frozen=True)
class FileSettings:
    """What Create File and Set File Properties set beside the length."""

    content: ContentHeaders = NO_CONTENT_HEADERS
    md5: str = ""
    metadata: Mapping[str, str] | None = None


class Files:
    def __init__(self, places: Places, clock: Clock) -> None:
        self._places = places
        self._clock = clock

    # --- directories

    def create_directory(self, ref: ItemRef, metadata: Mapping[str, str]) -> Item:
        with self._share(ref) as share, self._locked(ref):
            if not ref.path or _find(share, ref.path) is not None:
                raise StorageError(StorageCode.RESOURCE_EXISTS)
            path = _place_for(share, ref.path)
            parent_path, name = beneath.split(path)
            with _parent(share, parent_path) as parent:
                try:
                    beneath.make_directory(parent, name)
                except FileExistsError:
                    raise StorageError(StorageCode.RESOURCE_EXISTS) from None
                self._places.sync_directory(parent)
            self._new_record(ref, path, share, FileSettings(metadata=metadata))
            return self._described(share, ref, path)

    def delete_directory(self, ref: ItemRef) -> None:
        with self._share(ref) as share, self._locked(ref):
            path = self._existing(share, ref, directory=True)
            if not path:
                raise StorageError(
                    StorageCode.INVALID_INPUT, "The root directory of a share cannot be deleted."
                )
            parent_path, name = beneath.split(path)
            with _parent(share, parent_path) as parent:
                try:
                    os.rmdir(name, dir_fd=parent)
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        raise StorageError(StorageCode.DIRECTORY_NOT_EMPTY) from None
                    raise
                self._places.sync_directory(parent)
            self._store(ref).drop(_key(ref, path))

    def list(
        self, ref: ItemRef, *, prefix: str, marker: str, limit: int, recorded: bool = False
    ) -> Page[Item]:
        """Files and directories in one sequence, ordered without regard to case.

        `recorded` joins the records, which only ETags and creation times need.
        """
        after = _order(decode_marker(marker)) if marker else None
        with self._share(ref) as share:
            path = self._existing(share, ref, directory=True)
            found = [
                (name, entry)
                for name, entry in _entries(share, path)
                if name.casefold().startswith(prefix.casefold()) and (after is None or _order(name) > after)
            ]
        found.sort(key=lambda pair: _order(pair[0]))
        next_marker = encode_marker(found[limit - 1][0]) if len(found) > limit else ""
        records = self._records_in(ref, path) if recorded else {}
        return Page([item_of(name, entry, records.get(name)) for name, entry in found[:limit]], next_marker)

    # --- files

    def create_file(self, ref: ItemRef, size: int, settings: FileSettings, *, only_new: bool = False) -> Item:
        """A file of `size` zeros; an existing one keeps its inode, so who has it open sees the change.

        With `only_new` an existing one is a conflict.
        """
        with self._share(ref) as share, self._locked(ref):
            path = _place_for(share, ref.path)
            if only_new and beneath.stat_beneath(share, path) is not None:
                raise StorageError(StorageCode.RESOURCE_EXISTS)
            parent_path, name = beneath.split(path)
            with _parent(share, parent_path) as parent:
                fd = _open_for_creation(share, parent, path, name)
                try:
                    os.ftruncate(fd, 0)
                    os.ftruncate(fd, size)
                    if not size:
                        self._places.sync_content(fd)
                finally:
                    os.close(fd)
                self._places.sync_directory(parent)
            self._new_record(ref, path, share, settings)
            return self._described(share, ref, path)

    def open(self, ref: ItemRef) -> OpenItem:
        with self._share(ref) as share:
            path = self._existing(share, ref, directory=False)
            fd = self._open(share, path, os.O_RDONLY)
            return OpenItem(fd, self._item(ref, path, os.fstat(fd)))

    def properties(self, ref: ItemRef, *, directory: bool) -> Item:
        with self._share(ref) as share:
            return self._described(share, ref, self._existing(share, ref, directory=directory))

    def put_range(self, ref: ItemRef, start: int, data: bytes) -> Item:
        end = start + len(data)
        return self._write(ref, Span(start, end), lambda fd: write_at(fd, data, start))

    def clear_range(self, ref: ItemRef, span: Span) -> Item:
        return self._write(ref, span, lambda fd: holes.clear(fd, span.start, span.end))

    def data_ranges(self, ref: ItemRef, limits: Callable[[int], Span]) -> tuple[Item, ByteRanges]:
        opened = self.open(ref)
        try:
            span = limits(opened.item.size)
            return opened.item, holes.data_ranges(opened.fd, span.start, span.end)
        finally:
            os.close(opened.fd)

    def set_properties(self, ref: ItemRef, size: int | None, settings: FileSettings) -> Item:
        """`size` resizes the file; None leaves it."""
        with self._share(ref) as share, self._locked(ref):
            path = self._existing(share, ref, directory=False)
            if size is not None:
                fd = self._open(share, path, os.O_WRONLY)
                try:
                    os.ftruncate(fd, size)
                    self._places.sync_content(fd)
                finally:
                    os.close(fd)
            return self._change(
                share, ref, path, lambda record: replace(record, content=settings.content, md5=settings.md5)
            )

    def set_metadata(self, ref: ItemRef, metadata: Mapping[str, str], *, directory: bool) -> Item:
        with self._share(ref) as share, self._locked(ref):
            path = self._existing(share, ref, directory=directory)
            return self._change(share, ref, path, lambda record: replace(record, metadata=dict(metadata)))

    def delete_file(self, ref: ItemRef) -> None:
        with self._share(ref) as share, self._locked(ref):
            path = self._existing(share, ref, directory=False)
            parent_path, name = beneath.split(path)
            with _parent(share, parent_path) as parent:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=parent)
                self._places.sync_directory(parent)
            self._store(ref).drop(_key(ref, path))

    # --- parts

    def _write(self, ref: ItemRef, span: Span, write: Callable[[int], None]) -> Item:
        # No lock: ranges of one file come in parallel, and the kernel orders writes to one inode.
        with self._share(ref) as share:
            path = self._existing(share, ref, directory=False)
            fd = self._open(share, path, os.O_WRONLY)
            try:
                size = os.fstat(fd).st_size
                if span.end > size:
                    raise StorageError(
                        StorageCode.INVALID_RANGE, headers={"Content-Range": f"bytes */{size}"}
                    )
                write(fd)
                self._places.sync_range(fd, reaches_end=span.end == size)
                return self._item(ref, path, os.fstat(fd))
            finally:
                os.close(fd)

    def _existing(self, share: int, ref: ItemRef, *, directory: bool) -> str:
        """The path on disk of what is asked for, in the letter case it has there."""
        path = _find(share, ref.path)
        found = None if path is None else beneath.stat_beneath(share, path)
        if path is None or found is None:
            raise StorageError(StorageCode.RESOURCE_NOT_FOUND)
        if not (stat.S_ISDIR(found.st_mode) if directory else stat.S_ISREG(found.st_mode)):
            raise StorageError(StorageCode.RESOURCE_NOT_FOUND)
        return path

    def _open(self, share: int, path: str, flags: int) -> int:
        try:
            return beneath.open_file(share, path, flags)
        except FileNotFoundError:
            raise StorageError(StorageCode.RESOURCE_NOT_FOUND) from None

    def _described(self, share: int, ref: ItemRef, path: str) -> Item:
        found = beneath.stat_beneath(share, path)
        if found is None:
            raise StorageError(StorageCode.RESOURCE_NOT_FOUND)
        parent = beneath.stat_beneath(share, beneath.split(path)[0]) if path else None
        return replace(self._item(ref, path, found), parent_ino=parent.st_ino if parent else 0)

    def _item(self, ref: ItemRef, path: str, found: os.stat_result) -> Item:
        record, _ = self._store(ref).records(_key(ref, path))
        if record is not None and record.identity.ino != found.st_ino:
            # Another file by that name: what the client said of the old bytes does not hold.
            record = replace(record, md5="")
        return item_of(path, found, record)

    def _records_in(self, ref: ItemRef, directory: str) -> dict[str, Record]:
        base = f"{directory}/" if directory else ""
        found = self._store(ref).records_between(ref.service, ref.container, base, f"{base}\U0010ffff")
        return {path.removeprefix(base): record for path, (record, _) in found.items() if record}

    def _new_record(self, ref: ItemRef, path: str, share: int, settings: FileSettings) -> None:
        item = self._described(share, ref, path)
        record = Record(
            identity=item.identity,
            content=settings.content,
            md5=settings.md5,
            metadata=dict(settings.metadata or {}),
            created_ns=self._now(),
            stamp=secrets.randbits(62),
        )
        self._store(ref).put(_key(ref, path), record)

    def _change(self, share: int, ref: ItemRef, path: str, change: Callable[[Record], Record]) -> Item:
        item = self._described(share, ref, path)
        record = item.record or Record(
            item.identity, ContentHeaders(type=item.content_type), created_ns=item.created_ns
        )
        record = replace(
            change(record), identity=item.identity, touched_ns=self._now(), stamp=secrets.randbits(62)
        )
        self._store(ref).put(_key(ref, path), record)
        return replace(item, record=record)

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000) * 1_000

    def _share(self, ref: ItemRef) -> AbstractContextManager[int]:
        return self._places.container(ref.account, ref.service, ref.container)

    def _locked(self, ref: ItemRef) -> AbstractContextManager[None]:
        return self._places.locked(ref.account, _key(ref, ref.path.casefold()))

    def _store(self, ref: ItemRef) -> SideStore:
        return self._places.store(ref.account)


def _open_for_creation(share: int, parent: int, path: str, name: str) -> int:
    """An existing file (perhaps behind a link that stays inside the share), else a new one."""
    found = beneath.stat_beneath(share, path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise StorageError(StorageCode.TYPE_MISMATCH)
    try:
        if found is not None:
            return beneath.open_file(share, path, os.O_WRONLY)
        fd = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, beneath.FILE_MODE, dir_fd=parent
        )
    except (FileExistsError, FileNotFoundError):
        # A link that leads out of the share, or another request was faster.
        raise StorageError(StorageCode.RESOURCE_EXISTS) from None
    os.fchmod(fd, beneath.FILE_MODE)
    return fd


@contextmanager
def _parent(share: int, path: str) -> Iterator[int]:
    try:
        fd = beneath.open_beneath(share, path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(StorageCode.PARENT_NOT_FOUND) from None
    try:
        yield fd
    finally:
        os.close(fd)


def _find(share: int, path: str) -> str | None:
    """The path as it is written on disk: exactly this one, else the first that differs by case only."""
    if not path or beneath.stat_beneath(share, path) is not None:
        return path
    done = ""
    for part in path.split("/"):
        exact = f"{done}/{part}" if done else part
        if beneath.stat_beneath(share, exact) is None:
            other = _by_case(share, done, part)
            if other is None:
                return None
            exact = f"{done}/{other}" if done else other
        done = exact
    return done


def _place_for(share: int, path: str) -> str:
    """Where a new item goes: parents, and an existing item of that name, keep their letter case."""
    found = _find(share, path)
    if found is not None:
        return found
    parent_path, name = beneath.split(path)
    parent = _find(share, parent_path)
    if parent is None:
        raise StorageError(StorageCode.PARENT_NOT_FOUND)
    return f"{parent}/{name}" if parent else name


def _by_case(share: int, directory: str, name: str) -> str | None:
    wanted = name.casefold()
    try:
        fd = beneath.open_beneath(share, directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        with os.scandir(fd) as entries:
            same = [entry.name for entry in entries if entry.name.casefold() == wanted]
    finally:
        os.close(fd)
    return min(same, default=None)


def _entries(share: int, directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files and directories that a client may reach; pipes, devices and links that lead out are left out."""
    fd = beneath.open_beneath(share, directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if not entry.name.isascii() and any("\ud800" <= char <= "\udfff" for char in entry.name):
                    continue
                path = f"{directory}/{entry.name}" if directory else entry.name
                try:
                    found: os.stat_result | None = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if found is not None and stat.S_ISLNK(found.st_mode):
                    found = beneath.stat_beneath(share, path)
                if found is not None and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                    yield entry.name, found
    finally:
        os.close(fd)


def _order(name: str) -> tuple[str, str]:
    return name.casefold(), name


def _key(ref: ItemRef, path: str) -> Key:
    return ref.service, ref.container, path
