"""What headers and listings tell about a blob beside its content: tier, type, tags, copy (storage.md 5)."""

from collections.abc import Iterable, Mapping

from openbatchai.wire.storage_xml import (
    DECLARATION,
    ItemFacts,
    MalformedXmlError,
    attribute,
    element,
    http_date_ns,
    optional,
    parse,
)

_TAGS_IN_SETS_SINCE = "2020-04-08"


def extra_headers(item: ItemFacts, default_tier: str) -> dict[str, str]:
    """Headers of Get Blob and Get Blob Properties; an empty one is not sent."""
    return {
        **_tier_headers(item, default_tier),
        **_type_headers(item),
        **copy_headers(item.copy),
        "x-ms-tag-count": str(len(item.tags) or ""),
    }


def extra_elements(item: ItemFacts, default_tier: str, *, with_copy: bool) -> str:
    """Elements of a listing's `Properties`."""
    parts = [_tier_elements(item, default_tier)]
    if item.blob_type == "PageBlob":
        parts.append(element("x-ms-blob-sequence-number", str(item.sequence_number)))
    if item.is_sealed:
        parts.append("<Sealed>true</Sealed>")
    if item.tags:
        parts.append(f"<TagCount>{len(item.tags)}</TagCount>")
    if with_copy and item.copy:
        copy = item.copy
        parts.append(
            element("CopyId", copy["id"])
            + "<CopyStatus>success</CopyStatus>"
            + element("CopySource", copy["source"])
            + element("CopyProgress", copy["progress"])
            + element("CopyCompletionTime", copy["completed"])
        )
    return "".join(parts)


def copy_headers(copy: Mapping[str, str]) -> dict[str, str]:
    if not copy:
        return {}
    return {
        "x-ms-copy-id": copy["id"],
        "x-ms-copy-status": "success",
        "x-ms-copy-source": copy["source"],
        "x-ms-copy-progress": copy["progress"],
        "x-ms-copy-completion-time": copy["completed"],
    }


def sequence_headers(item: ItemFacts) -> dict[str, str]:
    if item.blob_type != "PageBlob":
        return {}
    return {"x-ms-blob-sequence-number": str(item.sequence_number)}


def _type_headers(item: ItemFacts) -> dict[str, str]:
    if item.blob_type == "AppendBlob":
        return {
            "x-ms-blob-committed-block-count": str(item.append_blocks),
            "x-ms-blob-sealed": "true" if item.is_sealed else "",
        }
    return sequence_headers(item)


def _tier_headers(item: ItemFacts, default_tier: str) -> dict[str, str]:
    if item.blob_type == "AppendBlob":
        return {}
    inferred = item.blob_type == "BlockBlob" and not item.tier
    return {
        "x-ms-access-tier": default_tier if inferred else item.tier,
        "x-ms-access-tier-inferred": "true" if inferred else "",
        "x-ms-smart-access-tier": "Hot" if item.tier == "Smart" else "",
        "x-ms-access-tier-change-time": http_date_ns(item.tier_changed_ns) if item.tier_changed_ns else "",
        "x-ms-archive-status": _archive_status(item),
        "x-ms-rehydrate-priority": item.rehydrate_priority,
    }


def _tier_elements(item: ItemFacts, default_tier: str) -> str:
    headers = _tier_headers(item, default_tier)
    names = {
        "AccessTier": "x-ms-access-tier",
        "AccessTierInferred": "x-ms-access-tier-inferred",
        "SmartAccessTier": "x-ms-smart-access-tier",
        "AccessTierChangeTime": "x-ms-access-tier-change-time",
        "ArchiveStatus": "x-ms-archive-status",
        "RehydratePriority": "x-ms-rehydrate-priority",
    }
    return "".join(optional(name, headers.get(header)) for name, header in names.items())


def _archive_status(item: ItemFacts) -> str:
    return f"rehydrate-pending-to-{item.rehydrating_to.lower()}" if item.rehydrating_to else ""


def pages_document(ranges: Iterable[tuple[int, int, bool]], next_marker: str) -> bytes:
    """`ranges` are first byte, last byte, and whether a comparison found them cleared."""
    body = "".join(
        f"<{name}><Start>{first}</Start><End>{last}</End></{name}>"
        for first, last, is_clear in ranges
        for name in ("ClearRange" if is_clear else "PageRange",)
    )
    return f"{DECLARATION}<PageList>{body}{optional('NextMarker', next_marker)}</PageList>".encode()


# --- tags


def tag_set(tags: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in tags)
    return f"<TagSet>{body}</TagSet>"


def tags_document(tags: Mapping[str, str]) -> bytes:
    return f"{DECLARATION}<Tags>{tag_set(tags.items())}</Tags>".encode()


def parse_tags(body: bytes) -> list[tuple[str, str]]:
    root = parse(body, "Tags")
    sets = root.findall("TagSet")
    if len(sets) != 1 or len(root) != 1:
        raise MalformedXmlError("Tags holds one TagSet")
    pairs = []
    for tag in sets[0]:
        key, value = tag.find("Key"), tag.find("Value")
        if tag.tag != "Tag" or key is None or value is None:
            raise MalformedXmlError("a TagSet holds Tag elements with a Key and a Value")
        pairs.append((key.text or "", value.text or ""))
    return pairs


def found_document(
    endpoint: str,
    where: str,
    found: Iterable[tuple[str, str, Mapping[str, str]]],
    next_marker: str,
    version: str,
) -> bytes:
    """The answer of Find Blobs by Tags; `found` are (container, blob, the tags that were asked about)."""

    def tags(pairs: Mapping[str, str]) -> str:
        if version < _TAGS_IN_SETS_SINCE:
            return element("TagValue", next(iter(pairs.values()), ""))
        return f"<Tags>{tag_set(pairs.items())}</Tags>"

    body = "".join(
        f"<Blob>{element('Name', name)}{element('ContainerName', container)}{tags(pairs)}</Blob>"
        for container, name, pairs in found
    )
    root = f"<EnumerationResults {attribute('ServiceEndpoint', endpoint)}>"
    text = (
        f"{DECLARATION}{root}{element('Where', where)}<Blobs>{body}</Blobs>"
        f"{element('NextMarker', next_marker)}</EnumerationResults>"
    )
    return text.encode()
