"""Conditional headers (storage.md 5.3, "Conditions"). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.tags import parse_condition


@dataclass(frozen=True)
class Version:
    """What conditions compare with: quoted ETag, time of the last change (whole seconds), tags."""

    etag: str
    last_modified: datetime
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    """What a request demands of the item as it is. The lease is compared where leases are known.

    `only_new`: the request may make an item and not replace one, whatever else it says.
    """

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None
    lease_id: str | None = None
    if_tags: str | None = None
    only_new: bool = False

    def check_read(self, current: Version) -> None:
        """412 when a demand fails, 304 when the client's copy is still good."""
        self._demand(current)
        if self.if_none_match is not None:
            if _names(self.if_none_match, current.etag):
                raise StorageError(StorageCode.NOT_MODIFIED, headers={"ETag": current.etag})
        elif self.if_modified_since is not None and current.last_modified <= self.if_modified_since:
            raise StorageError(StorageCode.NOT_MODIFIED, headers={"ETag": current.etag})

    def check_write(self, current: Version | None, *, creates: bool = False) -> None:
        """`creates`: the call makes the whole blob, so `If-None-Match: *` means "only when it is new"."""
        if current is None:
            if self.if_match is not None or self.if_tags is not None:
                raise StorageError(StorageCode.CONDITION_NOT_MET)
            return
        if creates and self.only_new:
            raise StorageError(StorageCode.BLOB_EXISTS)
        self._demand(current)
        if self.if_none_match is not None and _names(self.if_none_match, current.etag):
            is_new_only = creates and self.if_none_match.strip() == "*"
            raise StorageError(StorageCode.BLOB_EXISTS if is_new_only else StorageCode.CONDITION_NOT_MET)
        if self.if_modified_since is not None and current.last_modified <= self.if_modified_since:
            raise StorageError(StorageCode.CONDITION_NOT_MET)

    def _demand(self, current: Version) -> None:
        if self.if_match is not None and not _names(self.if_match, current.etag):
            raise StorageError(StorageCode.CONDITION_NOT_MET)
        if self.if_unmodified_since is not None and current.last_modified > self.if_unmodified_since:
            raise StorageError(StorageCode.CONDITION_NOT_MET)
        if self.if_tags is not None and not parse_condition(self.if_tags).matches(current.tags):
            raise StorageError(StorageCode.CONDITION_NOT_MET)


UNCONDITIONAL = Conditions()


def _names(header: str, etag: str) -> bool:
    """Whether a comma separated If-(None-)Match header names `etag`; old clients leave the quotes out."""
    wanted = etag.strip('"')
    return any(
        tag in ("*", wanted)
        for tag in (part.strip().removeprefix("W/").strip('"') for part in header.split(","))
    )
