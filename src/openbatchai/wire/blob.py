"""The Blob service on the wire: headers of blobs, listings, block lists (storage.md section 5)."""

from collections.abc import Iterable

from openbatchai.wire.blob_extras import extra_elements, extra_headers, tag_set
from openbatchai.wire.storage_xml import (
    DECLARATION,
    ItemFacts,
    LeaseTold,
    ListedFacts,
    ListRequest,
    MalformedXmlError,
    attribute,
    element,
    http_date,
    http_date_ns,
    lease_headers,
    lease_properties,
    list_head,
    metadata_element,
    name_element,
    optional,
    parse,
)

# What a caller may ask for with `include`; metadata is the one that the directories know about.
INCLUDABLE = frozenset(
    {"metadata", "snapshots", "uncommittedblobs", "copy", "deleted", "tags", "versions", "system"}
)
_UNLEASED = "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"


def blob_headers(item: ItemFacts, version: str) -> dict[str, str]:
    """Headers of Get Blob and Get Blob Properties, without the length, which the answer decides.

    They are the same in every `version`.
    """
    content = item.content
    headers = {
        "Last-Modified": http_date(item.last_modified),
        "ETag": item.etag,
        "Accept-Ranges": "bytes",
        "Content-Type": item.content_type,
        "Content-Encoding": content.encoding,
        "Content-Language": content.language,
        "Content-Disposition": content.disposition,
        "Cache-Control": content.cache_control,
        "x-ms-blob-type": item.blob_type,
        "x-ms-creation-time": http_date_ns(item.created_ns),
        **lease_headers(item.lease),
        "x-ms-server-encrypted": "true",
        **extra_headers(item),
    }
    headers |= {f"x-ms-meta-{name}": value for name, value in item.metadata.items()}
    return {name: value for name, value in headers.items() if value}


def blobs_document(
    request: ListRequest,
    container: str,
    entries: Iterable[ItemFacts | str],
    next_marker: str,
    *,
    include: frozenset[str],
) -> bytes:
    """Blobs, and common prefixes given as plain strings, in the order they come."""
    parts = [
        f"<BlobPrefix>{name_element(entry, request.version)}</BlobPrefix>"
        if isinstance(entry, str)
        else _blob(entry, request.version, include)
        for entry in entries
    ]
    root = (
        f"<EnumerationResults {attribute('ServiceEndpoint', request.endpoint)}"
        f" {attribute('ContainerName', container)}>"
    )
    text = (
        f"{DECLARATION}{root}{list_head(request)}<Blobs>{''.join(parts)}</Blobs>"
        f"{element('NextMarker', next_marker)}</EnumerationResults>"
    )
    return text.encode()


def _blob(item: ItemFacts, version: str, include: frozenset[str]) -> str:
    content = item.content
    tags = f"<Tags>{tag_set(item.tags.items())}</Tags>" if "tags" in include and item.tags else ""
    state, deleted = _listed_elements(item.listed) if item.listed else ("", "")
    return (
        f"<Blob>{name_element(item.name, version)}{state}<Properties>"
        f"<Creation-Time>{http_date_ns(item.created_ns)}</Creation-Time>"
        f"<Last-Modified>{http_date(item.last_modified)}</Last-Modified>"
        f"<Etag>{item.etag[1:-1]}</Etag><Content-Length>{item.size}</Content-Length>"
        f"{element('Content-Type', item.content_type)}{element('Content-Encoding', content.encoding)}"
        f"{element('Content-Language', content.language)}<Content-CRC64 />{element('Content-MD5', item.md5)}"
        f"{element('Cache-Control', content.cache_control)}"
        f"{element('Content-Disposition', content.disposition)}"
        f"<BlobType>{item.blob_type}</BlobType>{extra_elements(item, with_copy='copy' in include)}"
        f"{_lease_elements(item.lease)}<ServerEncrypted>true</ServerEncrypted>{deleted}</Properties>"
        f"{metadata_element(item.metadata if 'metadata' in include else None)}{tags}<OrMetadata /></Blob>"
    )


def _listed_elements(listed: ListedFacts) -> tuple[str, str]:
    """Beside the properties, and among them."""
    snapshot = optional("Snapshot", listed.snapshot)
    if not listed.deleted_ns:
        return snapshot, ""
    return f"{snapshot}<Deleted>true</Deleted>", (
        f"<DeletedTime>{http_date_ns(listed.deleted_ns)}</DeletedTime>"
        f"<RemainingRetentionDays>{listed.kept_days}</RemainingRetentionDays>"
    )


def _lease_elements(lease: LeaseTold) -> str:
    if lease.state == "available":
        # Nearly all of a listing of thousands.
        return _UNLEASED
    return "".join(f"<{name}>{text}</{name}>" for name, text in lease_properties(lease).items())


def parse_block_list(body: bytes) -> list[tuple[str, str]]:
    """(Latest|Committed|Uncommitted, block id) in the order given."""
    blocks = []
    for node in parse(body, "BlockList"):
        if node.tag not in ("Latest", "Committed", "Uncommitted"):
            raise MalformedXmlError(f"a block list holds no {node.tag!r}")
        blocks.append((node.tag, (node.text or "").strip()))
    return blocks


def block_list_document(
    committed: Iterable[tuple[str, int]] | None, uncommitted: Iterable[tuple[str, int]] | None
) -> bytes:
    """None for a kind that was not asked for."""

    def blocks(name: str, entries: Iterable[tuple[str, int]] | None) -> str:
        if entries is None:
            return ""
        body = "".join(
            f"<Block>{element('Name', block)}<Size>{size}</Size></Block>" for block, size in entries
        )
        return f"<{name}>{body}</{name}>" if body else f"<{name} />"

    body = blocks("CommittedBlocks", committed) + blocks("UncommittedBlocks", uncommitted)
    return f"{DECLARATION}<BlockList>{body}</BlockList>".encode()


def stats_document(last_sync: str) -> bytes:
    status = element("Status", "live") + optional("LastSyncTime", last_sync)
    body = f"<StorageServiceStats><GeoReplication>{status}</GeoReplication></StorageServiceStats>"
    return f"{DECLARATION}{body}".encode()
