"""Listing blobs: a container's directories walked in the order of full names (storage.md 5.2, 9)."""

import base64
import binascii
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from openbatchai.dataplane import beneath
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import Item, choose_blob_record, item_of
from openbatchai.domain.ports import StorageService

PAGE = 5000
_LONGEST_NAME = 1024


@dataclass(frozen=True)
class BlobQuery:
    prefix: str = ""
    delimiter: str = ""
    marker: str = ""
    limit: int = PAGE
    # Also those, and what was softly deleted; see keptlist.
    snapshots: bool = False
    deleted: bool = False


EntryT = TypeVar("EntryT")


@dataclass(frozen=True)
class Page(Generic[EntryT]):
    """One page of a listing; `next_marker` is empty on the last."""

    entries: list[EntryT]
    next_marker: str


@dataclass(frozen=True)
class _Found:
    """A blob, or with `stat=None` a common prefix of blobs."""

    name: str
    stat: os.stat_result | None


def list_blobs(
    places: Places, account: str, container: str, query: BlobQuery, now_ns: int = 0
) -> "Page[Item | str]":
    """Items and, with a delimiter, common prefixes (plain strings), merged in code point order."""
    after = decode_marker(query.marker)
    with places.container(account, StorageService.BLOB, container) as directory:
        found = list(islice(_matching(directory, query, after), query.limit + 1))
    page = found[: query.limit]
    next_marker = encode_marker(page[-1].name) if len(found) > len(page) else ""
    names = [entry.name for entry in page if entry.stat is not None]
    if not names:
        return Page([entry.name for entry in page], next_marker)
    records = places.store(account).records_between(StorageService.BLOB, container, names[0], names[-1])
    entries: list[Item | str] = []
    for entry in page:
        if entry.stat is None:
            entries.append(entry.name)
        else:
            record = choose_blob_record(entry.stat, *records.get(entry.name, (None, None)))
            entries.append(item_of(entry.name, entry.stat, record, now_ns=now_ns))
    return Page(entries, next_marker)


def encode_marker(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode("utf-8")).decode("ascii")


def decode_marker(marker: str) -> str:
    try:
        return base64.urlsafe_b64decode(marker.encode("ascii")).decode("utf-8")
    except (ValueError, binascii.Error):
        raise StorageError(
            StorageCode.INVALID_QUERY, "The marker is not one that this service gave."
        ) from None


def _matching(container: int, query: BlobQuery, after: str) -> Iterator[_Found]:
    directory, slash, _ = query.prefix.rpartition("/")
    if any(part in ("", ".", "..") or "\0" in part for part in directory.split("/")) and slash:
        return iter(())
    top = directory + slash
    if query.delimiter in ("", "/"):
        return _walk(container, top, query.prefix, after, recursive=not query.delimiter)
    return _folded(_walk(container, top, query.prefix, after, recursive=True), query, after)


def _walk(container: int, directory: str, prefix: str, after: str, *, recursive: bool) -> Iterator[_Found]:
    for name, found in _children(container, directory, prefix, after, recursive=recursive):
        if found is not None:
            yield _Found(name, found)
        elif recursive:
            yield from _walk(container, name, prefix, after, recursive=True)
        elif _holds_a_blob(container, name):
            yield _Found(name, None)


def _children(
    container: int, directory: str, prefix: str, after: str, *, recursive: bool
) -> list[tuple[str, os.stat_result | None]]:
    """Files with their stat and directories (name ending in `/`) in order of their full names.

    A directory sorts by its name with the slash, so that everything in it comes at the right place.
    """
    children: list[tuple[str, os.stat_result | None]] = []
    try:
        fd = beneath.open_beneath(container, directory.rstrip("/"), os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return children
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                name = directory + entry.name
                if entry.is_dir(follow_symlinks=False):
                    name += "/"
                    # In a flat listing a page may have ended inside this directory.
                    resumes = recursive and after.startswith(name)
                    if name.startswith(prefix) and (name > after or resumes) and _is_addressable(name):
                        children.append((name, None))
                elif name > after and name.startswith(prefix) and _is_addressable(name):
                    found = _file_stat(container, entry, name)
                    if found is not None:
                        children.append((name, found))
    finally:
        os.close(fd)
    children.sort(key=lambda child: child[0])
    return children


def _file_stat(container: int, entry: os.DirEntry[str], name: str) -> os.stat_result | None:
    """The stat of what a client would read; None for links that lead out and for what is no file."""
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        return found
    if not stat.S_ISLNK(found.st_mode):
        return None
    target = beneath.stat_beneath(container, name)
    return target if target is not None and stat.S_ISREG(target.st_mode) else None


def _is_addressable(name: str) -> bool:
    """Whether a client could ask for this name: UTF-8, and not too long."""
    if len(name) > _LONGEST_NAME:
        return False
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


def _holds_a_blob(container: int, directory: str) -> bool:
    return next(_walk(container, directory, directory, "", recursive=True), None) is not None


def _folded(blobs: Iterator[_Found], query: BlobQuery, after: str) -> Iterator[_Found]:
    """Common prefixes for a delimiter that is no directory separator."""
    last = after
    for blob in blobs:
        head, delimiter, _ = blob.name[len(query.prefix) :].partition(query.delimiter)
        if not delimiter:
            yield blob
            continue
        common = query.prefix + head + delimiter
        if common != last:
            last = common
            yield _Found(common, None)
