"""Listing blobs: one page of a container in the order of names (storage.md 5.2).

What lies in the directories comes from blobwalk.py. Whatever else a container has, such as snapshots, is
merged in from a source that gives it in the same order.
"""

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice, takewhile
from typing import Generic, Protocol, TypeVar

from openbatchai.dataplane.blobwalk import Bound, Walk
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import Item, choose_blob_record, item_of
from openbatchai.dataplane.sidestore import Records
from openbatchai.dataplane.tiers import rehydrated
from openbatchai.domain.ports import ItemRef, StorageService

PAGE = 5000
# After so many blobs of one prefix the walk begins anew behind them all.
_PATIENCE = 256
# A blob itself comes after its snapshots.
_LAST = "\U0010ffff"
_LAST_CODE_POINT = 0x10FFFF


@dataclass(frozen=True)
class BlobQuery:
    """`include` names what beside the blobs is wanted; `start_from` is the least name, all names
    are less than `end_before` (if it is not empty)."""

    prefix: str = ""
    delimiter: str = ""
    marker: str = ""
    limit: int = PAGE
    start_from: str = ""
    end_before: str = ""
    include: frozenset[str] = field(default_factory=frozenset)


EntryT = TypeVar("EntryT")


@dataclass(frozen=True)
class Page(Generic[EntryT]):
    """One page of a listing; `next_marker` is empty on the last."""

    entries: list[EntryT]
    next_marker: str


class ListingSource(Protocol):
    """More entries for the listing of a container: what `include` has one word for.

    Items whose `listed` says what they are, with names that begin with `prefix` and are not before `start`,
    ordered by name and then by snapshot.
    """

    def __call__(self, account: str, container: str, *, prefix: str, start: str) -> Iterator[Item]: ...


# A name, which of its entries (its snapshot, or _LAST), and what is known: the stat of a blob, an item, or
# None for a common prefix.
_Entry = tuple[str, str, os.stat_result | Item | None]


