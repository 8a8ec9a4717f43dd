"""The data plane as one object: what the HTTP apps serve and the control plane uses."""

import base64
import hmac
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from stat import S_ISDIR

from openbatchai.dataplane import recovery, sas
from openbatchai.dataplane.appends import Appends
from openbatchai.dataplane.bloblist import BlobListing, BlobQuery, Page
from openbatchai.dataplane.blobs import Blobs
from openbatchai.dataplane.blobsnapshots import BlobSnapshots
from openbatchai.dataplane.blobtree import BlobTree
from openbatchai.dataplane.containers import Containers, ContainerSettings
from openbatchai.dataplane.copies import Copies
from openbatchai.dataplane.directories import Directories
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.filecopies import FileCopies
from openbatchai.dataplane.files import Files
from openbatchai.dataplane.names import check_path
from openbatchai.dataplane.pages import Pages
from openbatchai.dataplane.permissions import Permissions
from openbatchai.dataplane.places import FsyncPolicy, Places
from openbatchai.dataplane.readers import ReaderMarks
from openbatchai.dataplane.records import Item, whole_seconds
from openbatchai.dataplane.retained import recover_retained
from openbatchai.dataplane.service_settings import Settings
from openbatchai.dataplane.sharemoves import Moves, finish_moves
from openbatchai.dataplane.sharesnapshots import ShareSnapshots, drop_unfinished
from openbatchai.dataplane.sharetree import ShareTree
from openbatchai.dataplane.tagged import Tagged
from openbatchai.dataplane.usage import Usage
from openbatchai.domain.ports import (
    AccountRules,
    Clock,
    DirectoryEntry,
    ItemRef,
    KeyRing,
    MountRefusedError,
    StorageService,
)

_NO_LIMIT = 2**62
# No word of the service: clients ask for both.
_DELETED_SNAPSHOTS = "deleted snapshots"


