"""Where accounts, containers and staging lie on disk, and the locks and durability they share.

Layout (storage.md 9): `{root}/{account}/{blob|file}/{container}/…` is the users' tree and nothing else;
`.meta/` holds the side store, `.staging/` unfinished uploads, `.snapshots/{blob|file}/{container}/` what
snapshots and soft deletion keep. All on one file system, so that a rename finishes an upload.
"""

import ctypes
import errno
import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from openbatchai.dataplane.beneath import open_directory_fd
from openbatchai.dataplane.dirtables import DirectoryTables
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.names import is_account_name, is_container_name
from openbatchai.dataplane.records import Identity
from openbatchai.dataplane.sidedb import missing_account
from openbatchai.dataplane.sidestore import Key, SideStore
from openbatchai.dataplane.snapshottimes import is_snapshot_time
from openbatchai.domain.ports import ItemRef, StorageService

_libc = ctypes.CDLL(None, use_errno=True)
_META = ".meta"
_SNAPSHOTS = ".snapshots"
_STAGING = ".staging"
_RETAINED = ".retained"
_UPLOADS = "uploads"
_BLOCKS = "blocks"
_DELETED = "deleted"
_APPENDS = "appends"
_MADE = "made"
_LOCKS = 64
UNCOMMITTED_BLOCKS_KEPT_S = 7 * 24 * 3600


class FsyncPolicy(StrEnum):
    """What an acknowledged call survives when the machine loses power (docs/storage.md, "Durability").

    CLOSE syncs content, name and record of everything that is complete with one call; of what comes in parts,
    staged blocks are synced with the commit and ranges of a file with its last one. ALWAYS syncs each part.
    """

    ALWAYS = "always"
    CLOSE = "close"
    NEVER = "never"