class BlobListing:
    """`sources` by the word of `include` that asks for them."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.sources: dict[str, ListingSource] = {}

    def page(self, account: str, container: str, query: BlobQuery, now_ns: int = 0) -> "Page[Item | str]":
        """Items and, with a delimiter, common prefixes (plain strings), merged in code point order.

        `now_ns` decides what is told of leases of limited duration.
        """
        after = _decode_position(query.marker) if query.marker else None
        bound = _bound(query, after)
        extra = [
            source(account, container, prefix=query.prefix, start=bound.name)
            for word, source in self.sources.items()
            if word in query.include
        ]
        with self._places.container(account, StorageService.BLOB, container) as directory:
            walk = Walk(directory, self._places.tables)
            entries = _entries(walk, query, bound, extra, after)
            if query.end_before:
                entries = takewhile(lambda entry: entry[0] < query.end_before, entries)
            found = list(islice(entries, query.limit + 1))
        page = found[: query.limit]
        next_marker = _encode_position(page[-1]) if len(found) > len(page) else ""
        return Page(self._joined(account, container, page, now_ns, in_full=not query.delimiter), next_marker)

    def entries(self, ref: ItemRef) -> list[tuple[str, os.stat_result]]:
        """What the directory `ref` holds, as blobwalk gives it; BlobNotFound when there is none."""
        with self._places.container(ref.account, StorageService.BLOB, ref.container) as directory:
            walk = Walk(directory, self._places.tables)
            found = walk.entries(ref.path.split("/") if ref.path else ())
        if found is None:
            raise StorageError(StorageCode.BLOB_NOT_FOUND)
        return found

    def _joined(
        self, account: str, container: str, page: list[_Entry], now_ns: int, *, in_full: bool
    ) -> list[Item | str]:
        names = [name for name, _, found in page if isinstance(found, os.stat_result)]
        records: Mapping[str, Records] | None = None
        store = self._places.store(account)
        if names and in_full:
            most = 2 * len(names)
            records = store.records_between(StorageService.BLOB, container, names[0], names[-1], most=most)
        if records is None:
            # Between two of these names may lie a million others, behind a common prefix or deleted by a job.
            records = store.records_of(StorageService.BLOB, container, names) if names else {}
        nothing: Records = (None, None)
        entries: list[Item | str] = []
        for name, _, found in page:
            if found is None:
                entries.append(name)
            elif isinstance(found, Item):
                entries.append(found)
            else:
                record = choose_blob_record(found, *records.get(name, nothing))
                if record is not None and record.rehydrating_to:
                    record = rehydrated(record, now_ns)
                entries.append(item_of(name, found, record, now_ns=now_ns))
        return entries


def encode_marker(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode("utf-8")).decode("ascii")


def decode_marker(marker: str) -> str:
    try:
        return base64.urlsafe_b64decode(marker.encode("ascii")).decode("utf-8")
    except (ValueError, binascii.Error):
        raise StorageError(
            StorageCode.INVALID_QUERY, "The marker is not one that this service gave."
        ) from None


def _encode_position(entry: _Entry) -> str:
    name, rank, _ = entry
    return encode_marker(name if rank == _LAST else f"{name}\0{rank}")


def _decode_position(marker: str) -> tuple[str, str]:
    name, nul, rank = decode_marker(marker).partition("\0")
    return name, rank if nul else _LAST


def _bound(query: BlobQuery, after: tuple[str, str] | None) -> Bound:
    """The least name that the page may hold."""
    if after is None:
        return Bound(query.start_from)
    name, rank = after
    if query.delimiter and query.delimiter in name[len(query.prefix) :]:
        # It was a common prefix: everything that begins so has been told of.
        bound = Bound(behind(name))
    else:
        bound = Bound(name, is_included=rank != _LAST)
    return bound if bound.name >= query.start_from else Bound(query.start_from)


def behind(prefix: str) -> str:
    """The least string after all that begin with `prefix`; a string after all names when there is none."""
    while prefix:
        code = ord(prefix[-1])
        prefix = prefix[:-1]
        if code < _LAST_CODE_POINT:
            # The surrogates are in no name, and in no marker.
            return prefix + chr(0xE000 if code == 0xD7FF else code + 1)
    return _LAST * 1025


def _entries(
    walk: Walk,
    query: BlobQuery,
    bound: Bound,
    extra: list[Iterator[Item]],
    after: tuple[str, str] | None,
) -> Iterator[_Entry]:
    if query.delimiter == "/":
        seen: Iterator[_Entry] = ((name, _LAST, found) for name, found in walk.children(query.prefix, bound))
        if not extra:
            return seen
    elif not query.delimiter:
        seen = ((name, _LAST, found) for name, found in walk.blobs(query.prefix, bound))
        if not extra:
            return seen
    else:
        seen = _folded_walk(walk, query, bound)
        if not extra:
            return seen
    others = (_folded_items(items, query, bound, after) for items in extra)
    return _without_repeats(merge(seen, *others, key=lambda entry: entry[:2]))


def _folded_walk(walk: Walk, query: BlobQuery, bound: Bound) -> Iterator[_Entry]:
    """Common prefixes for a delimiter that is no directory separator."""
    told = None
    start: Bound | None = bound
    while start is not None:
        blobs, start, skipped = walk.blobs(query.prefix, start), None, 0
        for name, found in blobs:
            common = _common_prefix(name, query)
            if common is None:
                yield name, _LAST, found
            elif common != told:
                told, skipped = common, 0
                yield common, _LAST, None
            else:
                skipped += 1
                if skipped == _PATIENCE:
                    start = Bound(behind(common))
                    break


def _folded_items(
    items: Iterator[Item], query: BlobQuery, bound: Bound, after: tuple[str, str] | None
) -> Iterator[_Entry]:
    for item in items:
        rank = (item.listed.snapshot if item.listed else "") or _LAST
        if not bound.admits(item.name) or (after is not None and (item.name, rank) <= after):
            continue
        common = _common_prefix(item.name, query)
        yield (item.name, rank, item) if common is None else (common, _LAST, None)


def _common_prefix(name: str, query: BlobQuery) -> str | None:
    if not query.delimiter:
        return None
    head, delimiter, _ = name[len(query.prefix) :].partition(query.delimiter)
    return query.prefix + head + delimiter if delimiter else None


def _without_repeats(entries: Iterator[_Entry]) -> Iterator[_Entry]:
    """Each common prefix once, and of two that tell of the same blob the first."""
    last: tuple[str, str] | None = None
    for entry in entries:
        if entry[:2] != last:
            yield entry
        last = entry[:2]
