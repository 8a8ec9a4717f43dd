"""File shares at ARM."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from openbatchai.dataplane import Storage
from openbatchai.dataplane.conditions import UNCONDITIONAL
from openbatchai.dataplane.containers import Container, ContainerSettings, WithSnapshots
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.policies import check_policies
from openbatchai.dataplane.sas import StoredPolicy
from openbatchai.dataplane.snapshottimes import is_snapshot_time
from openbatchai.domain.model import StorageAccount
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.domain.storage_accounts import not_supported, refused
from openbatchai.http.calls import Answer, Call, Handler, Route
from openbatchai.http.storage.file_shares import DEFAULT_TIER, options_told, share_settings
from openbatchai.wire import arm

from . import common
from .accounts import ACCOUNT
from .common import Json, refusing

_SERVICE = f"{ACCOUNT}/fileServices/default"
_LIST = f"{_SERVICE}/shares"
_SHARE = f"{_LIST}/{{share}}"
_TYPE = "Microsoft.Storage/storageAccounts/fileServices/shares"
_FILE = StorageService.FILE
_MOST_POLICIES = 5
# The fields of `properties` that the data plane has as headers.
_HEADERS = {
    "shareQuota": "x-ms-share-quota",
    "accessTier": "x-ms-access-tier",
    "enabledProtocols": "x-ms-enabled-protocols",
    "rootSquash": "x-ms-root-squash",
    "provisionedIops": "x-ms-share-provisioned-iops",
    "provisionedBandwidthMibps": "x-ms-share-provisioned-bandwidth-mibps",
}
_BURSTING_HEADERS = {
    "paidBurstingEnabled": "x-ms-share-paid-bursting-enabled",
    "paidBurstingMaxIops": "x-ms-share-paid-bursting-max-iops",
    "paidBurstingMaxBandwidthMibps": "x-ms-share-paid-bursting-max-bandwidth-mibps",
}
_NUMBERS = ("provisionedIops", "provisionedBandwidthMibps")
# What DELETE says of snapshots, which go with their share unless it says otherwise.
_INCLUDED = {
    "": WithSnapshots.INCLUDE,
    "snapshots": WithSnapshots.INCLUDE,
    "leased-snapshots": WithSnapshots.INCLUDE_LEASED,
    "none": WithSnapshots.REFUSE,
}


class ShareRoutes:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._containers = storage.containers

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Handler]] = [
            ("GET", _LIST, self.listing),
            ("PUT", _SHARE, self.put),
            ("PATCH", _SHARE, self.patch),
            ("GET", _SHARE, self.get),
            ("DELETE", _SHARE, self.delete),
            ("POST", f"{_SHARE}/lease", self.lease),
            ("POST", f"{_SHARE}/restore", self.restore),
            ("GET", f"{_SERVICE}/usages", self.refuse_usages),
            ("GET", f"{_SERVICE}/usages/default", self.refuse_usages),
        ]
        return [Route(method, path, refusing(handler)) for method, path, handler in table]

    def listing(self, call: Call, subscription: str, group: str, account: str) -> Answer:
        owner = common.account_of(call, group, account)
        prefix, marker, limit = common.page_request(call)
        wanted = common.words(call, "$expand", "deleted", "snapshots")
        page = self._containers.list(
            owner.key,
            _FILE,
            prefix=prefix,
            marker=marker,
            limit=limit,
            with_snapshots="snapshots" in wanted,
            with_deleted="deleted" in wanted,
        )
        items = [_shown(call, owner, found) for found in page.entries]
        return common.page_answer(call, items, page.next_marker)

    def put(self, call: Call, subscription: str, group: str, account: str, share: str) -> Answer:
        """Create; change what is named of a share that is there; `$expand=snapshots` takes a snapshot."""
        owner = common.account_of(call, group, account)
        ref = ItemRef(_FILE, owner.key, share)
        if "snapshots" in common.words(call, "$expand", "snapshots"):
            metadata = common.metadata_in(common.properties_of(call))
            taken = self._storage.share_snapshots.create(ref, metadata or None)
            return Answer(201, _shown(call, owner, taken), common.etag_headers(taken))
        changes = self._changes(call)
        try:
            made, status = self._containers.create(ref, ContainerSettings(**changes)), 201
        except StorageError as error:
            if error.code is not StorageCode.SHARE_EXISTS:
                raise
            made, status = self._changed(call, ref, changes), 200
        return Answer(status, _shown(call, owner, made), common.etag_headers(made))

    def patch(self, call: Call, subscription: str, group: str, account: str, share: str) -> Answer:
        owner = common.account_of(call, group, account)
        found = self._changed(call, ItemRef(_FILE, owner.key, share), self._changes(call))
        return Answer(200, _shown(call, owner, found), common.etag_headers(found))

    def get(self, call: Call, subscription: str, group: str, account: str, share: str) -> Answer:
        owner = common.account_of(call, group, account)
        ref = ItemRef(_FILE, owner.key, share, snapshot=_snapshot(call))
        found = self._containers.get(ref)
        shown = _shown(call, owner, found)
        if "stats" in common.words(call, "$expand", "stats"):
            shown["properties"]["shareUsageBytes"] = self._storage.usage.used_bytes(ref)
        return Answer(200, shown, common.etag_headers(found))

    def delete(self, call: Call, subscription: str, group: str, account: str, share: str) -> Answer:
        ref = common.ref_of(call, group, account, _FILE, share)
        snapshot, wish = _snapshot(call), call.query.get("$include", "").lower()
        if wish not in _INCLUDED:
            raise refused("$include", "none", "snapshots", "leased-snapshots")
        try:
            if snapshot:
                self._storage.share_snapshots.delete(replace(ref, snapshot=snapshot), common.demands(call))
            else:
                self._containers.delete(ref, common.demands(call), _INCLUDED[wish])
        except StorageError as error:
            if error.code not in (StorageCode.SHARE_NOT_FOUND, StorageCode.SHARE_SNAPSHOT_NOT_FOUND):
                raise
            return Answer(204)
        return Answer(200)

    def lease(self, call: Call, subscription: str, group: str, account: str, share: str) -> Answer:
        ref = replace(common.ref_of(call, group, account, _FILE, share), snapshot=_snapshot(call))
        request = common.lease_in(call)
        _, lease = self._containers.lease(ref, request, UNCONDITIONAL)
        return common.lease_answer(self._storage, request, lease)

    def restore(self, call: Call, subscription: str, group: str, account: str, share: str) -> Answer:
        """Bring back the deleted share that the body names, as `share`."""
        owner, body = common.account_of(call, group, account), common.body_of(call)
        names = ("deletedShareName", "deletedShareVersion")
        for field in names:
            if not isinstance(body.get(field), str) or not body[field]:
                raise refused(field)
        deleted, version = (body[field] for field in names)
        self._containers.restore(ItemRef(_FILE, owner.key, deleted), version, share)
        return Answer(200)

    def refuse_usages(self, call: Call, subscription: str, group: str, account: str) -> Answer:
        common.account_of(call, group, account)
        raise not_supported("Provisioned capacity of file shares")

    def _changes(self, call: Call) -> dict[str, Any]:
        properties = common.properties_of(call)
        changes = dict(share_settings(_headers(properties), self._storage.clock))
        metadata = common.metadata_in(properties)
        if metadata is not None:
            changes["metadata"] = metadata
        if "signedIdentifiers" in properties:
            changes["policies"] = _policies(properties["signedIdentifiers"])
        return changes

    def _changed(self, call: Call, ref: ItemRef, changes: dict[str, Any]) -> Container:
        current = self._containers.get(ref)
        if not changes:
            return current
        if "options" in changes:
            changes = changes | {"options": {**current.settings.options, **changes["options"]}}
        return self._containers.update(ref, common.demands(call), **changes)


def _snapshot(call: Call) -> str:
    """The time that names the snapshot, in its one form: clients read it as a time and write it anew."""
    text = {name.lower(): value for name, value in call.headers.items()}.get("x-ms-snapshot", "")
    if not text or is_snapshot_time(text):
        return text
    try:
        moment = arm.parsed_instant(text)
    except ValueError:
        raise refused("x-ms-snapshot") from None
    return f"{moment.isoformat()[:19]}.{moment.microsecond:06d}0Z"


def _headers(properties: Json) -> dict[str, str]:
    bursting = properties.get("fileSharePaidBursting") or {}
    if not isinstance(bursting, dict):
        raise refused("properties.fileSharePaidBursting")
    given = {
        **{(f"properties.{name}", header): properties.get(name) for name, header in _HEADERS.items()},
        **{
            (f"properties.fileSharePaidBursting.{name}", header): bursting.get(name)
            for name, header in _BURSTING_HEADERS.items()
        },
    }
    headers = {}
    for (field, header), value in given.items():
        if value is None:
            continue
        if not isinstance(value, (str, int)):
            raise refused(field)
        headers[header] = str(value).lower() if isinstance(value, bool) else str(value)
    return headers


def _policies(entries: Any) -> tuple[StoredPolicy, ...]:
    if not isinstance(entries, list) or len(entries) > _MOST_POLICIES:
        raise refused("properties.signedIdentifiers")
    policies = tuple(_policy(number, entry) for number, entry in enumerate(entries))
    check_policies(policies, _FILE)
    return policies


def _policy(number: int, entry: Any) -> StoredPolicy:
    field = f"properties.signedIdentifiers[{number}]"
    if not isinstance(entry, dict):
        raise refused(field)
    access = entry.get("accessPolicy") or {}
    if not isinstance(access, dict):
        raise refused(f"{field}.accessPolicy")
    values = (entry.get("id"), *(access.get(name) for name in ("startTime", "expiryTime", "permission")))
    if not all(value is None or isinstance(value, str) for value in values):
        raise refused(field)
    return StoredPolicy(*(value or "" for value in values))


def _shown(call: Call, owner: StorageAccount, found: Container) -> Json:
    settings, options = found.settings, options_told(found.settings.options)
    changed = settings.tier_changed_ns
    properties: Json = {
        "shareQuota": settings.quota_gib,
        "accessTier": settings.access_tier or DEFAULT_TIER,
        "enabledProtocols": options.get(_HEADERS["enabledProtocols"], "SMB"),
        **common.lease_shown(found.lease),
        "lastModifiedTime": arm.instant(found.last_modified),
        "metadata": dict(settings.metadata),
        "signedIdentifiers": [_policy_shown(policy) for policy in settings.policies],
    }
    if changed:
        properties["accessTierChangeTime"] = arm.instant(datetime.fromtimestamp(changed / 1e9, UTC))
    if _HEADERS["rootSquash"] in options:
        properties["rootSquash"] = options[_HEADERS["rootSquash"]]
    properties |= {name: int(options[_HEADERS[name]]) for name in _NUMBERS if _HEADERS[name] in options}
    bursting = {
        name: options[header] == "true" if name == "paidBurstingEnabled" else int(options[header])
        for name, header in _BURSTING_HEADERS.items()
        if header in options
    }
    if bursting:
        properties["fileSharePaidBursting"] = bursting
    if found.snapshot:
        properties["snapshotTime"] = found.snapshot
    properties |= common.deletion_shown(found)
    return {
        "id": f"{common.service_id(call, owner, _FILE)}/shares/{found.name}",
        "name": found.name,
        "type": _TYPE,
        "etag": found.etag,
        "properties": properties,
    }


def _policy_shown(policy: StoredPolicy) -> Json:
    access = {"startTime": policy.start, "expiryTime": policy.expiry, "permission": policy.permission}
    return {"id": policy.id, "accessPolicy": {name: value for name, value in access.items() if value}}
