"""Calls about files: create, ranges, read, properties, metadata, delete."""

from dataclasses import replace

from openbatchai.dataplane import Storage
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sharetree import FileSettings
from openbatchai.http.storage.answers import version_headers, written_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.content import ContentForm, send_content
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_ranges import read_range_body
from openbatchai.http.storage.file_smb import smb_of, smb_of_new
from openbatchai.http.storage.request import (
    conditions_of,
    content_of,
    kept_md5,
    lease_of,
    metadata_of,
    required_size,
    size_header,
)
from openbatchai.wire import files as wire

_FILE_BYTES = 4 << 40


class FileItemCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._files = storage.files
        self._content = ContentForm(
            self._files.open,
            lambda item, exchange: wire.file_headers(item, exchange.version),
            "x-ms-content-md5",
            self._check_read,
        )

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", ""): Call("CreateFile", self.create_file, "o", "cw"),
            (item, "GET", "", ""): Call("GetFile", self.get_file, "o", "r"),
            (item, "HEAD", "", ""): Call("GetFileProperties", self.head_file, "o", "r"),
            (item, "PUT", "", "properties"): Call("SetFileProperties", self.set_file_properties, "o", "w"),
            (item, "PUT", "", "metadata"): Call("SetFileMetadata", self.set_file_metadata, "o", "w"),
            (item, "GET", "", "metadata"): Call("GetFileMetadata", self.file_metadata, "o", "r"),
            (item, "HEAD", "", "metadata"): Call("GetFileMetadata", self.file_metadata, "o", "r"),
            (item, "DELETE", "", ""): Call("DeleteFile", self.delete_file, "o", "d"),
        }

    async def create_file(self, exchange: Exchange) -> None:
        headers = exchange.headers
        if headers.get("x-ms-type", "").lower() != "file":
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-type"})
        size = required_size(headers, "x-ms-content-length")
        check_size(size)
        settings = replace(
            file_settings(exchange),
            metadata=metadata_of(headers),
            smb=smb_of_new(headers, directory=False),
        )
        content = await read_range_body(exchange, None)
        if content.length > size:
            raise StorageError(
                StorageCode.INVALID_HEADER,
                "The content is longer than the file is to be.",
                detail={"HeaderName": "x-ms-content-length"},
            )
        lease = lease_of(headers)
        permissions = exchange.grant.permissions
        # With permission to create but not to write, an existing file stays as it is.
        only_new = permissions is not None and "w" not in permissions

        def create() -> Item:
            return self._files.create(
                exchange.ref, size, settings, content=content.content(), lease_id=lease, only_new=only_new
            )

        item = await exchange.run(create)
        own = wire.smb_headers(item, exchange.version)
        await exchange.reply(201, written_headers(item) | own | content.headers())

    async def get_file(self, exchange: Exchange) -> None:
        await send_content(exchange, self._storage, self._content)

    async def head_file(self, exchange: Exchange) -> None:
        item = await self._properties(exchange)
        headers = wire.file_headers(item, exchange.version)
        await exchange.reply_head(headers | ({"Content-MD5": item.md5} if item.md5 else {}), item.size)

    async def file_metadata(self, exchange: Exchange) -> None:
        item = await self._properties(exchange)
        await exchange.reply(200, version_headers(item) | wire.metadata_headers(item))

    async def set_file_properties(self, exchange: Exchange) -> None:
        headers = exchange.headers
        size = size_header(headers, "x-ms-content-length")
        if size is not None:
            check_size(size)
        settings = replace(file_settings(exchange), smb=smb_of(headers, directory=False))
        item = await exchange.run(self._files.set_properties, exchange.ref, size, settings, lease_of(headers))
        await exchange.reply(200, written_headers(item) | wire.smb_headers(item, exchange.version))

    async def set_file_metadata(self, exchange: Exchange) -> None:
        metadata = metadata_of(exchange.headers)
        item = await exchange.run(
            self._files.set_metadata, exchange.ref, metadata, lease_of(exchange.headers)
        )
        await exchange.reply(200, written_headers(item))

    async def delete_file(self, exchange: Exchange) -> None:
        await exchange.run(self._files.delete, exchange.ref, lease_of(exchange.headers))
        await exchange.reply(202)

    async def _properties(self, exchange: Exchange) -> Item:
        conditions = conditions_of(exchange.headers)

        def read() -> Item:
            item = self._files.properties(exchange.ref)
            self._check_read(item, conditions)
            return item

        return await exchange.run(read)

    def _check_read(self, item: Item, conditions: Conditions) -> None:
        self._files.check_read(item, conditions.lease_id)
        conditions.check_read(item.version)


def check_size(size: int) -> None:
    if size > _FILE_BYTES:
        raise StorageError(StorageCode.OUT_OF_RANGE_INPUT, "A file has at most 4 TiB.")


def file_settings(exchange: Exchange) -> FileSettings:
    headers = exchange.headers
    return FileSettings(
        content=content_of(headers, "x-ms-", standard=False), md5=kept_md5(headers, "x-ms-content-md5")
    )
