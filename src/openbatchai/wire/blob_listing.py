"""The answer of List Blobs (storage.md 5.2).

A page has up to 5,000 entries and little else costs anything, so what nearly all of them share is put
together once.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from openbatchai.wire.blob_extras import extra_elements, tag_set
from openbatchai.wire.storage_xml import (
    DECLARATION,
    ContentFacts,
    ItemFacts,
    LeaseTold,
    ListedFacts,
    ListRequest,
    attribute,
    element,
    http_date_ns,
    lease_properties,
    list_head,
    metadata_element,
    name_element,
)

# What `include` may ask for. Of versions, immutability, legal holds and permissions there are none to tell.
INCLUDABLE = frozenset(
    {
        "snapshots",
        "metadata",
        "uncommittedblobs",
        "copy",
        "deleted",
        "tags",
        "versions",
        "deletedwithversions",
        "immutabilitypolicy",
        "legalhold",
        "permissions",
    }
)
_UNLEASED = "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"


class EntryFacts(ItemFacts, Protocol):
    @property
    def modified_ns(self) -> int: ...


def blobs_document(
    request: ListRequest,
    container: str,
    entries: Iterable[EntryFacts | str],
    next_marker: str,
    *,
    include: frozenset[str],
    default_tier: str,
) -> bytes:
    """Blobs, and common prefixes given as plain strings, in the order they come. `default_tier` is that of
    block blobs without their own."""
    common = f"<AccessTier>{default_tier}</AccessTier><AccessTierInferred>true</AccessTierInferred>"
    parts = [
        f"<BlobPrefix>{name_element(entry, request.version)}</BlobPrefix>"
        if isinstance(entry, str)
        else _blob(entry, request.version, include, default_tier, common)
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


def _blob(item: EntryFacts, version: str, include: frozenset[str], default_tier: str, common: str) -> str:
    state, deletion = _state(item.listed)
    tags = f"<Tags>{tag_set(item.tags.items())}</Tags>" if "tags" in include and item.tags else ""
    return (
        f"<Blob>{name_element(item.name, version)}{state}<Properties>"
        f"<Creation-Time>{http_date_ns(item.created_ns)}</Creation-Time>"
        f"<Last-Modified>{http_date_ns(item.modified_ns)}</Last-Modified>"
        f"<Etag>{item.etag[1:-1]}</Etag><Content-Length>{item.size}</Content-Length>"
        f"{_type_element(item.content_type)}{_content_elements(item.content, item.md5)}"
        f"<BlobType>{item.blob_type}</BlobType>{_extras(item, include, default_tier, common)}"
        f"{_lease_elements(item.lease)}{deletion}<ServerEncrypted>true</ServerEncrypted></Properties>"
        f"{metadata_element(item.metadata if 'metadata' in include else None)}{tags}<OrMetadata /></Blob>"
    )


@lru_cache(maxsize=256)
def _type_element(content_type: str) -> str:
    return element("Content-Type", content_type)


def _content_elements(content: ContentFacts, md5: str) -> str:
    # Base64 needs no escaping.
    digest = f"<Content-MD5>{md5}</Content-MD5>" if md5 else "<Content-MD5 />"
    if content.encoding or content.language or content.cache_control or content.disposition:
        return (
            f"{element('Content-Encoding', content.encoding)}{element('Content-Language', content.language)}"
            f"<Content-CRC64 />{digest}{element('Cache-Control', content.cache_control)}"
            f"{element('Content-Disposition', content.disposition)}"
        )
    return (
        f"<Content-Encoding /><Content-Language /><Content-CRC64 />{digest}<Cache-Control />"
        "<Content-Disposition />"
    )


def _state(listed: ListedFacts | None) -> tuple[str, str]:
    """Elements before the properties, and more properties."""
    if listed is None:
        return "", ""
    deleted = "<Deleted>true</Deleted>" if listed.deleted_ns else ""
    snapshot = f"<Snapshot>{listed.snapshot}</Snapshot>" if listed.snapshot else ""
    if not deleted:
        return snapshot, ""
    properties = (
        f"<DeletedTime>{http_date_ns(listed.deleted_ns)}</DeletedTime>"
        f"<RemainingRetentionDays>{listed.kept_days}</RemainingRetentionDays>"
    )
    return deleted + snapshot, properties


def _extras(item: EntryFacts, include: frozenset[str], default_tier: str, common: str) -> str:
    """`common` is what most blobs have."""
    if item.blob_type == "BlockBlob" and not (item.tier or item.tags or item.copy or item.rehydrating_to):
        return common
    return extra_elements(item, default_tier, with_copy="copy" in include)


def _lease_elements(lease: LeaseTold) -> str:
    if lease.state == "available":
        return _UNLEASED
    return "".join(f"<{name}>{text}</{name}>" for name, text in lease_properties(lease).items())
