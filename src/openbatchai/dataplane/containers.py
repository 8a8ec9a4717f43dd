"""Shares and blob containers: the directories one level below a service (storage.md 5.2, 7.1)."""

import builtins
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from openbatchai.dataplane.beneath import DIRECTORY_MODE
from openbatchai.dataplane.bloblist import Page, decode_marker, encode_marker
from openbatchai.dataplane.conditions import UNCONDITIONAL, Conditions, Version
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.leases import (
    CONTAINER_CODES,
    UNLEASED,
    Lease,
    LeaseFacts,
    LeaseRequest,
    check_use,
    facts_of,
)
from openbatchai.dataplane.leases import change as change_lease
from openbatchai.dataplane.names import check_container_name, is_container_name
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.records import whole_seconds
from openbatchai.dataplane.retained import Retained, RetainedContainers
from openbatchai.dataplane.sas import StoredPolicy
from openbatchai.dataplane.snapshottimes import is_snapshot_time
from openbatchai.domain.ports import Clock, ItemRef, StorageService

DEFAULT_QUOTA_GIB = 5120


class WithSnapshots(StrEnum):
    """What a delete says of a share's snapshots; without a word their existence refuses it."""

    REFUSE = ""
    INCLUDE = "include"
    INCLUDE_LEASED = "include-leased"


