"""Uncommitted blocks and the join that commits them (storage.md 5.3, Put Block and Put Block List).

Each block is one file in staging, named by its id; there is no other record of it. A block only gets its
name when it is complete, so whatever a crash leaves there is good.
"""

import base64
import binascii
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import UNCOMMITTED_BLOCKS_KEPT_S, Places
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import ItemRef

_ID_BYTES = 64
_BLOCKS = 50_000
# Beside the blocks of a blob, whose names are hexadecimal: the blob's name.
_NAME = "name"


class Source(StrEnum):
    """Where a block list takes a block from."""

    LATEST = "Latest"
    COMMITTED = "Committed"
    UNCOMMITTED = "Uncommitted"


@dataclass(frozen=True)
class Block:
    id: str
    size: int


@dataclass(frozen=True)
class BlockLists:
    committed: tuple[Block, ...]
    uncommitted: tuple[Block, ...]


class Blocks:
    def __init__(self, places: Places) -> None:
        self._places = places

    def add(self, ref: ItemRef, block_id: str, upload: Upload) -> None:
        raw = decode_id(block_id)
        home = self._home(ref)
        self._drop_expired(ref, home)
        if not home.exists():
            self._make(ref, home)
        with os.scandir(home) as entries:
            other = next((entry for entry in entries if entry.name != _NAME), None)
        if other is not None and len(other.name) != 2 * len(raw):
            raise StorageError(
                StorageCode.INVALID_BLOB_OR_BLOCK, "The block ids of one blob must have the same length."
            )
        upload.rename(home / raw.hex())
        self._places.sync_staged_path(home)

    def uncommitted(self, ref: ItemRef) -> tuple[Block, ...]:
        blocks = []
        home = self._home(ref)
        self._drop_expired(ref, home)
        with suppress(FileNotFoundError), os.scandir(home) as entries:
            for entry in entries:
                if entry.name == _NAME:
                    continue
                encoded = base64.b64encode(bytes.fromhex(entry.name)).decode("ascii")
                blocks.append(Block(encoded, entry.stat().st_size))
        return tuple(sorted(blocks, key=lambda block: block.id))

    def names(self, account: str, container: str) -> list[tuple[str, int]]:
        """The blobs of a container that have uncommitted blocks, by name, with the latest one's time (ns)."""
        found = []
        for home in self._places.all_blocks(account, container):
            with suppress(FileNotFoundError):
                changed = home.stat().st_mtime_ns
                if changed >= _expiry_ns():
                    found.append(((home / _NAME).read_text("utf-8"), changed))
        return sorted(found)

    def choose(self, wanted: list[tuple[Source, str]], lists: BlockLists) -> list[tuple[Source, Block]]:
        """Which block each entry of a block list means; InvalidBlockList when one is nowhere."""
        if len(wanted) > _BLOCKS:
            raise StorageError(StorageCode.BLOCK_COUNT)
        committed = {decode_id(block.id): block for block in lists.committed}
        uncommitted = {decode_id(block.id): block for block in lists.uncommitted}
        chosen = []
        for source, block_id in wanted:
            raw = decode_id(block_id)
            if source is not Source.COMMITTED and raw in uncommitted:
                chosen.append((Source.UNCOMMITTED, uncommitted[raw]))
            elif source is not Source.UNCOMMITTED and raw in committed:
                chosen.append((Source.COMMITTED, committed[raw]))
            else:
                raise StorageError(StorageCode.INVALID_BLOCK_LIST)
        return chosen

    def join(
        self,
        ref: ItemRef,
        chosen: list[tuple[Source, Block]],
        lists: BlockLists,
        blob: int | None,
        upload: Upload,
    ) -> None:
        """Write the chosen blocks one after the other; `blob` is the open present content."""
        offsets, offset = {}, 0
        for block in lists.committed:
            offsets[block.id] = offset
            offset += block.size
        home = self._home(ref)
        for source, block in chosen:
            if source is Source.COMMITTED and blob is not None:
                upload.append_from(blob, offsets[block.id], block.size)
                continue
            try:
                fd = os.open(home / decode_id(block.id).hex(), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                # Another commit of the same blob was faster and has used the blocks up.
                raise StorageError(StorageCode.INVALID_BLOCK_LIST) from None
            try:
                upload.append_from(fd, 0, block.size)
            finally:
                os.close(fd)

    def _make(self, ref: ItemRef, home: Path) -> None:
        """Its name is a hash: the blob's own goes into it, before any block does."""
        made = self._places.made_path(ref.account)
        made.mkdir(parents=True)
        with (made / _NAME).open("wb") as file:
            file.write(ref.path.encode("utf-8"))
            file.flush()
            self._places.sync_staged(file.fileno())
        home.parent.mkdir(parents=True, exist_ok=True)
        made.rename(home)
        for directory in (home.parent, home.parent.parent):
            self._places.sync_staged_path(directory)

    def _drop_expired(self, ref: ItemRef, home: Path) -> None:
        with suppress(FileNotFoundError):
            if home.stat().st_mtime_ns < _expiry_ns():
                self._places.drop_blocks(ref)

    def _home(self, ref: ItemRef) -> Path:
        return self._places.blocks_home(ref)


def _expiry_ns() -> int:
    """Blocks that nothing was added to since then are gone. By the clock that file times are from."""
    return time.time_ns() - UNCOMMITTED_BLOCKS_KEPT_S * 1_000_000_000


def decode_id(block_id: str) -> bytes:
    try:
        raw = base64.b64decode(block_id, validate=True)
    except (ValueError, binascii.Error):
        raise StorageError(StorageCode.INVALID_BLOCK_ID) from None
    if not 1 <= len(raw) <= _ID_BYTES:
        raise StorageError(StorageCode.INVALID_BLOCK_ID)
    return raw
