"""The Blob service (storage.md section 5): its app, put together from groups of calls."""

from concurrent.futures import Executor

from openbatchai.dataplane import Storage
from openbatchai.dataplane.authority import VerifyBearer
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.account_info import AccountFacts, AccountInfoCalls, Describe
from openbatchai.http.storage.app import Level, StorageApp
from openbatchai.http.storage.blob_appends import BlobAppendCalls
from openbatchai.http.storage.blob_batch import BlobBatchCalls
from openbatchai.http.storage.blob_blocks import BlobBlockCalls
from openbatchai.http.storage.blob_containers import BlobContainerCalls, container_form
from openbatchai.http.storage.blob_copies import BlobCopyCalls
from openbatchai.http.storage.blob_items import BlobItemCalls
from openbatchai.http.storage.blob_pages import BlobPageCalls
from openbatchai.http.storage.blob_snapshots import BlobSnapshotCalls
from openbatchai.http.storage.blob_tags import BlobTagCalls
from openbatchai.http.storage.containers import ContainerCalls
from openbatchai.http.storage.copying import SourceReader
from openbatchai.http.storage.foreign import Foreign, Reach
from openbatchai.http.storage.leases import BlobLeaseCalls
from openbatchai.http.storage.observing import Observe
from openbatchai.http.storage.services import ServiceCalls
from openbatchai.http.storage.sources import Ports
from openbatchai.http.storage.target import Target


def create_app(
    storage: Storage,
    verify_bearer: VerifyBearer,
    *,
    tenant: str = "common",
    delegation_secret: bytes = b"",
    ports: Ports = dict,
    observe: Observe | None = None,
    reach: Reach = Reach.PUBLIC,
    describe: Describe = lambda account: AccountFacts(),
    pool: Executor | None = None,
) -> StorageApp:
    """ASGI app of the Blob service.

    `verify_bearer` gives the principal of a token for one of the given audiences, or None.
    `delegation_secret` makes user delegation keys; without one there are none. `ports` tells where the
    services listen, so that URLs of copy sources are recognised as ours; `reach` is where other sources
    may lie. `observe` is called after each request, on the event loop. `describe` tells the kind of an
    account. Blocking I/O runs in `pool`, by default one of the app's own.
    """
    reader = SourceReader(storage, Foreign(reach))
    pages = BlobPageCalls(storage, reader)
    batch = BlobBatchCalls()
    groups = (
        ContainerCalls(storage, container_form(storage)),
        BlobContainerCalls(storage),
        AccountInfoCalls(describe),
        BlobItemCalls(storage, pages),
        pages,
        BlobBlockCalls(storage, reader),
        BlobAppendCalls(storage, reader),
        BlobLeaseCalls(storage),
        BlobSnapshotCalls(storage),
        BlobTagCalls(storage),
        ServiceCalls(storage, StorageService.BLOB, tenant=tenant, delegation_secret=delegation_secret),
        BlobCopyCalls(storage, reader),
        batch,
    )
    app = StorageApp(
        StorageService.BLOB,
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
    batch.serve = app
    return app


def _level(target: Target) -> Level:
    if target.ref.path:
        return Level.ITEM
    return Level.CONTAINER if target.ref.container else Level.ACCOUNT
