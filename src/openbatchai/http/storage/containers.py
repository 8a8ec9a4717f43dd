"""Calls about the account and about whole containers or shares: the same in both services but for names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from openbatchai.dataplane import Storage
from openbatchai.dataplane.containers import Container, ContainerSettings
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.policies import check_policies
from openbatchai.dataplane.sas import StoredPolicy
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.answers import version_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import conditions_of, includes, list_request, metadata_of, page_limit
from openbatchai.wire import storage_xml

_PAGE = 5000
_DOCUMENT_BYTES = 64 << 10
_POLICIES = 5


@dataclass(frozen=True)
class ContainerForm:
    """What differs between containers and shares.

    `settings` reads what a request sets beside metadata (fields of ContainerSettings), `headers` and
    `properties` tell about a container in answers and listings, `acl_headers` in Get ACL.
    """

    service: StorageService
    noun: str
    settings: Callable[[Exchange], Mapping[str, Any]]
    headers: Callable[[Container, str], dict[str, str]]
    properties: Callable[[Container], Mapping[str, str]]
    acl_headers: Callable[[Container], dict[str, str]]

    @property
    def restype(self) -> str:
        return self.noun.lower()


class ContainerCalls:
    def __init__(self, storage: Storage, form: ContainerForm) -> None:
        self._storage = storage
        self._containers = storage.containers
        self._form = form

    def calls(self) -> Calls:
        account, container = Level.ACCOUNT, Level.CONTAINER
        noun, restype = self._form.noun, self._form.restype
        table = {
            (account, "GET", "", "list"): Call(f"List{noun}s", self.list, "s", "l"),
            (container, "PUT", restype, ""): Call(f"Create{noun}", self.create, "c", "cw"),
            (container, "DELETE", restype, ""): Call(f"Delete{noun}", self.delete, "c", "d"),
            (container, "PUT", restype, "undelete"): Call(f"Restore{noun}", self.restore, "c", "w"),
            (container, "PUT", restype, "metadata"): Call(f"Set{noun}Metadata", self.set_metadata, "c", "w"),
            (container, "PUT", restype, "acl"): Call(f"Set{noun}Acl", self.set_acl, "c", ""),
        }
        for method in ("GET", "HEAD"):
            table[container, method, restype, "acl"] = Call(f"Get{noun}Acl", self.get_acl, "c", "")
            for comp, what in (("", "Properties"), ("metadata", "Metadata")):
                table[container, method, restype, comp] = Call(f"Get{noun}{what}", self.properties, "c", "r")
        return table

    # --- account

    async def list(self, exchange: Exchange) -> None:
        query = exchange.query
        included = includes(query)

        def entry(found: Container) -> storage_xml.ContainerEntry:
            metadata = found.settings.metadata if "metadata" in included else None
            properties = self._form.properties(found)
            if found.deletion is None:
                return storage_xml.ContainerEntry(found.name, properties, metadata, found.snapshot)
            gone = {
                "DeletedTime": storage_xml.http_date(found.deletion.at),
                "RemainingRetentionDays": str(found.deletion.days_left),
            }
            version = found.deletion.version
            return storage_xml.ContainerEntry(found.name, {**properties, **gone}, metadata, version=version)

        def read() -> bytes:
            page = self._containers.list(
                exchange.ref.account,
                self._form.service,
                prefix=query.get("prefix", ""),
                marker=query.get("marker", ""),
                limit=page_limit(query, _PAGE),
                with_snapshots="snapshots" in included and self._form.service is StorageService.FILE,
                with_deleted="deleted" in included,
            )
            return storage_xml.containers_document(
                list_request(exchange),
                f"{self._form.noun}s",
                (entry(found) for found in page.entries),
                page.next_marker,
            )

        await exchange.reply_xml(await exchange.run(read))

    # --- containers

    async def create(self, exchange: Exchange) -> None:
        settings = ContainerSettings(metadata=metadata_of(exchange.headers), **self._form.settings(exchange))
        created = await exchange.run(self._containers.create, exchange.ref, settings)
        await exchange.reply(201, version_headers(created))

    async def properties(self, exchange: Exchange) -> None:
        found = await exchange.run(self._containers.get, exchange.ref, conditions_of(exchange.headers))
        metadata = {f"x-ms-meta-{name}": value for name, value in found.settings.metadata.items()}
        own = self._form.headers(found, exchange.version)
        await exchange.reply(200, version_headers(found) | own | metadata)

    async def set_metadata(self, exchange: Exchange) -> None:
        await self.update(exchange, metadata=metadata_of(exchange.headers))

    async def get_acl(self, exchange: Exchange) -> None:
        found = await exchange.run(self._containers.get, exchange.ref, conditions_of(exchange.headers))
        policies = [
            storage_xml.Policy(policy.id, policy.start, policy.expiry, policy.permission)
            for policy in found.settings.policies
        ]
        headers = version_headers(found) | self._form.acl_headers(found)
        await exchange.reply_xml(storage_xml.policies_document(policies), headers)

    async def set_acl(self, exchange: Exchange) -> None:
        found = storage_xml.parse_policies(await exchange.read_body(_DOCUMENT_BYTES))
        if len(found) > _POLICIES:
            raise StorageError(
                StorageCode.INVALID_XML, f"A {self._form.restype} has at most five signed identifiers."
            )
        policies = tuple(
            StoredPolicy(entry.id, entry.start, entry.expiry, entry.permission) for entry in found
        )
        check_policies(policies, self._form.service)
        await self.update(exchange, policies=policies, **self._form.settings(exchange))

    async def update(self, exchange: Exchange, **changes: Any) -> None:
        """Replace the named settings and answer."""
        conditions = conditions_of(exchange.headers)

        def change() -> Container:
            return self._containers.update(exchange.ref, conditions, **changes)

        await exchange.reply(200, version_headers(await exchange.run(change)))

    async def restore(self, exchange: Exchange) -> None:
        """Bring back what was deleted, by the name and version that a listing told."""
        restype = self._form.restype
        names = (f"x-ms-deleted-{restype}-name", f"x-ms-deleted-{restype}-version")
        for name in names:
            if not exchange.headers.get(name):
                raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": name})
        deleted, version = (exchange.headers[name] for name in names)
        ref = replace(exchange.ref, container=deleted)
        found = await exchange.run(self._containers.restore, ref, version, exchange.ref.container)
        await exchange.reply(201, version_headers(found))

    async def delete(self, exchange: Exchange) -> None:
        await exchange.run(self._containers.delete, exchange.ref, conditions_of(exchange.headers))
        await exchange.reply(202)
