"""The Files service (storage.md section 7): its app, put together from groups of calls."""

from concurrent.futures import Executor

from openbatchai.dataplane import Storage
from openbatchai.dataplane.authority import VerifyBearer
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.app import Level, StorageApp
from openbatchai.http.storage.containers import ContainerCalls
from openbatchai.http.storage.copying import SourceReader
from openbatchai.http.storage.file_copies import FileCopyCalls
from openbatchai.http.storage.file_directories import DirectoryCalls
from openbatchai.http.storage.file_handles import HandleCalls
from openbatchai.http.storage.file_items import FileItemCalls
from openbatchai.http.storage.file_leases import FileLeaseCalls
from openbatchai.http.storage.file_moves import MoveCalls
from openbatchai.http.storage.file_permissions import PermissionCalls
from openbatchai.http.storage.file_ranges import FileRangeCalls
from openbatchai.http.storage.file_shares import ShareCalls, share_form
from openbatchai.http.storage.foreign import Foreign, Reach
from openbatchai.http.storage.observing import Observe
from openbatchai.http.storage.services import ServiceCalls
from openbatchai.http.storage.sources import Ports
from openbatchai.http.storage.target import Target

_COMPS_OF_ITEMS = frozenset({"listhandles", "forceclosehandles"})


def create_app(
    storage: Storage,
    verify_bearer: VerifyBearer,
    *,
    tenant: str = "common",
    delegation_secret: bytes = b"",
    ports: Ports = dict,
    observe: Observe | None = None,
    reach: Reach = Reach.PUBLIC,
    pool: Executor | None = None,
) -> StorageApp:
    """ASGI app of the Files service; the parameters are those of http.storage.blob.create_app."""
    reader = SourceReader(storage, Foreign(reach))
    common = ContainerCalls(storage, share_form(storage.clock))
    groups = (
        common,
        ShareCalls(storage, common),
        ServiceCalls(storage, StorageService.FILE, tenant=tenant, delegation_secret=delegation_secret),
        PermissionCalls(storage),
        DirectoryCalls(storage),
        HandleCalls(storage),
        FileLeaseCalls(storage),
        MoveCalls(storage),
        FileItemCalls(storage),
        FileRangeCalls(storage),
        FileCopyCalls(storage, reader),
    )
    return StorageApp(
        StorageService.FILE,
        storage,
        {key: call for group in groups for key, call in group.calls().items()},
        _level,
        verify_bearer=verify_bearer,
        tenant=tenant,
        delegation_secret=delegation_secret,
        ports=ports,
        observe=observe,
        pool=pool,
    )


def _level(target: Target) -> Level:
    if not target.ref.container:
        return Level.ACCOUNT
    # The root directory of a share has the share's own path; only the parameters tell them apart.
    at_directory = (
        target.query.get("restype", "").lower() == "directory"
        or target.query.get("comp", "").lower() in _COMPS_OF_ITEMS
    )
    return Level.ITEM if target.ref.path or at_directory else Level.CONTAINER
