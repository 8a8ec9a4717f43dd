"""The Blob service (storage.md section 5): one handler per call, looked up by method, restype and comp."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from openbatchai.dataplane import Storage
from openbatchai.dataplane.authority import VerifyBearer
from openbatchai.dataplane.bloblist import PAGE, BlobQuery
from openbatchai.dataplane.blobs import APPEND_BLOB, BLOCK_BLOB, AppendDemands, BlobProperties
from openbatchai.dataplane.blocks import Block, Source
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.containers import Container, ContainerSettings
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sas import StoredPolicy
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage_app import Call, Level, StorageApp
from openbatchai.http.storage_content import ContentForm, send_content
from openbatchai.http.storage_exchange import Exchange
from openbatchai.http.storage_request import (
    conditions_of,
    content_of,
    includes,
    list_request,
    md5_header,
    metadata_of,
    page_limit,
    size_header,
)
from openbatchai.http.storage_target import Target
from openbatchai.wire import blob as wire
from openbatchai.wire import storage_xml

_MIB = 1 << 20
_PUT_BLOB_BYTES = 5000 * _MIB
_PUT_BLOCK_BYTES = 4000 * _MIB
_APPEND_BYTES = 100 * _MIB
_DOCUMENT_BYTES = 8 * _MIB
# Hashing costs more than writing; beyond what SDKs send in one piece it is only done when asked for.
_HASHED_BYTES = 64 * _MIB
_ENCRYPTED = {"x-ms-request-server-encrypted": "true"}
_TIERS = frozenset({"Hot", "Cool", "Cold", "Archive"})
_POLICIES = 5
_ACCOUNT_HEADERS = {"x-ms-sku-name": "Standard_LRS", "x-ms-account-kind": "StorageV2"}


def create_app(
    storage: Storage,
    verify_bearer: VerifyBearer,
    *,
    tenant: str = "common",
    pool: Executor | None = None,
) -> StorageApp:
    """ASGI app of the Blob service. `verify_bearer` gives a token's principal or None; blocking I/O runs in
    `pool`, by default one of the app's own."""
    service = _BlobService(storage)
    return StorageApp(
        StorageService.BLOB,
        storage,
        service.calls(),
        _level,
        verify_bearer=verify_bearer,
        tenant=tenant,
        pool=pool,
    )


def _level(target: Target) -> Level:
    if target.ref.path:
        return Level.ITEM
    return Level.CONTAINER if target.ref.container else Level.ACCOUNT


