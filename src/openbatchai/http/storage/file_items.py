"""Calls about files: create, ranges, read, properties, metadata, delete."""

from dataclasses import replace

from openbatchai.dataplane import Storage
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.files import ByteRanges
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sharetree import FileSettings
from openbatchai.dataplane.uploads import md5_of
from openbatchai.http.storage.answers import version_headers, written_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.content import ContentForm, send_content
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import (
    conditions_of,
    content_of,
    md5_header,
    metadata_of,
    range_of,
    required_size,
    size_header,
)
from openbatchai.wire import files as wire

_RANGE_BYTES = 4 << 20
_FILE_BYTES = 4 << 40


class FileItemCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._files = storage.files
        self._content = ContentForm(self._files.open, wire.file_headers, "x-ms-content-md5")

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", ""): Call("CreateFile", self.create_file, "o", "cw"),
            (item, "PUT", "", "range"): Call("PutRange", self.put_range, "o", "w"),
            (item, "GET", "", "rangelist"): Call("ListRanges", self.list_ranges, "o", "r"),
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
            return self._files.create(exchange.ref, size, settings, only_new=only_new)

        item = await exchange.run(create)
        await exchange.reply(201, written_headers(item) | wire.smb_headers(item))

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
            await exchange.reply(201, written_headers(item))
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
        await exchange.reply(201, written_headers(item) | ({"Content-MD5": expected} if expected else {}))

    async def list_ranges(self, exchange: Exchange) -> None:
        requested = range_of(exchange.headers)

        def limits(size: int) -> Span:
            return requested.within(size) if requested is not None else Span(0, size)

        found: tuple[Item, ByteRanges] = await exchange.run(self._files.data_ranges, exchange.ref, limits)
        item, ranges = found
        headers = version_headers(item) | {"x-ms-content-length": str(item.size)}
        await exchange.reply_xml(wire.ranges_document(ranges), headers)

    async def get_file(self, exchange: Exchange) -> None:
        await send_content(exchange, self._storage, self._content)

    async def head_file(self, exchange: Exchange) -> None:
        item = await self._properties(exchange)
        conditions_of(exchange.headers).check_read(item.version)
        headers = wire.file_headers(item, exchange.version)
        await exchange.reply_head(headers | ({"Content-MD5": item.md5} if item.md5 else {}), item.size)

    async def file_metadata(self, exchange: Exchange) -> None:
        item = await self._properties(exchange)
        await exchange.reply(200, version_headers(item) | wire.metadata_headers(item))

    async def set_file_properties(self, exchange: Exchange) -> None:
        size = size_header(exchange.headers, "x-ms-content-length")
        settings = _file_settings(exchange)
        item = await exchange.run(self._files.set_properties, exchange.ref, size, settings)
        await exchange.reply(200, written_headers(item) | wire.smb_headers(item))

    async def set_file_metadata(self, exchange: Exchange) -> None:
        metadata = metadata_of(exchange.headers)

        def write() -> Item:
            return self._files.set_metadata(exchange.ref, metadata)

        await exchange.reply(200, written_headers(await exchange.run(write)))

    async def delete_file(self, exchange: Exchange) -> None:
        await exchange.run(self._files.delete, exchange.ref)
        await exchange.reply(202)

    async def _properties(self, exchange: Exchange) -> Item:
        return await exchange.run(self._files.properties, exchange.ref)


def _file_settings(exchange: Exchange) -> FileSettings:
    headers = exchange.headers
    return FileSettings(
        content=content_of(headers, "x-ms-", standard=False), md5=md5_header(headers, "x-ms-content-md5")
    )
