"""The Files service (storage.md section 7): one handler per call, looked up by method, restype and comp."""

from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from openbatchai.dataplane import Storage
from openbatchai.dataplane.authority import VerifyBearer
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.containers import Container, ContainerSettings
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.files import ByteRanges, FileSettings
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sas import StoredPolicy
from openbatchai.dataplane.uploads import md5_of
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
    range_of,
    required_size,
    size_header,
)
from openbatchai.http.storage_target import Target
from openbatchai.wire import files as wire
from openbatchai.wire import storage_xml

_PAGE = 5000
_RANGE_BYTES = 4 << 20
_FILE_BYTES = 4 << 40
_DOCUMENT_BYTES = 1 << 20
_MOST_QUOTA_GIB = 102_400
_POLICIES = 5
_ENCRYPTED = {"x-ms-request-server-encrypted": "true"}
_DETAILS = frozenset({"timestamps", "etag", "attributes", "permissionkey"})


def create_app(
    storage: Storage,
    verify_bearer: VerifyBearer,
    *,
    tenant: str = "common",
    pool: Executor | None = None,
) -> StorageApp:
    """ASGI app of the Files service; the parameters are those of http.blob.create_app."""
    service = _FileService(storage)
    return StorageApp(
        StorageService.FILE,
        storage,
        service.calls(),
        _level,
        verify_bearer=verify_bearer,
        tenant=tenant,
        pool=pool,
    )


def _level(target: Target) -> Level:
    if not target.ref.container:
        return Level.ACCOUNT
    # The root directory of a share has the share's own path; only restype tells them apart.
    at_share = not target.ref.path and target.query.get("restype", "").lower() != "directory"
    return Level.CONTAINER if at_share else Level.ITEM