class _BlobService:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._blobs = storage.blobs
        self._containers = storage.containers
        self._content = ContentForm(self._blobs.open, wire.blob_headers, "x-ms-blob-content-md5")

    def calls(self) -> dict[tuple[Level, str, str, str], Call]:
        account, container, item = Level.ACCOUNT, Level.CONTAINER, Level.ITEM
        table = {
            (account, "GET", "", "list"): Call(self.list_containers, "s", "l"),
            (account, "GET", "service", "properties"): Call(self.get_service, "s", "r"),
            (account, "PUT", "service", "properties"): Call(self.set_service, "s", "w"),
            (account, "GET", "service", "stats"): Call(self.stats, "s", "r"),
            (container, "PUT", "container", ""): Call(self.create_container, "c", "cw"),
            (container, "DELETE", "container", ""): Call(self.delete_container, "c", "d"),
            (container, "PUT", "container", "metadata"): Call(self.set_container_metadata, "c", "w"),
            (container, "GET", "container", "acl"): Call(self.get_acl, "c", ""),
            (container, "HEAD", "container", "acl"): Call(self.get_acl, "c", ""),
            (container, "PUT", "container", "acl"): Call(self.set_acl, "c", ""),
            (container, "GET", "container", "list"): Call(self.list_blobs, "cl", "l"),
            (item, "PUT", "", ""): Call(self.put_blob, "o", "cw"),
            (item, "PUT", "", "block"): Call(self.put_block, "o", "w"),
            (item, "PUT", "", "blocklist"): Call(self.put_block_list, "o", "w"),
            (item, "GET", "", "blocklist"): Call(self.get_block_list, "o", "r"),
            (item, "PUT", "", "appendblock"): Call(self.append_block, "o", "aw"),
            (item, "GET", "", ""): Call(self.get_blob, "o", "r"),
            (item, "HEAD", "", ""): Call(self.head_blob, "o", "r"),
            (item, "PUT", "", "properties"): Call(self.set_blob_properties, "o", "w"),
            (item, "PUT", "", "metadata"): Call(self.set_blob_metadata, "o", "w"),
            (item, "GET", "", "metadata"): Call(self.blob_metadata, "o", "r"),
            (item, "HEAD", "", "metadata"): Call(self.blob_metadata, "o", "r"),
            (item, "PUT", "", "tier"): Call(self.set_tier, "o", "w"),
            (item, "DELETE", "", ""): Call(self.delete_blob, "o", "d"),
        }
        for method in ("GET", "HEAD"):
            for comp in ("", "metadata"):
                table[container, method, "container", comp] = Call(self.container_properties, "c", "r")
            for level in Level:
                table[level, method, "account", "properties"] = Call(
                    self.account_information, "sco", "rwdlacup"
                )
        return table

    # --- account

    async def list_containers(self, exchange: Exchange) -> None:
        query = exchange.query
        with_metadata = "metadata" in includes(query)

        def read() -> bytes:
            page = self._containers.list(
                exchange.ref.account,
                StorageService.BLOB,
                prefix=query.get("prefix", ""),
                marker=query.get("marker", ""),
                limit=page_limit(query, PAGE),
            )
            entries = (_container_entry(found, with_metadata) for found in page.entries)
            return storage_xml.containers_document(
                list_request(exchange), "Containers", entries, page.next_marker
            )

        await exchange.reply_xml(await exchange.run(read))

    async def get_service(self, exchange: Exchange) -> None:
        stored = await exchange.run(
            self._storage.service_properties, exchange.ref.account, StorageService.BLOB
        )
        await exchange.reply_xml(storage_xml.service_properties_document(stored))

    async def set_service(self, exchange: Exchange) -> None:
        document = storage_xml.parse_service_properties(await exchange.read_body(_DOCUMENT_BYTES))
        await exchange.run(
            self._storage.set_service_properties, exchange.ref.account, StorageService.BLOB, document
        )
        await exchange.reply(202)

    async def stats(self, exchange: Exchange) -> None:
        now = storage_xml.http_date(self._storage.clock.now())
        await exchange.reply_xml(wire.stats_document(now))

    async def account_information(self, exchange: Exchange) -> None:
        await exchange.reply(200, _ACCOUNT_HEADERS)

    # --- containers

    async def create_container(self, exchange: Exchange) -> None:
        headers = exchange.headers
        settings = ContainerSettings(metadata=metadata_of(headers), public_access=_public_access(exchange))
        created = await exchange.run(self._containers.create, exchange.ref, settings)
        await exchange.reply(201, _container_version(created))

    async def container_properties(self, exchange: Exchange) -> None:
        found = await exchange.run(self._containers.get, exchange.ref)
        await exchange.reply(200, _container_headers(found))

    async def set_container_metadata(self, exchange: Exchange) -> None:
        await self._update_container(exchange, metadata=metadata_of(exchange.headers))

    async def get_acl(self, exchange: Exchange) -> None:
        found = await exchange.run(self._containers.get, exchange.ref)
        policies = [
            storage_xml.Policy(policy.id, policy.start, policy.expiry, policy.permission)
            for policy in found.settings.policies
        ]
        headers = _container_version(found)
        if found.settings.public_access:
            headers["x-ms-blob-public-access"] = found.settings.public_access
        await exchange.reply_xml(storage_xml.policies_document(policies), headers)

    async def set_acl(self, exchange: Exchange) -> None:
        found = storage_xml.parse_policies(await exchange.read_body(_DOCUMENT_BYTES))
        if len(found) > _POLICIES:
            raise StorageError(StorageCode.INVALID_XML, "A container has at most five signed identifiers.")
        policies = tuple(
            StoredPolicy(entry.id, entry.start, entry.expiry, entry.permission) for entry in found
        )
        await self._update_container(exchange, policies=policies, public_access=_public_access(exchange))

    async def _update_container(self, exchange: Exchange, **changes: Any) -> None:
        conditions = conditions_of(exchange.headers)

        def update() -> Container:
            return self._containers.update(exchange.ref, conditions, **changes)

        await exchange.reply(200, _container_version(await exchange.run(update)))

    async def delete_container(self, exchange: Exchange) -> None:
        await exchange.run(self._containers.delete, exchange.ref, conditions_of(exchange.headers))
        await exchange.reply(202)

    async def list_blobs(self, exchange: Exchange) -> None:
        query = exchange.query
        wanted = BlobQuery(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            marker=query.get("marker", ""),
            limit=page_limit(query, PAGE),
        )

        def read() -> bytes:
            ref = exchange.ref
            page = self._storage.list_blobs(ref.account, ref.container, wanted)
            return wire.blobs_document(
                list_request(exchange),
                ref.container,
                page.entries,
                page.next_marker,
                with_metadata="metadata" in includes(query),
            )

        await exchange.reply_xml(await exchange.run(read))

    # --- blobs: writing

    async def put_blob(self, exchange: Exchange) -> None:
        headers = exchange.headers
        blob_type = headers.get("x-ms-blob-type")
        if blob_type is None:
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-blob-type"})
        if blob_type not in (BLOCK_BLOB, APPEND_BLOB):
            raise StorageError(
                StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-blob-type", "HeaderValue": blob_type}
            )
        wanted = _blob_properties(exchange, standard=True)
        conditions = _create_conditions(exchange)
        expected = md5_header(headers, "content-md5")
        hashing = bool(expected) or (size_header(headers, "content-length") or 0) <= _HASHED_BYTES
        digest = ""

        def finish(upload: Upload) -> Item:
            nonlocal digest
            upload.check_md5(expected)
            digest = upload.md5
            described = wanted if wanted.md5 or blob_type == APPEND_BLOB else replace(wanted, md5=digest)
            return self._blobs.put(exchange.ref, upload, described, conditions, blob_type=blob_type)

        limit = _PUT_BLOB_BYTES if blob_type == BLOCK_BLOB else 0
        item = await exchange.receive_upload(limit, self._starter(exchange, hashing=hashing), finish)
        await exchange.reply(201, _version(item) | _ENCRYPTED | _md5(digest))

    async def put_block(self, exchange: Exchange) -> None:
        block_id = exchange.query.get("blockid")
        if not block_id:
            raise StorageError(StorageCode.MISSING_QUERY, detail={"QueryParameterName": "blockid"})
        expected = md5_header(exchange.headers, "content-md5")

        def finish(upload: Upload) -> str:
            upload.check_md5(expected)
            self._blobs.put_block(exchange.ref, block_id, upload)
            return upload.md5

        start = self._starter(exchange, hashing=bool(expected))
        digest = await exchange.receive_upload(_PUT_BLOCK_BYTES, start, finish)
        await exchange.reply(201, _ENCRYPTED | _md5(digest))

    async def put_block_list(self, exchange: Exchange) -> None:
        body = await exchange.read_body(_DOCUMENT_BYTES)
        blocks = [(Source(source), block_id) for source, block_id in wire.parse_block_list(body)]
        wanted = _blob_properties(exchange, standard=False)
        item = await exchange.run(
            self._blobs.put_block_list, exchange.ref, blocks, wanted, _create_conditions(exchange)
        )
        await exchange.reply(201, _version(item) | _ENCRYPTED)

    async def append_block(self, exchange: Exchange) -> None:
        headers = exchange.headers
        expected = md5_header(headers, "content-md5")
        demands = AppendDemands(
            position=size_header(headers, "x-ms-blob-condition-appendpos"),
            max_size=size_header(headers, "x-ms-blob-condition-maxsize"),
        )
        conditions = conditions_of(headers)

        def finish(upload: Upload) -> tuple[int, Item, str]:
            upload.check_md5(expected)
            offset, item = self._blobs.append(exchange.ref, upload, demands, conditions)
            return offset, item, upload.md5

        start = self._starter(exchange, hashing=bool(expected))
        offset, item, digest = await exchange.receive_upload(_APPEND_BYTES, start, finish)
        appended = {
            "x-ms-blob-append-offset": str(offset),
            "x-ms-blob-committed-block-count": str(item.append_blocks),
        }
        await exchange.reply(201, _version(item) | _ENCRYPTED | _md5(digest) | appended)

    async def set_blob_properties(self, exchange: Exchange) -> None:
        wanted = _blob_properties(exchange, standard=False)
        item = await exchange.run(
            self._blobs.set_content, exchange.ref, wanted.content, wanted.md5, conditions_of(exchange.headers)
        )
        await exchange.reply(200, _version(item))

    async def set_blob_metadata(self, exchange: Exchange) -> None:
        headers = exchange.headers
        item = await exchange.run(
            self._blobs.set_metadata, exchange.ref, metadata_of(headers), conditions_of(headers)
        )
        await exchange.reply(200, _version(item) | _ENCRYPTED)

    async def set_tier(self, exchange: Exchange) -> None:
        tier = exchange.headers.get("x-ms-access-tier", "")
        if tier not in _TIERS:
            raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-access-tier"})
        await exchange.run(self._blobs.set_tier, exchange.ref, tier, conditions_of(exchange.headers))
        await exchange.reply(200)

    async def delete_blob(self, exchange: Exchange) -> None:
        await exchange.run(self._blobs.delete, exchange.ref, conditions_of(exchange.headers))
        await exchange.reply(202, {"x-ms-delete-type-permanent": "true"})

    # --- blobs: reading

    async def get_blob(self, exchange: Exchange) -> None:
        await send_content(exchange, self._storage, self._content)

    async def head_blob(self, exchange: Exchange) -> None:
        item = await exchange.run(self._blobs.properties, exchange.ref)
        conditions_of(exchange.headers).check_read(item.version)
        headers = wire.blob_headers(item, exchange.version)
        await exchange.reply_head(headers | _md5(item.md5), item.size)

    async def blob_metadata(self, exchange: Exchange) -> None:
        item = await exchange.run(self._blobs.properties, exchange.ref)
        conditions_of(exchange.headers).check_read(item.version)
        metadata = {f"x-ms-meta-{name}": value for name, value in item.metadata.items()}
        await exchange.reply(200, _version(item) | metadata)

    async def get_block_list(self, exchange: Exchange) -> None:
        kind = exchange.query.get("blocklisttype", "committed").lower()
        if kind not in ("committed", "uncommitted", "all"):
            raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "blocklisttype"})
        item, lists = await exchange.run(self._blobs.block_lists, exchange.ref)
        document = wire.block_list_document(
            None if kind == "uncommitted" else _pairs(lists.committed),
            None if kind == "committed" else _pairs(lists.uncommitted),
        )
        size = {"x-ms-blob-content-length": str(item.size if item else 0)}
        await exchange.reply_xml(document, size | (_version(item) if item else {}))

    def _starter(self, exchange: Exchange, *, hashing: bool) -> Callable[[], Upload]:
        return lambda: self._blobs.new_upload(exchange.ref.account, hashing=hashing)


