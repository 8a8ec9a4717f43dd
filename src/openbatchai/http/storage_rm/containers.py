"""Blob containers at ARM."""

from typing import Any

from openbatchai.dataplane import Storage
from openbatchai.dataplane.conditions import UNCONDITIONAL
from openbatchai.dataplane.containers import Container, ContainerSettings
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.domain.model import StorageAccount
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.domain.storage_accounts import not_supported, refused
from openbatchai.http.calls import Answer, Call, Handler, Route
from openbatchai.wire import arm

from . import common
from .accounts import ACCOUNT
from .common import Json, refusing

_LIST = f"{ACCOUNT}/blobServices/default/containers"
_CONTAINER = f"{_LIST}/{{container}}"
_POLICY = f"{_CONTAINER}/immutabilityPolicies/default"
_TYPE = "Microsoft.Storage/storageAccounts/blobServices/containers"
_ACCESS = {"none": "", "blob": "blob", "container": "container"}
_BLOB = StorageService.BLOB


class ContainerRoutes:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._containers = storage.containers

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Handler]] = [
            ("GET", _LIST, self.listing),
            ("PUT", _CONTAINER, self.put),
            ("PATCH", _CONTAINER, self.patch),
            ("GET", _CONTAINER, self.get),
            ("DELETE", _CONTAINER, self.delete),
            ("POST", f"{_CONTAINER}/lease", self.lease),
            ("GET", _POLICY, self.get_policy),
            ("PUT", _POLICY, self.refuse_policy),
            ("DELETE", _POLICY, self.refuse_policy),
            *(("POST", f"{_POLICY}/{action}", self.refuse_policy) for action in ("lock", "extend")),
            *(
                ("POST", f"{_CONTAINER}/{action}", self.refuse_policy)
                for action in ("setLegalHold", "clearLegalHold", "migrate")
            ),
        ]
        return [Route(method, path, refusing(handler)) for method, path, handler in table]

    def listing(self, call: Call, subscription: str, group: str, account: str) -> Answer:
        owner = common.account_of(call, group, account)
        prefix, marker, limit = common.page_request(call)
        page = self._containers.list(
            owner.key,
            _BLOB,
            prefix=prefix,
            marker=marker,
            limit=limit,
            with_deleted="deleted" in common.words(call, "$include", "deleted"),
        )
        items = [_shown(call, owner, found) for found in page.entries]
        return common.page_answer(call, items, page.next_marker)

    def put(self, call: Call, subscription: str, group: str, account: str, container: str) -> Answer:
        """Create; of a container that is there, change what is named."""
        owner = common.account_of(call, group, account)
        ref, changes = ItemRef(_BLOB, owner.key, container), self._changes(call, owner)
        try:
            made, status = self._containers.create(ref, ContainerSettings(**changes)), 201
        except StorageError as error:
            if error.code is not StorageCode.CONTAINER_EXISTS:
                raise
            made, status = self._changed(call, ref, changes), 200
        return Answer(status, _shown(call, owner, made), common.etag_headers(made))

    def patch(self, call: Call, subscription: str, group: str, account: str, container: str) -> Answer:
        owner = common.account_of(call, group, account)
        ref = ItemRef(_BLOB, owner.key, container)
        found = self._changed(call, ref, self._changes(call, owner))
        return Answer(200, _shown(call, owner, found), common.etag_headers(found))

    def get(self, call: Call, subscription: str, group: str, account: str, container: str) -> Answer:
        owner = common.account_of(call, group, account)
        found = self._containers.get(ItemRef(_BLOB, owner.key, container))
        return Answer(200, _shown(call, owner, found), common.etag_headers(found))

    def delete(self, call: Call, subscription: str, group: str, account: str, container: str) -> Answer:
        ref = common.ref_of(call, group, account, _BLOB, container)
        try:
            self._containers.delete(ref, common.demands(call))
        except StorageError as error:
            if error.code is not StorageCode.CONTAINER_NOT_FOUND:
                raise
            return Answer(204)
        return Answer(200)

    def lease(self, call: Call, subscription: str, group: str, account: str, container: str) -> Answer:
        ref = common.ref_of(call, group, account, _BLOB, container)
        request = common.lease_in(call)
        _, lease = self._containers.lease(ref, request, UNCONDITIONAL)
        return common.lease_answer(self._storage, request, lease)

    def get_policy(self, call: Call, subscription: str, group: str, account: str, container: str) -> Answer:
        """A container without a policy is told to keep nothing from changes."""
        owner = common.account_of(call, group, account)
        self._containers.get(ItemRef(_BLOB, owner.key, container))
        place = f"{common.service_id(call, owner, _BLOB)}/containers/{container}"
        return Answer(
            200,
            {
                "id": f"{place}/immutabilityPolicies/default",
                "name": "default",
                "type": f"{_TYPE}/immutabilityPolicies",
                "etag": "",
                "properties": {"immutabilityPeriodSinceCreationInDays": 0, "state": "Unlocked"},
            },
        )

    def refuse_policy(
        self, call: Call, subscription: str, group: str, account: str, container: str
    ) -> Answer:
        """Containers are directories, which jobs write to: nothing could hold them to such a promise."""
        self._containers.get(common.ref_of(call, group, account, _BLOB, container))
        raise not_supported("Immutable storage")

    def _changes(self, call: Call, owner: StorageAccount) -> dict[str, Any]:
        properties, changes = common.properties_of(call), dict[str, Any]()
        metadata = common.metadata_in(properties)
        if metadata is not None:
            changes["metadata"] = metadata
        if "publicAccess" in properties:
            access = _ACCESS.get(str(properties["publicAccess"]).lower())
            if access is None:
                raise refused("properties.publicAccess", "None", "Blob", "Container")
            self._storage.check_public_access(owner.key, access)
            changes["public_access"] = access
        scope = properties.get("defaultEncryptionScope", "$account-encryption-key")
        if scope != "$account-encryption-key":
            raise not_supported("An encryption scope")
        if (properties.get("immutableStorageWithVersioning") or {}) not in ({}, {"enabled": False}):
            raise not_supported("Immutable storage with versioning")
        return changes

    def _changed(self, call: Call, ref: ItemRef, changes: dict[str, Any]) -> Container:
        if not changes:
            return self._containers.get(ref)
        return self._containers.update(ref, common.demands(call), **changes)


def _shown(call: Call, owner: StorageAccount, found: Container) -> Json:
    access = found.settings.public_access
    return {
        "id": f"{common.service_id(call, owner, _BLOB)}/containers/{found.name}",
        "name": found.name,
        "type": _TYPE,
        "etag": found.etag,
        "properties": {
            "deleted": False,
            "remainingRetentionDays": 0,
            "defaultEncryptionScope": "$account-encryption-key",
            "denyEncryptionScopeOverride": False,
            "publicAccess": access.capitalize() if access else "None",
            **common.lease_shown(found.lease),
            "lastModifiedTime": arm.instant(found.last_modified),
            "metadata": dict(found.settings.metadata),
            "legalHold": {"hasLegalHold": False, "tags": []},
            "hasImmutabilityPolicy": False,
            "hasLegalHold": False,
            **common.deletion_shown(found),
        },
    }