class _FileService:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._files = storage.files
        self._shares = storage.containers
        self._content = ContentForm(self._files.open, wire.file_headers, "x-ms-content-md5")

    def calls(self) -> dict[tuple[Level, str, str, str], Call]:
        account, share, item = Level.ACCOUNT, Level.CONTAINER, Level.ITEM
        table = {
            (account, "GET", "", "list"): Call(self.list_shares, "s", "l"),
            (account, "GET", "service", "properties"): Call(self.get_service, "s", "r"),
            (account, "PUT", "service", "properties"): Call(self.set_service, "s", "w"),
            (share, "PUT", "share", ""): Call(self.create_share, "c", "cw"),
            (share, "DELETE", "share", ""): Call(self.delete_share, "c", "d"),
            (share, "PUT", "share", "properties"): Call(self.set_share_properties, "c", "w"),
            (share, "PUT", "share", "metadata"): Call(self.set_share_metadata, "c", "w"),
            (share, "GET", "share", "acl"): Call(self.get_acl, "c", ""),
            (share, "PUT", "share", "acl"): Call(self.set_acl, "c", ""),
            (share, "GET", "share", "stats"): Call(self.share_stats, "c", "r"),
            (item, "PUT", "directory", ""): Call(self.create_directory, "o", "cw"),
            (item, "DELETE", "directory", ""): Call(self.delete_directory, "o", "d"),
            (item, "GET", "directory", "list"): Call(self.list_directory, "cl", "l"),
            (item, "PUT", "directory", "metadata"): Call(self.set_directory_metadata, "o", "w"),
            (item, "PUT", "directory", "properties"): Call(self.set_directory_properties, "o", "w"),
            (item, "PUT", "", ""): Call(self.create_file, "o", "cw"),
            (item, "PUT", "", "range"): Call(self.put_range, "o", "w"),
            (item, "GET", "", "rangelist"): Call(self.list_ranges, "o", "r"),
            (item, "GET", "", ""): Call(self.get_file, "o", "r"),
            (item, "HEAD", "", ""): Call(self.head_file, "o", "r"),
            (item, "PUT", "", "properties"): Call(self.set_file_properties, "o", "w"),
            (item, "PUT", "", "metadata"): Call(self.set_file_metadata, "o", "w"),
            (item, "DELETE", "", ""): Call(self.delete_file, "o", "d"),
            (item, "GET", "", "listhandles"): Call(self.list_handles, "o", "l"),
            (item, "PUT", "", "forceclosehandles"): Call(self.close_handles, "o", "w"),
        }
        for method in ("GET", "HEAD"):
            table[item, method, "", "metadata"] = Call(self.file_metadata, "o", "r")
            for comp in ("", "metadata"):
                table[share, method, "share", comp] = Call(self.share_properties, "c", "r")
                table[item, method, "directory", comp] = Call(self.directory_properties, "o", "r")
        return table

    # --- account

    async def list_shares(self, exchange: Exchange) -> None:
        query = exchange.query
        with_metadata = "metadata" in includes(query)

        def read() -> bytes:
            page = self._shares.list(
                exchange.ref.account,
                StorageService.FILE,
                prefix=query.get("prefix", ""),
                marker=query.get("marker", ""),
                limit=page_limit(query, _PAGE),
            )
            entries = (_share_entry(found, with_metadata) for found in page.entries)
            return storage_xml.containers_document(
                list_request(exchange), "Shares", entries, page.next_marker
            )

        await exchange.reply_xml(await exchange.run(read))

    async def get_service(self, exchange: Exchange) -> None:
        stored = await exchange.run(
            self._storage.service_properties, exchange.ref.account, StorageService.FILE
        )
        await exchange.reply_xml(storage_xml.service_properties_document(stored))

    async def set_service(self, exchange: Exchange) -> None:
        document = storage_xml.parse_service_properties(await exchange.read_body(_DOCUMENT_BYTES))
        await exchange.run(
            self._storage.set_service_properties, exchange.ref.account, StorageService.FILE, document
        )
        await exchange.reply(202)

    # --- shares

    async def create_share(self, exchange: Exchange) -> None:
        quota = _quota(exchange)
        settings = ContainerSettings(metadata=metadata_of(exchange.headers))
        if quota is not None:
            settings = replace(settings, quota_gib=quota)
        created = await exchange.run(self._shares.create, exchange.ref, settings)
        await exchange.reply(201, _share_version(created))

    async def share_properties(self, exchange: Exchange) -> None:
        found = await exchange.run(self._shares.get, exchange.ref)
        fixed = {
            "x-ms-share-quota": str(found.settings.quota_gib),
            "x-ms-access-tier": "TransactionOptimized",
            "x-ms-enabled-protocols": "SMB",
        } | wire.lease_headers(exchange.version)
        metadata = {f"x-ms-meta-{name}": value for name, value in found.settings.metadata.items()}
        await exchange.reply(200, _share_version(found) | fixed | metadata)

    async def set_share_properties(self, exchange: Exchange) -> None:
        quota = _quota(exchange)
        changes = {} if quota is None else {"quota_gib": quota}
        await self._update_share(exchange, **changes)

    async def set_share_metadata(self, exchange: Exchange) -> None:
        await self._update_share(exchange, metadata=metadata_of(exchange.headers))

    async def get_acl(self, exchange: Exchange) -> None:
        found = await exchange.run(self._shares.get, exchange.ref)
        policies = [
            storage_xml.Policy(policy.id, policy.start, policy.expiry, policy.permission)
            for policy in found.settings.policies
        ]
        await exchange.reply_xml(storage_xml.policies_document(policies), _share_version(found))

    async def set_acl(self, exchange: Exchange) -> None:
        found = storage_xml.parse_policies(await exchange.read_body(_DOCUMENT_BYTES))
        if len(found) > _POLICIES:
            raise StorageError(StorageCode.INVALID_XML, "A share has at most five signed identifiers.")
        policies = tuple(
            StoredPolicy(entry.id, entry.start, entry.expiry, entry.permission) for entry in found
        )
        await self._update_share(exchange, policies=policies)

    async def _update_share(self, exchange: Exchange, **changes: Any) -> None:
        def update() -> Container:
            return self._shares.update(exchange.ref, Conditions(), **changes)

        await exchange.reply(200, _share_version(await exchange.run(update)))

    async def share_stats(self, exchange: Exchange) -> None:
        used = await exchange.run(self._storage.used_bytes, exchange.ref)
        await exchange.reply_xml(wire.share_stats_document(used))

    async def delete_share(self, exchange: Exchange) -> None:
        await exchange.run(self._shares.delete, exchange.ref, Conditions())
        await exchange.reply(202)

    # --- directories

    async def create_directory(self, exchange: Exchange) -> None:
        item = await exchange.run(self._files.create_directory, exchange.ref, metadata_of(exchange.headers))
        await exchange.reply(201, _written(item) | wire.smb_headers(item))

    async def directory_properties(self, exchange: Exchange) -> None:
        await exchange.reply(200, wire.directory_headers(await self._properties(exchange, directory=True)))

    async def set_directory_properties(self, exchange: Exchange) -> None:
        # Attributes and SMB times are the file system's own; the call is answered with what they are.
        item = await self._properties(exchange, directory=True)
        await exchange.reply(200, _written(item) | wire.smb_headers(item))

    async def set_directory_metadata(self, exchange: Exchange) -> None:
        await self._set_metadata(exchange, directory=True)

    async def delete_directory(self, exchange: Exchange) -> None:
        await exchange.run(self._files.delete_directory, exchange.ref)
        await exchange.reply(202)

    async def list_directory(self, exchange: Exchange) -> None:
        query, ref = exchange.query, exchange.ref
        include = includes(query)
        extended = exchange.headers.get("x-ms-file-extended-info", "").lower() == "true"

        def read() -> bytes:
            directory = self._files.properties(ref, directory=True)
            page = self._files.list(
                ref,
                prefix=query.get("prefix", ""),
                marker=query.get("marker", ""),
                limit=page_limit(query, _PAGE),
                recorded=bool(include & _DETAILS),
            )
            return wire.directory_document(
                list_request(exchange),
                ref.container,
                ref.path,
                directory,
                page.entries,
                page.next_marker,
                include=include,
                extended=extended,
            )

        await exchange.reply_xml(await exchange.run(read))

    async def list_handles(self, exchange: Exchange) -> None:
        await exchange.reply_xml(wire.no_handles_document())

    async def close_handles(self, exchange: Exchange) -> None:
        none = {"x-ms-number-of-handles-closed": "0", "x-ms-number-of-handles-failed": "0"}
        await exchange.reply(200, none)

    # --- files

    async def create_file(self, exchange: Exchange) -> None:
        headers = exchange.headers
        if headers.get("x-ms-type", "").lower() != "file":
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-type"})
        size = required_size(headers, "x-ms-content-length")
        if size > _FILE_BYTES:
            raise StorageError(StorageCode.OUT_OF_RANGE_INPUT, "A file has at most 4 TiB.")
        if headers.get("content-length", "0") != "0":
            raise StorageError(
                StorageCode.UNSUPPORTED_HEADER,
                "Create File takes no content here; write it with Put Range.",
                detail={"HeaderName": "Content-Length"},
            )
        settings = replace(_file_settings(exchange), metadata=metadata_of(headers))
        permissions = exchange.grant.permissions
        # With permission to create but not to write, an existing file stays as it is.
        only_new = permissions is not None and "w" not in permissions

        def create() -> Item:
            return self._files.create_file(exchange.ref, size, settings, only_new=only_new)

        item = await exchange.run(create)
        await exchange.reply(201, _written(item) | wire.smb_headers(item))

    async def put_range(self, exchange: Exchange) -> None:
        headers = exchange.headers
        requested = range_of(headers)
        if requested is None:
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-range"})
        if requested.first is None or requested.last is None:
            raise StorageError(StorageCode.INVALID_HEADER, "A range to write names its first and last byte.")
        span = Span(requested.first, requested.last + 1)
        write = headers.get("x-ms-write", "").lower()
        if write == "clear":
            item = await exchange.run(self._files.clear_range, exchange.ref, span)
            await exchange.reply(201, _written(item))
        elif write == "update":
            await self._update_range(exchange, span)
        else:
            raise StorageError(
                StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-write", "HeaderValue": write}
            )

    async def _update_range(self, exchange: Exchange, span: Span) -> None:
        if span.length > _RANGE_BYTES:
            raise StorageError(StorageCode.BODY_TOO_LARGE, detail={"MaxLimit": str(_RANGE_BYTES)})
        expected = md5_header(exchange.headers, "content-md5")
        body = await exchange.read_body(_RANGE_BYTES)
        if len(body) != span.length:
            raise StorageError(
                StorageCode.INVALID_HEADER,
                f"The range has {span.length} bytes, the body {len(body)}.",
                detail={"HeaderName": "x-ms-range"},
            )

        def write() -> Item:
            # Only when asked: hashing costs several times what writing does.
            if expected and md5_of(body) != expected:
                raise StorageError(StorageCode.MD5_MISMATCH)
            return self._files.put_range(exchange.ref, span.start, body)

        item = await exchange.run(write)
        await exchange.reply(201, _written(item) | ({"Content-MD5": expected} if expected else {}))

    async def list_ranges(self, exchange: Exchange) -> None:
        requested = range_of(exchange.headers)

        def limits(size: int) -> Span:
            return requested.within(size) if requested is not None else Span(0, size)

        found: tuple[Item, ByteRanges] = await exchange.run(self._files.data_ranges, exchange.ref, limits)
        item, ranges = found
        headers = wire.version_headers(item) | {"x-ms-content-length": str(item.size)}
        await exchange.reply_xml(wire.ranges_document(ranges), headers)

    async def get_file(self, exchange: Exchange) -> None:
        await send_content(exchange, self._storage, self._content)

    async def head_file(self, exchange: Exchange) -> None:
        item = await self._properties(exchange, directory=False)
        conditions_of(exchange.headers).check_read(item.version)
        headers = wire.file_headers(item, exchange.version)
        await exchange.reply_head(headers | ({"Content-MD5": item.md5} if item.md5 else {}), item.size)

    async def file_metadata(self, exchange: Exchange) -> None:
        item = await self._properties(exchange, directory=False)
        await exchange.reply(200, wire.version_headers(item) | wire.metadata_headers(item))

    async def set_file_properties(self, exchange: Exchange) -> None:
        size = size_header(exchange.headers, "x-ms-content-length")
        settings = _file_settings(exchange)
        item = await exchange.run(self._files.set_properties, exchange.ref, size, settings)
        await exchange.reply(200, _written(item) | wire.smb_headers(item))

    async def set_file_metadata(self, exchange: Exchange) -> None:
        await self._set_metadata(exchange, directory=False)

    async def delete_file(self, exchange: Exchange) -> None:
        await exchange.run(self._files.delete_file, exchange.ref)
        await exchange.reply(202)

    # --- parts

    async def _properties(self, exchange: Exchange, *, directory: bool) -> Item:
        def read() -> Item:
            return self._files.properties(exchange.ref, directory=directory)

        return await exchange.run(read)

    async def _set_metadata(self, exchange: Exchange, *, directory: bool) -> None:
        metadata = metadata_of(exchange.headers)

        def write() -> Item:
            return self._files.set_metadata(exchange.ref, metadata, directory=directory)

        await exchange.reply(200, _written(await exchange.run(write)))


def _file_settings(exchange: Exchange) -> FileSettings:
    headers = exchange.headers
    return FileSettings(
        content=content_of(headers, "x-ms-", standard=False), md5=md5_header(headers, "x-ms-content-md5")
    )


def _quota(exchange: Exchange) -> int | None:
    quota = size_header(exchange.headers, "x-ms-share-quota")
    if quota is not None and not 1 <= quota <= _MOST_QUOTA_GIB:
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-share-quota"})
    return quota


def _written(item: Item) -> dict[str, str]:
    return wire.version_headers(item) | _ENCRYPTED


def _share_version(found: Container) -> dict[str, str]:
    return {"ETag": found.etag, "Last-Modified": storage_xml.http_date(found.last_modified)}


def _share_entry(found: Container, with_metadata: bool) -> storage_xml.ContainerEntry:
    properties = {
        "Last-Modified": storage_xml.http_date(found.last_modified),
        "Etag": found.etag,
        "Quota": str(found.settings.quota_gib),
        "AccessTier": "TransactionOptimized",
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
        "EnabledProtocols": "SMB",
    }
    return storage_xml.ContainerEntry(
        found.name, properties, found.settings.metadata if with_metadata else None
    )
