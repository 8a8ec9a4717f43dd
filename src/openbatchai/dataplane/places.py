"""Where accounts, containers and staging lie on disk, and the locks and durability they share.

Layout (storage.md 9): `{root}/{account}/{blob|file}/{container}/…` is the users' tree and nothing else;
`.meta/` holds the side store, `.staging/` unfinished uploads. All on one file system, so that a rename
finishes an upload.
"""

import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.names import is_account_name, is_container_name
from openbatchai.dataplane.records import Identity
from openbatchai.dataplane.sidestore import Key, SideStore
from openbatchai.domain.ports import ItemRef, StorageService

_META = ".meta"
_STAGING = ".staging"
_UPLOADS = "uploads"
_BLOCKS = "blocks"
_DELETED = "deleted"
_LOCKS = 64
UNCOMMITTED_BLOCKS_KEPT_S = 7 * 24 * 3600


class FsyncPolicy(StrEnum):
    """ALWAYS also syncs directories, records and each range; CLOSE syncs content when an upload ends."""

    ALWAYS = "always"
    CLOSE = "close"
    NEVER = "never"


class Places:
    def __init__(self, root: Path, fsync: FsyncPolicy) -> None:
        self.root = root
        self.fsync = fsync
        self._stores: dict[str, SideStore] = {}
        self._stores_lock = threading.Lock()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-remover")
        root.mkdir(parents=True, exist_ok=True)
        self._clean()

    def close(self) -> None:
        self._remover.shutdown(wait=True)
        with self._stores_lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()

    # --- accounts

    def create_account(self, account: str) -> None:
        if not is_account_name(account):
            raise ValueError(f"not a storage account name: {account!r}")
        home = self.root / account
        for service in StorageService:
            (home / service.value).mkdir(parents=True, exist_ok=True)
        (home / _META).mkdir(mode=0o700, exist_ok=True)
        for name in (_UPLOADS, _BLOCKS, _DELETED):
            (home / _STAGING / name).mkdir(parents=True, exist_ok=True)
        (home / _STAGING).chmod(0o700)

    def delete_account(self, account: str) -> None:
        with self._stores_lock:
            store = self._stores.pop(account, None)
            if store is not None:
                store.close()
            home = self.root / account
            grave = self.root / f".deleted-{uuid.uuid4().hex}"
            with suppress(FileNotFoundError):
                home.rename(grave)
        self._remover.submit(shutil.rmtree, grave, ignore_errors=True)

    def store(self, account: str) -> SideStore:
        store = self._stores.get(account)
        if store is not None:
            return store
        with self._stores_lock:
            if account not in self._stores:
                self.create_account(account)
                file = self.root / account / _META / "side.db"
                self._stores[account] = SideStore(file, durable=self.fsync is FsyncPolicy.ALWAYS)
            return self._stores[account]

    # --- containers

    def service_home(self, account: str, service: StorageService) -> Path:
        return self.root / account / service.value

    def container_path(self, account: str, service: StorageService, container: str) -> Path:
        if not is_account_name(account) or not is_container_name(container):
            raise missing_container(service)
        return self.root / account / service.value / container

    @contextmanager
    def container(self, account: str, service: StorageService, container: str) -> Iterator[int]:
        """The descriptor of the container's directory; 404 when there is none."""
        path = self.container_path(account, service, container)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise missing_container(service) from None
        try:
            yield fd
        finally:
            os.close(fd)

    def remove_container(self, account: str, service: StorageService, container: str) -> None:
        """Take the tree away in one rename; its content goes in the background."""
        path = self.container_path(account, service, container)
        staging = self.root / account / _STAGING
        (staging / _DELETED).mkdir(parents=True, exist_ok=True)
        graves = [staging / _DELETED / uuid.uuid4().hex]
        try:
            path.rename(graves[0])
        except FileNotFoundError:
            raise missing_container(service) from None
        if service is StorageService.BLOB:
            graves.append(staging / _DELETED / uuid.uuid4().hex)
            with suppress(FileNotFoundError):
                (staging / _BLOCKS / container).rename(graves[1])
        self.store(account).drop_container(service, container)
        for grave in graves:
            self._remover.submit(shutil.rmtree, grave, ignore_errors=True)

    # --- staging

    def upload_path(self, account: str) -> Path:
        self.store(account)
        return self.root / account / _STAGING / _UPLOADS / uuid.uuid4().hex

    def blocks_home(self, ref: ItemRef) -> Path:
        """Where a blob's uncommitted blocks lie. They outlive a restart: a client may be in mid-upload."""
        name = hashlib.sha256(ref.path.encode("utf-8")).hexdigest()
        return self.root / ref.account / _STAGING / _BLOCKS / ref.container / name

    def drop_blocks(self, ref: ItemRef) -> None:
        home = self.blocks_home(ref)
        if home.exists():
            shutil.rmtree(home, ignore_errors=True)

    # --- locks and durability

    @contextmanager
    def locked(self, account: str, key: Key) -> Iterator[None]:
        """One writer at a time per item within this process; between processes the rename decides."""
        with self._locks[hash((account, key)) % _LOCKS]:
            yield

    def sync_content(self, fd: int) -> None:
        if self.fsync is not FsyncPolicy.NEVER:
            os.fdatasync(fd)

    def sync_staged(self, fd: int) -> None:
        """A block is copied into the blob that commits it, and that is synced."""
        if self.fsync is FsyncPolicy.ALWAYS:
            os.fdatasync(fd)

    def sync_range(self, fd: int, *, reaches_end: bool) -> None:
        """Nothing tells when a client is done with a file; its last range is the nearest thing to a close."""
        if self.fsync is FsyncPolicy.ALWAYS or (reaches_end and self.fsync is FsyncPolicy.CLOSE):
            os.fdatasync(fd)

    def sync_directory(self, fd: int) -> None:
        if self.fsync is FsyncPolicy.ALWAYS:
            os.fsync(fd)

    # --- after a crash

    def _clean(self) -> None:
        """Remove what a killed service left half done; nothing of it was ever acknowledged.

        Deleted trees may be huge and are out of everybody's sight, so they go in the background.
        """
        graves = [*self.root.glob(".deleted-*"), *self.root.glob(f"*/{_STAGING}/{_DELETED}/*")]
        for grave in graves:
            self._remover.submit(shutil.rmtree, grave, ignore_errors=True)
        for staging in self.root.glob(f"*/{_STAGING}"):
            self._withdraw(staging)
            shutil.rmtree(staging / _UPLOADS, ignore_errors=True)
            (staging / _UPLOADS).mkdir(exist_ok=True)
            _drop_old_blocks(staging / _BLOCKS, time.time() - UNCOMMITTED_BLOCKS_KEPT_S)

    def _withdraw(self, staging: Path) -> None:
        """What is left of uploads may have been announced to the side store as a blob's next content."""
        left = [Identity.of(file.stat()) for file in (staging / _UPLOADS).glob("*")]
        if left:
            self.store(staging.parent.name).withdraw_all(left)


def missing_container(service: StorageService) -> StorageError:
    is_file = service is StorageService.FILE
    return StorageError(StorageCode.SHARE_NOT_FOUND if is_file else StorageCode.CONTAINER_NOT_FOUND)


def remove_empty_directories(parent: int, name: str) -> None:
    """Remove the directory `name` when no file is anywhere in it; OSError (ENOTEMPTY) otherwise."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        with os.scandir(fd) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for child in names:
            remove_empty_directories(fd, child)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def _drop_old_blocks(home: Path, before: float) -> None:
    for upload in home.glob("*/*"):
        with suppress(FileNotFoundError):
            if upload.stat().st_mtime < before:
                shutil.rmtree(upload, ignore_errors=True)
