"""Reading blobs, and the calls that make or change a block blob (storage.md 5.3)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from openbatchai.dataplane.blobtree import BLOCK_BLOB, BlobProperties, BlobTree, OpenItem, SnapshotsToo
from openbatchai.dataplane.blocks import Block, BlockLists, Blocks, Source
from openbatchai.dataplane.conditions import UNCONDITIONAL, Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.integrity import NO_CHECKS, Checks
from openbatchai.dataplane.leases import Lease, LeaseRequest
from openbatchai.dataplane.records import ContentHeaders, Identity, Item, Record
from openbatchai.dataplane.tiers import with_tier
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import ItemRef, StorageService


class Blobs:
    def __init__(self, tree: BlobTree) -> None:
        self._tree = tree
        self._blocks = Blocks(tree.places)

    # --- reading

    def open(self, ref: ItemRef) -> OpenItem:
        return self._tree.open(ref)

    def check_read(self, item: Item, conditions: Conditions) -> None:
        """Raises for a demand of the request, its lease id included, that the blob does not meet."""
        self._tree.check_read(item, conditions)

    def properties(self, ref: ItemRef, conditions: Conditions = UNCONDITIONAL) -> Item:
        item = self._tree.properties(ref)
        self._tree.check_read(item, conditions)
        return item

    def block_lists(
        self, ref: ItemRef, conditions: Conditions = UNCONDITIONAL
    ) -> tuple[Item | None, BlockLists]:
        with self._tree.container(ref) as container:
            item = self._tree.find(container, ref)
        if item is not None:
            self._tree.check_read(item, conditions)
        _check_type(item)
        uncommitted = () if ref.snapshot else self._blocks.uncommitted(ref)
        lists = BlockLists(self._committed(ref, item), uncommitted)
        if item is None and not lists.uncommitted:
            raise StorageError(StorageCode.BLOB_NOT_FOUND)
        return item, lists

    def listed_uncommitted(self, account: str, container: str, *, prefix: str, start: str) -> Iterator[Item]:
        """Blobs of which there are only blocks yet, for a listing that asks for them."""
        ref = ItemRef(StorageService.BLOB, account, container)
        with self._tree.container(ref) as directory:
            for name, changed_ns in self._blocks.names(account, container):
                if not name.startswith(prefix) or name < start:
                    continue
                if self._tree.find(directory, replace(ref, path=name)) is None:
                    yield Item(name, False, 0, 0, changed_ns, changed_ns, None)

    # --- writing

    def new_upload(self, account: str, *, hashing: bool, checks: Checks = NO_CHECKS) -> Upload:
        return self._tree.new_upload(account, hashing=hashing, checks=checks)

    def put(
        self,
        ref: ItemRef,
        upload: Upload,
        wanted: BlobProperties,
        conditions: Conditions,
        *,
        blob_type: str = BLOCK_BLOB,
    ) -> Item:
        """Make `upload` the blob."""
        return self._tree.replace(ref, upload, wanted, conditions, blob_type=blob_type)

    def put_block(
        self, ref: ItemRef, block_id: str, upload: Upload, conditions: Conditions = UNCONDITIONAL
    ) -> None:
        """Of `conditions` only the lease: a block does not change the blob yet."""
        self._tree.places.sync_staged(upload.fd)
        with self._tree.locked(ref), self._tree.container(ref) as container:
            current = self._tree.find(container, ref)
            self._tree.check_write(ref, current, conditions)
            _check_type(current)
            self._blocks.add(ref, block_id, upload)

    def put_block_list(
        self,
        ref: ItemRef,
        wanted_blocks: list[tuple[Source, str]],
        wanted: BlobProperties,
        conditions: Conditions,
    ) -> Item:
        with self._tree.container(ref) as container:
            current = self._tree.find(container, ref)
            self._tree.check_write(ref, current, conditions, creates=True)
            _check_type(current)
            lists = BlockLists(self._committed(ref, current), self._blocks.uncommitted(ref))
            chosen = self._blocks.choose(wanted_blocks, lists)
            keeps = any(source is Source.COMMITTED for source, _ in chosen)
            upload = self._tree.new_upload(ref.account, hashing=False)
            try:
                with self._content(container, ref, current if keeps else None) as blob:
                    self._blocks.join(ref, chosen, lists, blob, upload)
                text = "\n".join(f"{block.id} {block.size}" for _, block in chosen)
                return self._tree.replace(ref, upload, wanted, conditions, blocks=text)
            finally:
                upload.discard()

    def set_metadata(self, ref: ItemRef, metadata: Mapping[str, str], conditions: Conditions) -> Item:
        return self._tree.update(ref, conditions, lambda record: replace(record, metadata=dict(metadata)))

    def set_content(self, ref: ItemRef, content: ContentHeaders, md5: str, conditions: Conditions) -> Item:
        return self._tree.update(
            ref, conditions, lambda record: replace(record, content=content, md5=md5, copy={})
        )

    def set_tags(self, ref: ItemRef, tags: Mapping[str, str], conditions: Conditions) -> Item:
        def change(record: Record) -> Record:
            return replace(record, tags=dict(tags))

        return self._tree.update(ref, conditions, change, keeps_version=True)

    def set_tier(self, ref: ItemRef, tier: str, priority: str, conditions: Conditions) -> bool:
        """Remember the tier; whether the blob now is on its way out of the archive."""
        now_ns = self._tree.now_ns()
        changed = self._tree.update(
            ref, conditions, lambda record: with_tier(record, tier, priority, now_ns), keeps_version=True
        )
        return bool(changed.rehydrating_to)

    def delete(
        self, ref: ItemRef, conditions: Conditions, snapshots: SnapshotsToo = SnapshotsToo.REFUSE
    ) -> bool:
        """Delete the blob, its snapshots, or both; whether that can be taken back."""
        return self._tree.remove(ref, conditions, snapshots)

    def lease(self, ref: ItemRef, request: LeaseRequest, conditions: Conditions) -> tuple[Item, Lease | None]:
        """The blob and the lease it has now."""
        return self._tree.lease(ref, request, conditions)

    # --- parts

    def _committed(self, ref: ItemRef, item: Item | None) -> tuple[Block, ...]:
        if item is None:
            return ()
        text = self._tree.blocks(ref, item)
        parts = (line.rpartition(" ") for line in text.splitlines())
        return tuple(Block(block_id, int(size)) for block_id, _, size in parts)

    @contextmanager
    def _content(self, container: int, ref: ItemRef, current: Item | None) -> Iterator[int | None]:
        """The present blob's bytes, for block lists that keep some of its blocks.

        InvalidBlockList when another content took their place meanwhile.
        """
        if current is None:
            yield None
            return
        try:
            fd = self._tree.open_file(container, ref)
        except FileNotFoundError:
            raise StorageError(StorageCode.INVALID_BLOCK_LIST) from None
        try:
            if Identity.of(os.fstat(fd)) != current.identity:
                raise StorageError(StorageCode.INVALID_BLOCK_LIST)
            yield fd
        finally:
            os.close(fd)


def _check_type(item: Item | None) -> None:
    if item is not None and item.blob_type != BLOCK_BLOB:
        raise StorageError(StorageCode.INVALID_BLOB_TYPE)
