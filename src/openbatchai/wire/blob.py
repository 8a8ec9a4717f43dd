"""The Blob service on the wire: headers of blobs, block lists (storage.md section 5)."""

from collections.abc import Iterable

from openbatchai.wire.blob_extras import extra_headers
from openbatchai.wire.storage_xml import (
    DECLARATION,
    ItemFacts,
    MalformedXmlError,
    element,
    http_date,
    http_date_ns,
    lease_headers,
    optional,
    parse,
)


def blob_headers(item: ItemFacts, version: str, default_tier: str) -> dict[str, str]:
    """Headers of Get Blob and Get Blob Properties, without the length, which the answer decides.

    They are the same in every `version`. `default_tier` is the account's, for a block blob without its own.
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
        **extra_headers(item, default_tier),
    }
    headers |= {f"x-ms-meta-{name}": value for name, value in item.metadata.items()}
    return {name: value for name, value in headers.items() if value}


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
