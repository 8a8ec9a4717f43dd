"""Shares and blob containers: the directories one level below a service (storage.md 5.2, 7.1)."""

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
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
from openbatchai.dataplane.sas import StoredPolicy
from openbatchai.domain.ports import Clock, ItemRef, StorageService

DEFAULT_QUOTA_GIB = 5120


@dataclass(frozen=True)
class ContainerSettings:
    """What a client sets on a container or share. The quota is kept, not enforced."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    quota_gib: int = DEFAULT_QUOTA_GIB
    public_access: str = ""
    policies: tuple[StoredPolicy, ...] = ()


@dataclass(frozen=True)
class Container:
    name: str
    settings: ContainerSettings
    etag: str
    last_modified: datetime
    lease: LeaseFacts = UNLEASED

    @property
    def version(self) -> Version:
        return Version(self.etag, self.last_modified)


class Containers:
    def __init__(self, places: Places, clock: Clock) -> None:
        self._places = places
        self._clock = clock

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
            self._places.discard_snapshots(ref.account, ref.service, ref.container)
            self._write(ref, settings, None)
            made = self._places.made_path(ref.account)
            made.mkdir()
            made.chmod(DIRECTORY_MODE)
            made.rename(path)
            self._places.sync_path(path.parent)
            return self.get(ref)

    def get(self, ref: ItemRef, conditions: Conditions = UNCONDITIONAL) -> Container:
        """Of `conditions` only the lease: container reads know no others (storage.md 5.3)."""
        with self._places.container(ref.account, ref.service, ref.container) as fd:
            found = os.fstat(fd)
        if conditions.lease_id:
            self._check_lease(ref, conditions, needed=False)
        return self._read(ref, found)

    def used_bytes(self, ref: ItemRef) -> int:
        """The length of all files in it; links are not followed."""
        path = self._places.container_path(ref.account, ref.service, ref.container)
        self.get(ref)
        total = 0
        for _, _, names, directory in os.fwalk(path):
            for name in names:
                with suppress(FileNotFoundError):
                    total += os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
        return total

    def update(self, ref: ItemRef, conditions: Conditions, **changes: Any) -> Container:
        """Replace the named settings."""
        with self._locked(ref):
            current = self.get(ref, conditions)
            conditions.check_write(current.version)
            self._write(ref, replace(current.settings, **changes), _lease(self._document(ref)))
            return self.get(ref)

    def delete(self, ref: ItemRef, conditions: Conditions) -> None:
        """Only this needs the id of an active lease: a lease of a container guards its existence."""
        with self._places.locked_all():
            conditions.check_write(self.get(ref).version)
            self._check_lease(ref, conditions, needed=True)
            self._places.remove_container(ref.account, ref.service, ref.container)

    def lease(
        self, ref: ItemRef, request: LeaseRequest, conditions: Conditions
    ) -> tuple[Container, Lease | None]:
        """Carry out a lease operation; neither ETag nor time of the container change by it."""
        with self._locked(ref):
            current = self.get(ref)
            conditions.check_write(current.version)
            values = self._document(ref)
            lease = change_lease(_lease(values), request, self._now_ns())
            self._places.store(ref.account).put_container(
                ref.service, ref.container, json.dumps(values | {"lease": lease})
            )
            return current, lease

    def list(
        self, account: str, service: StorageService, *, prefix: str, marker: str, limit: int
    ) -> Page[Container]:
        after = decode_marker(marker)
        self._places.store(account)
        with os.scandir(self._places.service_home(account, service)) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.startswith(prefix)
                and entry.name > after
                and is_container_name(entry.name)
                and entry.is_dir()
            )
        page = names[:limit]
        next_marker = encode_marker(page[-1]) if len(names) > len(page) else ""
        refs = (ItemRef(service, account, name) for name in page)
        return Page([self._read(ref, self._stat(ref)) for ref in refs], next_marker)

    def _stat(self, ref: ItemRef) -> os.stat_result:
        return self._places.container_path(ref.account, ref.service, ref.container).stat()

    def _check_lease(self, ref: ItemRef, conditions: Conditions, *, needed: bool) -> None:
        lease = _lease(self._document(ref))
        check_use(lease, self._now_ns(), conditions.lease_id, CONTAINER_CODES, needed=needed)

    def _locked(self, ref: ItemRef) -> AbstractContextManager[None]:
        return self._places.locked(ref.account, (ref.service, ref.container, ""))

    def _document(self, ref: ItemRef) -> dict[str, Any]:
        """What is stored about it: settings, `stamp` and `touched_ns`, and the lease."""
        document = self._places.store(ref.account).container(ref.service, ref.container)
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
        policies = tuple(StoredPolicy(**policy) for policy in values.pop("policies", ()))
        etag, touched_ns = f'"0x{values.pop("stamp"):014X}"', values.pop("touched_ns")
        values.pop("lease", None)
        return Container(
            ref.container,
            ContainerSettings(policies=policies, **values),
            etag,
            whole_seconds(touched_ns),
            lease,
        )

    def _write(self, ref: ItemRef, settings: ContainerSettings, lease: Lease | None) -> None:
        kept = {"stamp": secrets.randbits(56), "touched_ns": self._now_ns(), "lease": lease}
        self._places.store(ref.account).put_container(
            ref.service, ref.container, json.dumps(asdict(settings) | kept)
        )

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000) * 1_000


def _lease(document: Mapping[str, Any]) -> Lease | None:
    stored = document.get("lease")
    return Lease(*stored) if stored else None
