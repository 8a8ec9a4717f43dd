"""Access tiers, remembered but without effect on the bytes (storage.md 5.3, Set Blob Tier). Pure.

A blob told to leave the archive is on its way for a minute, where the service takes hours: clients wait
for the end of it.
"""

from dataclasses import replace

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Record

ARCHIVE = "Archive"
# In the smart tier the service itself chooses, and what nobody has read for a month is no longer hot.
SMART = "Smart"
BLOCK_TIERS = ("Hot", "Cool", "Cold", ARCHIVE, SMART)
PAGE_TIERS = tuple(f"P{size}" for size in (4, 6, 10, 15, 20, 30, 40, 50, 60, 70, 80))
_BY_LOWER = {name.lower(): name for name in (*BLOCK_TIERS, *PAGE_TIERS)}
_PRIORITIES = {"high": "High", "standard": "Standard"}
REHYDRATION_NS = 60 * 1_000_000_000


def check_tier(name: str) -> str:
    """The tier as the service spells it; InvalidHeaderValue for what is none."""
    tier = _BY_LOWER.get(name.lower())
    if tier is None:
        raise StorageError(
            StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-access-tier", "HeaderValue": name}
        )
    return tier


def check_priority(name: str) -> str:
    priority = _PRIORITIES.get(name.lower())
    if name and priority is None:
        raise StorageError(
            StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-rehydrate-priority", "HeaderValue": name}
        )
    return priority or ""


def check_tier_of_type(tier: str, blob_type: str) -> None:
    """Block blobs have the tiers of block blobs, page blobs those of disks, append blobs none."""
    if tier and blob_type == "AppendBlob":
        raise StorageError(StorageCode.INVALID_BLOB_TYPE)
    if tier and tier not in (BLOCK_TIERS if blob_type == "BlockBlob" else PAGE_TIERS):
        raise StorageError(StorageCode.INVALID_BLOB_TIER)


def with_tier(record: Record, tier: str, priority: str, now_ns: int) -> Record:
    record = rehydrated(record, now_ns)
    check_tier_of_type(tier, record.blob_type)
    if record.tier == ARCHIVE and tier != ARCHIVE:
        priority = priority or record.rehydrate_priority or "Standard"
        started = record.tier_changed_ns if record.rehydrating_to else now_ns
        return replace(record, rehydrating_to=tier, rehydrate_priority=priority, tier_changed_ns=started)
    return replace(record, tier=tier, rehydrating_to="", rehydrate_priority="", tier_changed_ns=now_ns)


def rehydrated(record: Record, now_ns: int) -> Record:
    """The record as of now: its way out of the archive may have ended."""
    if not record.rehydrating_to or now_ns < record.tier_changed_ns + REHYDRATION_NS:
        return record
    return replace(
        record,
        tier=record.rehydrating_to,
        rehydrating_to="",
        rehydrate_priority="",
        tier_changed_ns=record.tier_changed_ns + REHYDRATION_NS,
    )
