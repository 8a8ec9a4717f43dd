"""What a request mounts, checked while whoever sent it can still mend it."""

from openbatchai.domain.errors import invalid_property
from openbatchai.domain.model import Json
from openbatchai.domain.mounts import mounts_of
from openbatchai.domain.ports import ItemRef, MountKind, MountLevel, MountRefusedError, StorageService
from openbatchai.store.unit import Unit

from . import file_servers, vaults
from .context import Context

_OF_STORAGE = {
    MountKind.FILE_SHARE: ("azureFileShares", StorageService.FILE),
    MountKind.BLOB_CONTAINER: ("azureBlobFileSystems", StorageService.BLOB),
}


def check(context: Context, unit: Unit, spec: Json, secrets: Json, level: MountLevel, path: str) -> None:
    """Raise InvalidPropertyValue naming the first mount of `spec` that cannot work, and why: a file server,
    account, share or container that does not exist, a wrong key, a secret that cannot be read.

    `spec` holds `mountVolumes` (a job's properties, a cluster's nodeSetup) and `path` is its JSON path;
    `secrets` are relative to it. Ids of file servers are rewritten as 2018-05-01 has them.
    """
    vaults.check(unit, spec, path)
    file_servers.resolve(context, unit, spec.get("mountVolumes") or {}, f"{path}.mountVolumes")
    positions = dict.fromkeys(_OF_STORAGE, 0)
    for mount in mounts_of(spec, vaults.resolved(unit, spec, secrets), level):
        if mount.kind not in _OF_STORAGE:
            continue
        name, service = _OF_STORAGE[mount.kind]
        where = f"{path}.mountVolumes.{name}.{positions[mount.kind]}"
        positions[mount.kind] += 1
        try:
            context.storage.locate(ItemRef(service, mount.account, mount.container), mount.account_key)
        except MountRefusedError as error:
            raise invalid_property(where, f"The file system cannot be mounted: {error}.") from None