def _pairs(blocks: tuple[Block, ...]) -> list[tuple[str, int]]:
    return [(block.id, block.size) for block in blocks]


def _blob_properties(exchange: Exchange, *, standard: bool) -> BlobProperties:
    headers = exchange.headers
    tier = headers.get("x-ms-access-tier", "")
    if tier and tier not in _TIERS:
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-access-tier"})
    return BlobProperties(
        content=content_of(headers, "x-ms-blob-", standard=standard),
        metadata=metadata_of(headers),
        md5=md5_header(headers, "x-ms-blob-content-md5"),
        tier=tier,
    )


def _create_conditions(exchange: Exchange) -> Conditions:
    """With permission to create but not to write, an existing blob stays as it is."""
    conditions = conditions_of(exchange.headers)
    permissions = exchange.grant.permissions
    if permissions is not None and "w" not in permissions:
        return replace(conditions, if_none_match="*")
    return conditions


def _public_access(exchange: Exchange) -> str:
    access = exchange.headers.get("x-ms-blob-public-access", "")
    if access:
        # Everything here is private; an account in Azure may be set up to answer just so.
        raise StorageError(
            StorageCode.UNSUPPORTED_HEADER,
            "Public access is not permitted on this storage account.",
            detail={"HeaderName": "x-ms-blob-public-access"},
        )
    return access