class _Opened(AbstractContextManager[int]):
    """A descriptor, closed at the end. No generator: on every request's way."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class Places:
    """`has_account`: whether there is an account of a name that has no directories; see store()."""

    def __init__(
        self, root: Path, fsync: FsyncPolicy, has_account: Callable[[str], bool] = lambda account: True
    ) -> None:
        self.root = root
        self._root = os.fspath(root)
        self.fsync = fsync
        self._has_account = has_account
        self.tables = DirectoryTables()
        self._stores: dict[str, SideStore] = {}
        self._stores_lock = threading.Lock()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._closing = threading.Event()
        self._remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-remover")
        root.mkdir(parents=True, exist_ok=True)
        self._clean()

    def close(self) -> None:
        self._closing.set()
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
        for name in (_UPLOADS, _BLOCKS, _APPENDS, _MADE, _DELETED):
            (home / _STAGING / name).mkdir(parents=True, exist_ok=True)
        (home / _SNAPSHOTS).mkdir(exist_ok=True)
        (home / _RETAINED).mkdir(exist_ok=True)
        for private in (_STAGING, _SNAPSHOTS, _RETAINED):
            (home / private).chmod(0o700)

    def accounts(self) -> list[str]:
        """Whatever else lies beside them, such as an account that is being removed, is none."""
        return sorted(
            home.name for home in self.root.iterdir() if is_account_name(home.name) and home.is_dir()
        )

    def delete_account(self, account: str) -> None:
        with self._stores_lock:
            store = self._stores.pop(account, None)
            if store is not None:
                store.close(gone=True)
            home = self.root / account
            grave = self.root / f".deleted-{uuid.uuid4().hex}"
            with suppress(FileNotFoundError):
                home.rename(grave)
        self.bury(grave)

    def store(self, account: str) -> SideStore:
        """That of an account which a killed service did not come to make directories for makes them.

        Raises 404 for one that was deleted after the request at hand was let in.
        """
        store = self._stores.get(account)
        if store is not None:
            return store
        with self._stores_lock:
            if not (self.root / account).is_dir() and not self._has_account(account):
                raise missing_account()
            self.create_account(account)
            return self._opened(account)

    def existing_store(self, account: str) -> SideStore | None:
        """For what is done in the background: it must not bring back an account that was deleted."""
        with self._stores_lock:
            if not (self.root / account).is_dir():
                return None
            self.create_account(account)
            return self._opened(account)

    def _opened(self, account: str) -> SideStore:
        if account not in self._stores:
            file = self.root / account / _META / "side.db"
            self._stores[account] = SideStore(file, durable=self.fsync is not FsyncPolicy.NEVER)
        return self._stores[account]

    # --- containers

    def service_home(self, account: str, service: StorageService) -> Path:
        return self.root / account / service.value

    def container_path(self, account: str, service: StorageService, container: str) -> Path:
        if not is_account_name(account) or not is_container_name(container):
            raise missing_container(service)
        return self.root / account / service.value / container

    def snapshots_home(self, account: str, service: StorageService, container: str) -> Path:
        """Where the snapshots of a share, or of all blobs of a container, lie; perhaps not there yet.

        A share's snapshot is a directory with the time as its name, which comes there by a rename. A blob's
        is a file with a name that only the side store knows (dataplane/snapshots.py).
        """
        if not is_account_name(account) or not is_container_name(container):
            raise missing_container(service)
        return self.root / account / _SNAPSHOTS / service.value / container

    def container(
        self, account: str, service: StorageService, container: str, snapshot: str = ""
    ) -> "_Opened":
        """The descriptor of a container's directory, or of a share snapshot's; 404 when there is none."""
        if not is_account_name(account) or not is_container_name(container):
            raise missing_container(service)
        # Text, not Path: this is on every request's way, and Paths cost as much as what is done to them.
        path = f"{self._root}/{account}/{service.value}/{container}"
        if snapshot:
            if not is_snapshot_time(snapshot):
                raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "sharesnapshot"})
            path = f"{self._root}/{account}/{_SNAPSHOTS}/{service.value}/{container}/{snapshot}"
        try:
            return _Opened(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except (FileNotFoundError, NotADirectoryError):
            if snapshot:
                raise StorageError(StorageCode.SHARE_SNAPSHOT_NOT_FOUND) from None
            raise missing_container(service) from None

    def remove_container(self, account: str, service: StorageService, container: str) -> None:
        """Take the tree away in one rename; its content goes in the background.

        Called with all locks held: a write that comes later finds no container, and one that came before has
        left nothing behind that a new container of that name would get.
        """
        path = self.container_path(account, service, container)
        grave = self.root / account / _STAGING / _DELETED / uuid.uuid4().hex
        try:
            path.rename(grave)
        except FileNotFoundError:
            raise missing_container(service) from None
        self.sync_path(path.parent)
        self.store(account).drop_container(service, container)
        self.bury(grave)
        self.remove_leftovers(account, service, container)

    def containers_with_snapshots(self, account: str) -> list[tuple[StorageService, str]]:
        """Also those of which only the snapshots are left."""
        home = self.root / account / _SNAPSHOTS
        found = (
            (service, path.name) for service in StorageService for path in home.glob(f"{service.value}/*")
        )
        return [(service, name) for service, name in found if is_container_name(name)]

    def make_snapshots_home(self, account: str, service: StorageService, container: str) -> Path:
        home = self.snapshots_home(account, service, container)
        self.make_parent(home)
        with suppress(FileExistsError):
            home.mkdir()
            self.sync_path(home.parent)
        return home

    def make_parent(self, home: Path) -> None:
        with suppress(FileExistsError):
            home.parent.mkdir()
            self.sync_path(home.parent.parent)

    def retained_home(self, account: str) -> Path:
        """Where deleted containers and shares lie that can come back."""
        return self.root / account / _RETAINED

    def remove_leftovers(self, account: str, service: StorageService, container: str) -> None:
        """What lies elsewhere of a container that is not there: snapshots and uncommitted blocks."""
        if service is StorageService.BLOB:
            self.discard(account, self.root / account / _STAGING / _BLOCKS / container)
        home = self.snapshots_home(account, service, container)
        self.discard(account, home)
        with suppress(FileNotFoundError):
            self.sync_path(home.parent)

    def remove_snapshot(self, ref: ItemRef) -> None:
        """One snapshot of a share."""
        home = self.snapshots_home(ref.account, ref.service, ref.container)
        self.discard(ref.account, home / ref.snapshot)
        self.sync_path(home)

    def bury(self, grave: Path) -> None:
        """Remove a tree in the background."""
        self._remover.submit(shutil.rmtree, grave, ignore_errors=True)

    def discard(self, account: str, path: Path) -> None:
        """Remove a tree at once for everybody who looks, and in the background from the disk."""
        grave = self.root / account / _STAGING / _DELETED / uuid.uuid4().hex
        with suppress(FileNotFoundError):
            path.rename(grave)
            self.bury(grave)

    # --- staging

    def upload_path(self, account: str) -> str:
        self.store(account)
        # Text here and below where it is on the way of every write: see container().
        return f"{self._root}/{account}/{_STAGING}/{_UPLOADS}/{os.urandom(16).hex()}"

    def blocks_home(self, ref: ItemRef) -> Path:
        """Where a blob's uncommitted blocks lie. They outlive a restart: a client may be in mid-upload."""
        return Path(self._blocks_home(ref))

    def _blocks_home(self, ref: ItemRef) -> str:
        name = hashlib.sha256(ref.path.encode("utf-8")).hexdigest()
        return f"{self._root}/{ref.account}/{_STAGING}/{_BLOCKS}/{ref.container}/{name}"

    def all_blocks(self, account: str, container: str) -> list[Path]:
        """The places of uncommitted blocks of all blobs of a container."""
        return list((self.root / account / _STAGING / _BLOCKS / container).glob("*"))

    def drop_blocks(self, ref: ItemRef) -> None:
        home = self._blocks_home(ref)
        if os.access(home, os.F_OK):
            self.discard(ref.account, Path(home))

    def append_path(self, account: str) -> Path:
        """For a block that is being added to a blob; recovery looks at what a killed service leaves there."""
        return self.root / account / _STAGING / _APPENDS / uuid.uuid4().hex

    def unfinished_appends(self) -> list[Path]:
        return [
            path
            for account in self.accounts()
            for path in (self.root / account / _STAGING / _APPENDS).glob("*")
        ]

    def made_path(self, account: str) -> Path:
        """For a directory or file that is made ready before it gets its name."""
        return self.root / account / _STAGING / _MADE / uuid.uuid4().hex

    # --- locks and durability

    def locked(self, account: str, key: Key) -> AbstractContextManager[bool]:
        """One writer at a time per item within this process; between processes the rename decides."""
        return self._locks[hash((account, key)) % _LOCKS]

    @contextmanager
    def locked_all(self) -> Iterator[None]:
        """No writer of any item: for the few calls that take away what items lie in."""
        with ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock)
            yield

    def sync_content(self, fd: int) -> None:
        if self.fsync is not FsyncPolicy.NEVER:
            os.fdatasync(fd)

    def sync_staged(self, fd: int) -> None:
        """A block is copied into the blob that commits it, and that is synced."""
        if self.fsync is FsyncPolicy.ALWAYS:
            os.fdatasync(fd)

    def sync_staged_path(self, directory: Path) -> None:
        """The names of staged blocks."""
        if self.fsync is FsyncPolicy.ALWAYS:
            self.sync_path(directory)

    def sync_range(self, fd: int, *, reaches_end: bool) -> None:
        """Nothing tells when a client is done with a file; its last range is the nearest thing to a close."""
        if self.fsync is FsyncPolicy.ALWAYS or (reaches_end and self.fsync is FsyncPolicy.CLOSE):
            os.fdatasync(fd)

    def sync_directory(self, fd: int) -> None:
        """After a change of names in it."""
        if self.fsync is not FsyncPolicy.NEVER:
            os.fsync(fd)

    def sync_tree(self, fd: int) -> None:
        """Everything below an open directory, in one call instead of one per file."""
        if self.fsync is not FsyncPolicy.NEVER and _libc.syncfs(fd):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def sync_path(self, directory: Path) -> None:
        with open_directory_fd(directory) as fd:
            self.sync_directory(fd)

    def in_background(self, work: Callable[[], None]) -> "Future[None]":
        """After what else waits to be done in the background. Long work looks at `closing`."""
        return self._remover.submit(work)

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    # --- after a crash

    def _clean(self) -> None:
        """Remove what a killed service left half done; nothing of it was ever acknowledged.

        Deleted trees may be huge and are out of everybody's sight, so they go in the background.
        """
        for grave in self.root.glob(".deleted-*"):
            self.bury(grave)
        for account in self.accounts():
            staging = self.root / account / _STAGING
            for grave in (staging / _DELETED).glob("*"):
                self.bury(grave)
            self._withdraw(staging)
            shutil.rmtree(staging / _UPLOADS, ignore_errors=True)
            (staging / _DELETED).mkdir(parents=True, exist_ok=True)
            # Among what was being made may be the copy of a whole share.
            self.discard(account, staging / _MADE)
            for name in (_UPLOADS, _BLOCKS, _APPENDS, _MADE):
                (staging / name).mkdir(exist_ok=True)
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
    """Remove the directory `name` when no file is anywhere in it.

    OSError (ENOTEMPTY), and nothing is removed, otherwise.
    """
    _remove_directories(parent, name, only_look=True)
    _remove_directories(parent, name, only_look=False)


def _remove_directories(parent: int, name: str, *, only_look: bool) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        names = []
        with os.scandir(fd) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), name)
                names.append(entry.name)
        for child in names:
            _remove_directories(fd, child, only_look=only_look)
    finally:
        os.close(fd)
    if not only_look:
        os.rmdir(name, dir_fd=parent)


def _drop_old_blocks(home: Path, before: float) -> None:
    for upload in home.glob("*/*"):
        with suppress(FileNotFoundError):
            if upload.stat().st_mtime < before:
                shutil.rmtree(upload, ignore_errors=True)