class Storage:
    """Implements domain.ports.StorageContent over the directories below `root`.

    `keys` and `rules` (of an account) are asked on the server's event loop for each request, so they must
    answer from memory.
    """

    def __init__(
        self,
        root: Path,
        keys: KeyRing,
        clock: Clock,
        fsync: FsyncPolicy = FsyncPolicy.CLOSE,
        rules: Callable[[str], AccountRules] = lambda account: AccountRules(),
    ) -> None:
        self.keys = keys
        self.rules = rules
        self.clock = clock
        self.places = Places(root, fsync, lambda account: keys.keys(account) is not None)
        self.settings = Settings(self.places)
        self.containers = Containers(
            self.places,
            clock,
            lambda account, service: self.settings.get(account, service).container_retention_days,
        )
        # Before anything looks for what containers have: some may be half out of sight.
        recover_retained(self.places, self.containers.retained)
        recovery.finish_appends(self.places)
        finish_moves(self.places)
        drop_unfinished(self.places)
        # Done once nothing is left of what a killed service was doing; clients need not wait for it.
        self.recovered = self.places.in_background(lambda: recovery.drop_orphans(self.places))
        self.readers = ReaderMarks()
        self.usage = Usage(self.places)
        self._tree = BlobTree(self.places, clock, self._kept_days)
        recovery.recover_kept(self.places, self._tree.kept)
        self.blobs = Blobs(self._tree)
        self.snapshots = BlobSnapshots(self._tree)
        self.appends = Appends(self._tree)
        self.pages = Pages(self._tree)
        self.tagged = Tagged(self._tree)
        self.listing = BlobListing(self.places)
        self.listing.sources["snapshots"] = self._tree.kept.listed_snapshots
        self.listing.sources["uncommittedblobs"] = self.blobs.listed_uncommitted
        self.listing.sources["deleted"] = self._tree.kept.listed_deleted
        self.listing.sources[_DELETED_SNAPSHOTS] = self._tree.kept.listed_deleted_snapshots
        self.permissions = Permissions(self.places)
        share_tree = ShareTree(self.places, self.permissions, clock)
        self.directories = Directories(share_tree)
        self.files = Files(share_tree)
        self.copies = Copies(self._tree, self.files)
        self.file_copies = FileCopies(share_tree, clock)
        self.moves = Moves(share_tree)
        self.share_snapshots = ShareSnapshots(share_tree, self.containers, self.moves, clock)

    def close(self) -> None:
        self.places.close()

    def check_public_access(self, account: str, access: str) -> None:
        """409 when the account lets no container be public."""
        if access and not self.rules(account).public_access:
            raise StorageError(StorageCode.PUBLIC_ACCESS_NOT_PERMITTED)

    def list_blobs(self, account: str, container: str, query: BlobQuery) -> Page[Item | str]:
        if query.include >= {"snapshots", "deleted"}:
            query = replace(query, include=query.include | {_DELETED_SNAPSHOTS})
        return self.listing.page(account, container, query, self._tree.now_ns())

    def _kept_days(self, account: str) -> int:
        """For how many days the account keeps what is deleted of its blobs."""
        return self.settings.get(account, StorageService.BLOB).delete_retention.days

    def on_read(self, callback: Callable[[ItemRef], None]) -> None:
        """Call `callback`, from any thread, when a SAS reader has been told a file's present end."""
        self.readers.on_read(callback)

    # --- domain.ports.StorageContent

    def create_account(self, account: str) -> None:
        self.places.create_account(account)

    def delete_account(self, account: str) -> None:
        self.places.delete_account(account)
        self.settings.forget(account)

    def create_container(self, ref: ItemRef) -> bool:
        try:
            self.containers.create(ref, ContainerSettings())
        except StorageError as error:
            if error.code.status == 409:
                return False
            raise
        return True

    def list_directory(self, ref: ItemRef) -> list[DirectoryEntry] | None:
        path = ref.path.strip("/")
        place = ItemRef(ref.service, ref.account, ref.container, path)
        try:
            if path:
                check_path(ref.service, path)
            if ref.service is StorageService.FILE:
                page = self.directories.list(place, prefix="", marker="", limit=_NO_LIMIT)
                found = [(item.name, item.is_directory, item.size, item.mtime_ns) for item in page.entries]
            else:
                # The directory itself, not the blob view of it: empty directories are shown.
                entries = self.listing.entries(place)
                found = [
                    (name, S_ISDIR(seen.st_mode), seen.st_size, seen.st_mtime_ns) for name, seen in entries
                ]
        except StorageError:
            return None
        return sorted((_entry(*entry) for entry in found), key=lambda entry: entry.name)

    def read_sas(self, ref: ItemRef, expiry: datetime) -> str:
        keys = self.keys.keys(ref.account)
        if not keys:
            raise KeyError(f"no storage account {ref.account!r}")
        return sas.read_token(ref, base64.b64decode(keys[0]), expiry)

    def unread_since(self, ref: ItemRef, window_s: float) -> bool:
        try:
            if ref.service is StorageService.FILE:
                size = self.files.properties(ref).size
            else:
                size = self.blobs.properties(ref).size
        except StorageError:
            return False
        return self.readers.unread_since(ref, size, window_s)

    def locate(self, ref: ItemRef, account_key: str) -> str:
        share = "share" if ref.service is StorageService.FILE else "container"
        keys = self.keys.keys(ref.account)
        if keys is None:
            raise MountRefusedError(f"account '{ref.account}' does not exist")
        given = account_key.strip().encode("utf-8")
        if not any(hmac.compare_digest(key.encode("utf-8"), given) for key in keys):
            raise MountRefusedError(
                f"the key of account '{ref.account}' is not valid ({share} '{ref.container}')"
            )
        if not self.rules(ref.account).shared_key:
            raise MountRefusedError(
                f"account '{ref.account}' does not permit its keys to be used ({share} '{ref.container}')"
            )
        try:
            path = self.places.container_path(ref.account, ref.service, ref.container)
        except StorageError:
            path = None
        if path is None or not path.is_dir():
            raise MountRefusedError(f"{share} '{ref.container}' does not exist in account '{ref.account}'")
        return os.fspath(path.resolve())


def _entry(name: str, is_directory: bool, size: int, mtime_ns: int) -> DirectoryEntry:
    return DirectoryEntry(name, is_directory, 0 if is_directory else size, whole_seconds(mtime_ns))
