"""Finding the blobs of an account by their tags (storage.md 5.1, Find by tags)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from openbatchai.dataplane.bloblist import Page, decode_marker, encode_marker
from openbatchai.dataplane.blobtree import BlobTree
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.tags import Search
from openbatchai.domain.ports import ItemRef

_BATCH = 1000


@dataclass(frozen=True)
class Found:
    """`tags` are those that the search asked about."""

    container: str
    name: str
    tags: Mapping[str, str]


class Tagged:
    def __init__(self, tree: BlobTree) -> None:
        self._tree = tree

    def find(self, ref: ItemRef, search: Search, marker: str, limit: int) -> Page[Found]:
        """Blobs whose tags match, by container and name; those of `ref.container` when it names one."""
        after = _decode(marker)
        if ref.container:
            with self._tree.container(ref):
                pass
        if ref.container and search.container not in ("", ref.container):
            return Page([], "")
        found = list(islice(self._matching(ref, search, after), limit + 1))
        page = found[:limit]
        more = len(found) > limit
        return Page(page, encode_marker(json.dumps([page[-1].container, page[-1].name])) if more else "")

    def _matching(self, ref: ItemRef, search: Search, after: tuple[str, str]) -> Iterator[Found]:
        only = ref.container or search.container
        store = self._tree.store(ref)
        while True:
            rows = store.tagged_after(after, only, _BATCH)
            for container, path in rows:
                tags = self._tags(ItemRef(ref.service, ref.account, container, path))
                if tags and search.matches(tags):
                    asked = {key: value for key, value in tags.items() if key in search.keys}
                    yield Found(container, path, asked or tags)
            if len(rows) < _BATCH:
                return
            after = rows[-1]

    def _tags(self, ref: ItemRef) -> Mapping[str, str]:
        """The tags of the blob as it is now: the file may be gone, or not have come."""
        try:
            with self._tree.container(ref) as container:
                item = self._tree.find(container, ref)
        except StorageError:
            return {}
        return item.tags if item else {}


def _decode(marker: str) -> tuple[str, str]:
    if not marker:
        return "", ""
    try:
        container, name = json.loads(decode_marker(marker))
        return str(container), str(name)
    except ValueError:
        raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "marker"}) from None
