"""A data plane whose clock a test moves, with one container."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.blobtree import BlobProperties
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.containers import ContainerSettings
from openbatchai.dataplane.records import Item
from openbatchai.domain.ports import ItemRef, StorageService

CONTAINER = ItemRef(StorageService.BLOB, "acct", "data")
BLOB = ItemRef(StorageService.BLOB, "acct", "data", "b")


class NoKeys:
    def keys(self, account: str) -> None:
        return None


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 20, 10, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def pass_seconds(self, seconds: int) -> None:
        self.time += timedelta(seconds=seconds)


class Place:
    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, Watch()
        self.storage = self._open()
        self.storage.create_account("acct")
        self.storage.containers.create(CONTAINER, ContainerSettings())

    def restart(self) -> None:
        self.storage.close()
        self.storage = self._open()
        self.storage.recovered.result()

    def _open(self) -> Storage:
        # Nobody signs anything here.
        return Storage(self.root, NoKeys(), self.clock, FsyncPolicy.NEVER)

    def put(self, lease_id: str | None = None, *, content: bytes = b"", ref: ItemRef = BLOB) -> Item:
        upload = self.storage.blobs.new_upload("acct", hashing=False)
        try:
            upload.write(content)
            return self.storage.blobs.put(ref, upload, BlobProperties(), Conditions(lease_id=lease_id))
        finally:
            upload.discard()