def _version(item: Item) -> dict[str, str]:
    return {"ETag": item.etag, "Last-Modified": storage_xml.http_date(item.last_modified)}


def _md5(digest: str) -> dict[str, str]:
    return {"Content-MD5": digest} if digest else {}


def _container_version(found: Container) -> dict[str, str]:
    return {"ETag": found.etag, "Last-Modified": storage_xml.http_date(found.last_modified)}


def _container_headers(found: Container) -> dict[str, str]:
    fixed = {
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-has-immutability-policy": "false",
        "x-ms-has-legal-hold": "false",
        "x-ms-immutable-storage-with-versioning-enabled": "false",
        "x-ms-default-encryption-scope": "$account-encryption-key",
        "x-ms-deny-encryption-scope-override": "false",
    }
    metadata = {f"x-ms-meta-{name}": value for name, value in found.settings.metadata.items()}
    return _container_version(found) | fixed | metadata


def _container_entry(found: Container, with_metadata: bool) -> storage_xml.ContainerEntry:
    properties = {
        "Last-Modified": storage_xml.http_date(found.last_modified),
        "Etag": found.etag,
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
        "HasImmutabilityPolicy": "false",
        "HasLegalHold": "false",
    }
    return storage_xml.ContainerEntry(
        found.name, properties, found.settings.metadata if with_metadata else None
    )