@dataclass(frozen=True)
class ContainerSettings:
    """What a client sets on a container or share. Quota and tier are kept, not enforced.

    `options` are further headers of shares, as they were given.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    quota_gib: int = DEFAULT_QUOTA_GIB
    public_access: str = ""
    policies: tuple[StoredPolicy, ...] = ()
    access_tier: str = ""
    tier_changed_ns: int = 0
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deletion:
    """A container that can come back: what tells it from others of its name, when it went, for how long."""

    version: str
    at: datetime
    days_left: int


@dataclass(frozen=True)
class Container:
    name: str
    settings: ContainerSettings
    etag: str
    last_modified: datetime
    lease: LeaseFacts = UNLEASED
    snapshot: str = ""
    deletion: Deletion | None = None

    @property
    def version(self) -> Version:
        return Version(self.etag, self.last_modified)


class Containers:
    """`kept_days`: for how long deleted containers of an account's service can come back."""

    def __init__(
        self,
        places: Places,
        clock: Clock,
        kept_days: Callable[[str, StorageService], int] = lambda account, service: 0,
    ) -> None:
        self._places = places
        self._clock = clock
        self._kept_days = kept_days
        self.retained = RetainedContainers(places, clock)

    def create(self, ref: ItemRef, settings: ContainerSettings) -> Container:
        check_container_name(ref.container)
        store = self._places.store(ref.account)
        path = self._places.container_path(ref.account, ref.service, ref.container)
        with self._places.locked_all():
            if os.path.lexists(path):
                is_file = ref.service is StorageService.FILE
                raise StorageError(StorageCode.SHARE_EXISTS if is_file else StorageCode.CONTAINER_EXISTS)
            # The record first: whoever sees the directory, after a crash too, sees it as it was asked for.
            store.drop_container(ref.service, ref.container)
            self._places.remove_leftovers(ref.account, ref.service, ref.container)
            self._write(ref, settings, None)
            made = self._places.made_path(ref.account)
            made.mkdir()
            made.chmod(DIRECTORY_MODE)
            made.rename(path)
            self._places.sync_path(path.parent)
            return self.get(ref)

    def get(self, ref: ItemRef, conditions: Conditions = UNCONDITIONAL) -> Container:
        """Of `conditions` only the lease: container reads know no others (storage.md 5.3)."""
        with self._places.container(ref.account, ref.service, ref.container, ref.snapshot) as fd:
            found = os.fstat(fd)
        if conditions.lease_id:
            self._check_lease(ref, conditions, needed=False)
        return self._read(ref, found)

    def update(self, ref: ItemRef, conditions: Conditions, **changes: Any) -> Container:
        """Replace the named settings."""
        refuse_snapshot(ref)
        with self._locked(ref):
            current = self.get(ref, conditions)
            conditions.check_write(current.version)
            self._write(ref, replace(current.settings, **changes), _lease(self._document(ref)))
            return self.get(ref)

    def delete(
        self, ref: ItemRef, conditions: Conditions, snapshots: WithSnapshots = WithSnapshots.REFUSE
    ) -> None:
        """Only this needs the id of an active lease: a lease of a container guards its existence.

        `snapshots`: whether those of a share go with it.
        """
        with self._places.locked_all():
            self.check_delete(ref, conditions)
            self._check_snapshots(ref, snapshots)
            days = self._kept_days(ref.account, ref.service)
            if days:
                self.retained.keep(ref, self._told(self.get(ref)), days)
            else:
                self._places.remove_container(ref.account, ref.service, ref.container)

    def restore(self, ref: ItemRef, version: str, target: str) -> Container:
        """Bring back the deleted container of that version, as `target`. Raises 404, 409."""
        with self._places.locked_all():
            self.retained.give_back(ref, version, target)
            return self.get(replace(ref, container=target))

    @staticmethod
    def _told(found: Container) -> str:
        """What listings tell of it once it is deleted."""
        modified = found.last_modified.isoformat()
        return json.dumps({"settings": asdict(found.settings), "etag": found.etag, "modified": modified})

    def _deleted(self, row: Retained) -> Container:
        told = json.loads(row.document)
        deletion = Deletion(row.version, whole_seconds(row.deleted_ns), row.days_left(self._now_ns()))
        modified = datetime.fromisoformat(told["modified"])
        return Container(row.name, _settings(told["settings"]), told["etag"], modified, deletion=deletion)

    def check_delete(self, ref: ItemRef, conditions: Conditions) -> None:
        conditions.check_write(self.get(ref).version)
        self._check_lease(ref, conditions, needed=True)

    def _check_snapshots(self, ref: ItemRef, allowed: WithSnapshots) -> None:
        if ref.service is not StorageService.FILE or allowed is WithSnapshots.INCLUDE_LEASED:
            return
        taken = [replace(ref, snapshot=snapshot) for snapshot in self.snapshots(ref)]
        if taken and allowed is WithSnapshots.REFUSE:
            raise StorageError(StorageCode.SHARE_HAS_SNAPSHOTS)
        if any(self.get(snapshot).lease.status == "locked" for snapshot in taken):
            raise StorageError(StorageCode.SHARE_SNAPSHOT_LEASED)

    def snapshots(self, ref: ItemRef) -> builtins.list[str]:
        """The times of a share's snapshots, the oldest first."""
        home = self._places.snapshots_home(ref.account, ref.service, ref.container)
        try:
            return sorted(entry.name for entry in home.iterdir() if is_snapshot_time(entry.name))
        except FileNotFoundError:
            return []

    def describe_snapshot(self, ref: ItemRef, settings: ContainerSettings) -> None:
        """Write what is told of a snapshot that is about to come."""
        self._write(ref, settings, None)

    def lease(
        self, ref: ItemRef, request: LeaseRequest, conditions: Conditions
    ) -> tuple[Container, Lease | None]:
        """Carry out a lease operation; neither ETag nor time of the container change by it."""
        with self._locked(ref):
            current = self.get(ref)
            conditions.check_write(current.version)
            values = self._document(ref)
            lease = change_lease(_lease(values), request, self._now_ns())
            self._put(ref, values | {"lease": lease})
            return current, lease

    def list(
        self,
        account: str,
        service: StorageService,
        *,
        prefix: str,
        marker: str,
        limit: int,
        with_snapshots: bool = False,
        with_deleted: bool = False,
    ) -> Page[Container]:
        """By name; before the container itself, when they are asked for, what was deleted under its name and
        snapshots of a share, the oldest first."""
        after = _listed_place(decode_marker(marker)) if marker else ("", "")
        self._places.store(account)
        with os.scandir(self._places.service_home(account, service)) as entries:
            names = {
                entry.name
                for entry in entries
                if entry.name.startswith(prefix)
                and entry.name >= after[0]
                and is_container_name(entry.name)
                and entry.is_dir()
            }
        deleted: dict[str, builtins.list[Retained]] = {}
        for row in self.retained.listed(account, service, prefix) if with_deleted else ():
            deleted.setdefault(row.name, []).append(row)
        refs: builtins.list[ItemRef | Retained] = []
        for name in sorted({*names, *deleted}):
            base = ItemRef(service, account, name)
            snapshots = self.snapshots(base) if with_snapshots and name in names else []
            entries_of_name: builtins.list[ItemRef | Retained] = [
                *deleted.get(name, ()),
                *(replace(base, snapshot=snapshot) for snapshot in snapshots),
                *([base] if name in names else []),
            ]
            refs += [ref for ref in entries_of_name if _place_of(ref) > after]
            if len(refs) > limit:
                break
        page = refs[:limit]
        next_marker = encode_marker("/".join(_place_of(page[-1]))) if len(refs) > limit else ""
        found: builtins.list[Container] = []
        for ref in page:
            if isinstance(ref, Retained):
                found.append(self._deleted(ref))
                continue
            # It may be deleted in this moment.
            with suppress(StorageError):
                found.append(self.get(ref))
        return Page(found, next_marker)

    def _check_lease(self, ref: ItemRef, conditions: Conditions, *, needed: bool) -> None:
        lease = _lease(self._document(ref))
        check_use(lease, self._now_ns(), conditions.lease_id, CONTAINER_CODES, needed=needed)

    def _locked(self, ref: ItemRef) -> AbstractContextManager[bool]:
        return self._places.locked(ref.account, (ref.service, ref.container, ""))

    def _document(self, ref: ItemRef) -> dict[str, Any]:
        """What is stored about it: settings, `stamp` and `touched_ns`, and the lease."""
        store = self._places.store(ref.account)
        document = store.container(ref.service, ref.container, ref.snapshot)
        values: dict[str, Any] = json.loads(document) if document is not None else {}
        return values

    def _read(self, ref: ItemRef, found: os.stat_result) -> Container:
        values = self._document(ref)
        lease = facts_of(_lease(values), self._now_ns())
        if "stamp" not in values:
            # Made with mkdir: nobody set anything on it.
            etag = f'"0x{found.st_ino:08X}{found.st_ctime_ns & 0xFFFFFFFF:08X}"'
            return Container(
                ref.container, ContainerSettings(), etag, whole_seconds(found.st_mtime_ns), lease
            )
        etag, touched_ns = f'"0x{values.pop("stamp"):014X}"', values.pop("touched_ns")
        values.pop("lease", None)
        return Container(
            ref.container,
            _settings(values),
            etag,
            whole_seconds(touched_ns),
            lease,
            ref.snapshot,
        )

    def _write(self, ref: ItemRef, settings: ContainerSettings, lease: Lease | None) -> None:
        kept = {"stamp": secrets.randbits(56), "touched_ns": self._now_ns(), "lease": lease}
        self._put(ref, asdict(settings) | kept)

    def _put(self, ref: ItemRef, document: Mapping[str, Any]) -> None:
        store = self._places.store(ref.account)
        store.put_container(ref.service, ref.container, json.dumps(document), ref.snapshot)

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000) * 1_000


def _settings(values: dict[str, Any]) -> ContainerSettings:
    policies = tuple(StoredPolicy(**policy) for policy in values.pop("policies", ()))
    return ContainerSettings(policies=policies, **values)


def _lease(document: Mapping[str, Any]) -> Lease | None:
    stored = document.get("lease")
    return Lease(*stored) if stored else None


def refuse_snapshot(ref: ItemRef) -> None:
    """Snapshots cannot be changed."""
    if ref.snapshot:
        raise StorageError(
            StorageCode.INVALID_QUERY,
            "A snapshot cannot be changed.",
            detail={"QueryParameterName": "sharesnapshot"},
        )


def _place_of(ref: ItemRef | Retained) -> tuple[str, str]:
    """Where a listing has it: a share comes after its snapshots, those after what was deleted."""
    if isinstance(ref, Retained):
        return ref.name, f"!{ref.version}"
    return ref.container, ref.snapshot or "~"


def _listed_place(marker: str) -> tuple[str, str]:
    name, _, snapshot = marker.partition("/")
    return name, snapshot or "~"
