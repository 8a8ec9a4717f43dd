"""The Files service on the wire: headers, directory listings, ranges (storage.md section 7)."""

from collections.abc import Iterable

from openbatchai.wire import storage_xml
from openbatchai.wire.blob_extras import copy_headers
from openbatchai.wire.storage_xml import (
    DECLARATION,
    ItemFacts,
    LeaseTold,
    ListRequest,
    attribute,
    element,
    http_date,
    iso_ticks,
    list_head,
    name_element,
)

_ENCODED_NAMES_SINCE = "2021-12-02"
_LEASES_SINCE = "2019-07-07"
_SMB_SINCE = "2019-02-02"
_GIB = 1 << 30


def smb_headers(item: ItemFacts, version: str) -> dict[str, str]:
    """Headers that came with 2019-02-02; the SDKs before fail on headers they have no attribute for."""
    if version < _SMB_SINCE:
        return {}
    return {
        "x-ms-file-attributes": item.attributes,
        "x-ms-file-creation-time": iso_ticks(item.created_ns),
        "x-ms-file-last-write-time": iso_ticks(item.mtime_ns),
        "x-ms-file-change-time": iso_ticks(item.changed_ns),
        "x-ms-file-id": str(item.ino),
        "x-ms-file-parent-id": str(item.parent_ino),
        "x-ms-file-permission-key": item.permission_key,
    }


def lease_headers(lease: LeaseTold, version: str) -> dict[str, str]:
    """Leases of files came with 2019-07-07; the SDKs before fail on headers they have no attribute for."""
    if version < _LEASES_SINCE:
        return {}
    return storage_xml.lease_headers(lease)


def version_headers(item: ItemFacts) -> dict[str, str]:
    return {"ETag": item.etag, "Last-Modified": http_date(item.last_modified)}


def file_headers(item: ItemFacts, version: str) -> dict[str, str]:
    """Headers of Get File and Get File Properties, without the length, which the answer decides."""
    content = item.content
    headers = version_headers(item) | {
        "Accept-Ranges": "bytes",
        "Content-Type": item.content_type,
        "Content-Encoding": content.encoding,
        "Content-Language": content.language,
        "Content-Disposition": content.disposition,
        "Cache-Control": content.cache_control,
        "x-ms-type": "File",
        "x-ms-server-encrypted": "true",
    }
    headers |= (
        copy_headers(item.copy)
        | smb_headers(item, version)
        | metadata_headers(item)
        | lease_headers(item.lease, version)
    )
    return {name: value for name, value in headers.items() if value}


def directory_headers(item: ItemFacts, version: str) -> dict[str, str]:
    return (
        version_headers(item)
        | {"x-ms-server-encrypted": "true", "x-ms-type": "Directory"}
        | smb_headers(item, version)
        | metadata_headers(item)
    )


def metadata_headers(item: ItemFacts) -> dict[str, str]:
    return {f"x-ms-meta-{name}": value for name, value in item.metadata.items()}


def directory_document(
    request: ListRequest,
    share: str,
    path: str,
    directory: ItemFacts,
    entries: Iterable[ItemFacts],
    next_marker: str,
    *,
    include: frozenset[str],
    extended: bool,
    snapshot: str = "",
) -> bytes:
    """One alphabetical sequence of files and directories, perhaps of a share snapshot."""
    version = request.version if request.version >= _ENCODED_NAMES_SINCE else ""
    body = "".join(_entry(entry, version, include, extended) for entry in entries)
    at = f" {attribute('ShareSnapshot', snapshot)}" if snapshot else ""
    root = (
        f"<EnumerationResults {attribute('ServiceEndpoint', request.endpoint)}"
        f" {attribute('ShareName', share)}{at} {attribute('DirectoryPath', path)}>"
    )
    identity = element("DirectoryId", str(directory.ino)) if extended else ""
    text = (
        f"{DECLARATION}{root}{list_head(request)}{identity}<Entries>{body}</Entries>"
        f"{element('NextMarker', next_marker)}</EnumerationResults>"
    )
    return text.encode()


def _entry(item: ItemFacts, version: str, include: frozenset[str], extended: bool) -> str:
    kind = "Directory" if item.is_directory else "File"
    details = "" if item.is_directory else element("Content-Length", str(item.size))
    if "timestamps" in include:
        details += (
            element("CreationTime", iso_ticks(item.created_ns))
            + element("LastAccessTime", iso_ticks(item.mtime_ns))
            + element("LastWriteTime", iso_ticks(item.mtime_ns))
            + element("ChangeTime", iso_ticks(item.changed_ns))
            + element("Last-Modified", http_date(item.last_modified))
        )
    if "etag" in include:
        details += element("Etag", item.etag)
    properties = f"<Properties>{details}</Properties>" if details else "<Properties />"
    identity = element("FileId", str(item.ino)) if extended else ""
    after = element("Attributes", item.attributes) if "attributes" in include else ""
    if "permissionkey" in include:
        after += element("PermissionKey", item.permission_key)
    return f"<{kind}>{name_element(item.name, version)}{identity}{properties}{after}</{kind}>"


def ranges_document(ranges: Iterable[tuple[int, int, bool]], next_marker: str | None = None) -> bytes:
    """`ranges` are start, end (excluded; the wire names the last byte) and whether they were cleared."""
    body = "".join(
        f"<{name}><Start>{start}</Start><End>{end - 1}</End></{name}>"
        for start, end, cleared in ranges
        for name in ("ClearRange" if cleared else "Range",)
    )
    after = element("NextMarker", next_marker) if next_marker is not None else ""
    return f"{DECLARATION}<Ranges>{body}{after}</Ranges>".encode()


def share_stats_document(used_bytes: int) -> bytes:
    gib = -(-used_bytes // _GIB)
    body = f"<ShareUsage>{gib}</ShareUsage><ShareUsageBytes>{used_bytes}</ShareUsageBytes>"
    return f"{DECLARATION}<ShareStats>{body}</ShareStats>".encode()


def no_handles_document() -> bytes:
    return f"{DECLARATION}<EnumerationResults><Entries /><NextMarker /></EnumerationResults>".encode()
