"""What `mountVolumes` says, as mounts (batchai-service.md section 8.5)."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from . import ids
from .ports import Mount, MountKind, MountLevel


def mounts_of(spec: Mapping[str, Any], secrets: Mapping[str, Any], level: MountLevel) -> tuple[Mount, ...]:
    """The mounts of a cluster (`spec` is its nodeSetup) or of a job (its properties).

    `secrets` maps the JSON path of each account key, relative to `spec`, to its value.
    """
    return tuple(_mounts(spec.get("mountVolumes") or {}, secrets, level))


def _mounts(volumes: Mapping[str, Any], secrets: Mapping[str, Any], level: MountLevel) -> Iterator[Mount]:
    def key(kind: str, position: int) -> str:
        return str(secrets.get(f"mountVolumes.{kind}.{position}.credentials.accountKey", ""))

    for i, share in enumerate(volumes.get("azureFileShares") or ()):
        yield Mount(
            MountKind.FILE_SHARE,
            level,
            _relative(share["relativeMountPath"]),
            share["accountName"],
            share_of_url(share["azureFileUrl"]),
            key("azureFileShares", i),
        )
    for i, blob in enumerate(volumes.get("azureBlobFileSystems") or ()):
        yield Mount(
            MountKind.BLOB_CONTAINER,
            level,
            _relative(blob["relativeMountPath"]),
            blob["accountName"],
            blob["containerName"],
            key("azureBlobFileSystems", i),
        )
    for server in volumes.get("fileServers") or ():
        ref = ids.parse_file_server_id(server["fileServer"]["id"])
        yield Mount(
            MountKind.FILE_SERVER,
            level,
            _relative(server["relativeMountPath"]),
            file_server=ids.file_server_key(ref) if ref else "",
            source=(server.get("sourceDirectory") or "").strip("/"),
        )
    for unmanaged in volumes.get("unmanagedFileSystems") or ():
        yield Mount(
            MountKind.UNMANAGED,
            level,
            _relative(unmanaged["relativeMountPath"]),
            command=unmanaged["mountCommand"],
        )


def _relative(path: str) -> str:
    return path.strip("/")


def share_of_url(url: str) -> str:
    """Share name in `https://acct.file.suffix/share` (host style) or `http://host:port/acct/share`."""
    parts = urlsplit(url)
    names = [unquote(name) for name in parts.path.split("/") if name]
    if not names:
        return ""
    host_style = (parts.hostname or "").split(".")[1:2] == ["file"]
    return names[0] if host_style or len(names) == 1 else names[1]
