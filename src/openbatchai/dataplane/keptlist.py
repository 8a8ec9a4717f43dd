"""Listing blobs together with their snapshots and with what was softly deleted (storage.md 5.2).

The listing of what is there (bloblist) is merged with the rows of what is kept. A blob's snapshots come
before it, the oldest first; what was deleted and had no snapshot time stands in the blob's own place.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from heapq import merge
from itertools import islice

from openbatchai.dataplane.bloblist import BlobQuery, Page, decode_marker, encode_marker
from openbatchai.dataplane.blobtree import BlobTree
from openbatchai.dataplane.keptrows import Kept
from openbatchai.dataplane.records import Item
from openbatchai.domain.ports import ItemRef

# Later than every time and than keptrows.ITSELF: a blob comes after all that is kept of it.
_LIVE = "~~"
_LAST = "\U0010ffff"
ListBlobs = Callable[[BlobQuery], Page[Item | str]]

# (name, place among the states of that name), and what stands there: an item or a common prefix.
_Entry = tuple[tuple[str, str], Item | str]


def list_with_kept(tree: BlobTree, ref: ItemRef, query: BlobQuery, list_blobs: ListBlobs) -> Page[Item | str]:
    """A page of the container `ref` with snapshots, softly deleted blobs, or (both) deleted snapshots too."""
    name, _, place = decode_marker(query.marker).partition("\0")
    after = (name, place or _LIVE)
    live = _live(tree, ref, query, list_blobs, after)
    kept = _kept(tree, ref, query, after)
    found = list(islice(_single(merge(live, kept, key=lambda entry: entry[0])), query.limit + 1))
    page = found[: query.limit]
    more = len(found) > len(page)
    marker = "\0".join(page[-1][0]) if more else ""
    return Page([entry for _, entry in page], encode_marker(marker) if more else "")


def _live(
    tree: BlobTree, ref: ItemRef, query: BlobQuery, list_blobs: ListBlobs, after: tuple[str, str]
) -> Iterator[_Entry]:
    name, place = after
    if name and place != _LIVE:
        # The last page ended among the states of this name.
        with tree.container(ref) as container:
            item = tree.find(container, replace(ref, path=name))
        if item is not None:
            yield (name, _LIVE), item
    marker = encode_marker(name) if name else ""
    while True:
        page = list_blobs(replace(query, marker=marker))
        for entry in page.entries:
            yield (entry if isinstance(entry, str) else entry.name, _LIVE), entry
        if not page.next_marker:
            return
        marker = page.next_marker


def _kept(tree: BlobTree, ref: ItemRef, query: BlobQuery, after: tuple[str, str]) -> Iterator[_Entry]:
    now_ns = tree.now_ns()
    name, time = after
    # A page that ended with a common prefix is done with all names under it.
    folded = bool(query.delimiter) and name.endswith(query.delimiter) and len(name) > len(query.prefix)
    rows = tree.kept.rows(ref.account)
    while True:
        start = (name + _LAST, "") if folded else (name, time)
        folded = False
        for kept in rows.after(ref.service.value, ref.container, *start, query.prefix):
            if not _wanted(kept, query, now_ns):
                continue
            prefix = _common_prefix(kept.item.name, query)
            if prefix:
                yield (prefix, _LIVE), prefix
                name, folded = prefix, True
                break
            yield (kept.item.name, kept.time), kept.told(now_ns)
        if not folded:
            return


def _wanted(kept: Kept, query: BlobQuery, now_ns: int) -> bool:
    if kept.deleted_ns and (not query.deleted or kept.expires_ns <= now_ns):
        return False
    return query.snapshots or not kept.is_snapshot


def _common_prefix(name: str, query: BlobQuery) -> str:
    if not query.delimiter:
        return ""
    head, delimiter, _ = name[len(query.prefix) :].partition(query.delimiter)
    return query.prefix + head + delimiter if delimiter else ""


def _single(entries: Iterator[_Entry]) -> Iterator[_Entry]:
    """Without the second of a common prefix that both sides have."""
    last: tuple[str, str] | None = None
    for place, entry in entries:
        if place != last:
            yield place, entry
        last = place
