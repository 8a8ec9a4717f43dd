"""Snapshots and soft deletion of one blob against a model of what the service documents."""

import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.timed import BLOB, Place
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openbatchai.dataplane.bloblist import BlobQuery
from openbatchai.dataplane.blobtree import SnapshotsToo
from openbatchai.dataplane.conditions import UNCONDITIONAL
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item
from openbatchai.domain.ports import StorageService


@dataclass
class Snapshot:
    content: bytes
    is_deleted: bool = False


@dataclass
class Model:
    """The blob, what it was when it was deleted, and its snapshots from the oldest."""

    keeps: bool = False
    live: bytes | None = None
    deleted: bytes | None = None
    snapshots: list[Snapshot] = field(default_factory=list)

    def set_aside(self) -> None:
        if self.deleted is not None:
            self.snapshots.append(Snapshot(self.deleted, is_deleted=True))
            self.deleted = None

    def put(self, content: bytes) -> None:
        if self.keeps:
            self.set_aside()
            if self.live is not None:
                self.snapshots.append(Snapshot(self.live, is_deleted=True))
        self.live = content

    def delete(self, snapshots: SnapshotsToo) -> StorageCode | None:
        present = [snapshot for snapshot in self.snapshots if not snapshot.is_deleted]
        if self.live is None and (snapshots is SnapshotsToo.REFUSE or not present):
            return StorageCode.BLOB_NOT_FOUND
        if present and snapshots is SnapshotsToo.REFUSE:
            return StorageCode.SNAPSHOTS_PRESENT
        for snapshot in present:
            self.delete_snapshot(snapshot)
        if self.live is not None and snapshots is not SnapshotsToo.ONLY:
            if self.keeps:
                self.set_aside()
                self.deleted = self.live
            self.live = None
        return None

    def delete_snapshot(self, snapshot: Snapshot) -> None:
        if self.keeps:
            snapshot.is_deleted = True
        else:
            self.snapshots = [each for each in self.snapshots if each is not snapshot]

    def undelete(self) -> StorageCode | None:
        if self.live is not None:
            self.set_aside()
        gone = [snapshot for snapshot in self.snapshots if snapshot.is_deleted]
        if self.live is None and self.deleted is None and not gone:
            return StorageCode.BLOB_NOT_FOUND
        for snapshot in gone:
            snapshot.is_deleted = False
        if self.live is None:
            self.live, self.deleted = self.deleted, None
        return None

    def listing(self) -> list[tuple[str, bytes | None]]:
        """What a listing of everything tells; contents of what can be read."""
        told: list[tuple[str, bytes | None]] = [
            ("deleted snapshot", None) if each.is_deleted else ("snapshot", each.content)
            for each in self.snapshots
        ]
        if self.live is not None:
            told.append(("blob", self.live))
        elif self.deleted is not None:
            told.append(("deleted blob", None))
        return told


class KeptMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.place = Place(Path(self._directory.name))
        self.model = Model()
        self.count = 0

    def teardown(self) -> None:
        self.place.storage.close()
        self._directory.cleanup()

    @rule(on=st.booleans())
    def keep_deleted(self, on):
        policy = {"Enabled": "true" if on else "false", "Days": "7" if on else "0"}
        self.place.storage.settings.change("acct", StorageService.BLOB, {"DeleteRetentionPolicy": policy})
        self.model.keeps = on

    @rule()
    def put(self):
        self.count += 1
        self.place.put(content=b"%d" % self.count)
        self.model.put(b"%d" % self.count)

    @rule()
    def restart(self):
        self.place.restart()

    @rule(snapshots=st.sampled_from(SnapshotsToo))
    def delete(self, snapshots):
        expected = self.model.delete(snapshots)
        assert self._code(lambda: self.place.storage.blobs.delete(BLOB, UNCONDITIONAL, snapshots)) == expected

    @rule()
    def undelete(self):
        expected = self.model.undelete()
        assert self._code(lambda: self.place.storage.snapshots.undelete(BLOB)) == expected

    @rule()
    def take_snapshot(self):
        code = self._code(lambda: self.place.storage.snapshots.create(BLOB, None, UNCONDITIONAL))
        if self.model.live is None:
            assert code is StorageCode.BLOB_NOT_FOUND
        else:
            assert code is None
            self.model.snapshots.append(Snapshot(self.model.live))

    @rule(index=st.integers(0, 3))
    def delete_snapshot(self, index):
        present = [snapshot for snapshot in self.model.snapshots if not snapshot.is_deleted]
        if index < len(present):
            times = [item.listed.snapshot for item in self._listed("snapshots") if item.listed]
            self.place.storage.snapshots.delete(replace(BLOB, snapshot=times[index]), UNCONDITIONAL)
            self.model.delete_snapshot(present[index])

    @invariant()
    def the_listing_and_the_contents_are_the_models(self):
        found: list[tuple[str, bytes | None]] = []
        for item in self._listed("snapshots", "deleted"):
            listed = item.listed
            kind = "snapshot" if listed and listed.snapshot else "blob"
            if listed and listed.deleted_ns:
                found.append((f"deleted {kind}", None))
            else:
                found.append((kind, self._read(listed.snapshot if listed else "")))
        assert found == self.model.listing()

    @invariant()
    def only_what_is_kept_lies_there(self):
        home = self.place.root / "acct/.snapshots/blob/data"
        files = len(list(home.iterdir())) if home.exists() else 0
        assert files == len(self.model.snapshots) + (self.model.deleted is not None)

    def _listed(self, *include: str) -> list[Item]:
        query = BlobQuery(include=frozenset(include))
        entries = self.place.storage.list_blobs("acct", "data", query).entries
        return [item for item in entries if isinstance(item, Item)]

    def _read(self, snapshot: str) -> bytes:
        opened = self.place.storage.blobs.open(replace(BLOB, snapshot=snapshot))
        try:
            return os.pread(opened.fd, 100, 0)
        finally:
            os.close(opened.fd)

    @staticmethod
    def _code(call) -> StorageCode | None:
        try:
            call()
        except StorageError as error:
            return error.code
        return None


TestKeptMachine = KeptMachine.TestCase
TestKeptMachine.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
