"""Calls that make whole blobs of sources: Copy Blob in its three forms, and Put Blob From URL."""

from collections.abc import Callable
from dataclasses import fields, replace

from openbatchai.dataplane import Storage
from openbatchai.dataplane.blobtree import BLOCK_BLOB
from openbatchai.dataplane.copies import CopyWishes, Original
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import ContentHeaders, Item
from openbatchai.http.storage.answers import written_headers
from openbatchai.http.storage.app import FROM_SOURCE, Call, Calls, Level
from openbatchai.http.storage.blob_writing import blob_properties, create_conditions, tags_of
from openbatchai.http.storage.copying import SourceReader, source_checks, without_signature
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.integrity import sum_headers
from openbatchai.http.storage.request import metadata_of
from openbatchai.http.storage.sources import source_of
from openbatchai.wire.blob_extras import copy_headers

_PUT_FROM_URL_BYTES = 5000 << 20
_ANY_SIZE = 1 << 62


# From an open source and the bytes wanted of it to the blob and the headers about its sums.
Maker = Callable[[Original, Span], tuple[Item, dict[str, str]]]


class BlobCopyCalls:
    def __init__(self, storage: Storage, reader: SourceReader) -> None:
        self._storage = storage
        self._copies = storage.copies
        self._reader = reader

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", FROM_SOURCE): Call("CopyBlob", self.copy, "o", "cw"),
            (item, "PUT", "", "copy"): Call("AbortCopyBlob", self.abort, "o", "w"),
        }

    async def copy(self, exchange: Exchange) -> None:
        if "x-ms-blob-type" in exchange.headers:
            await self._put_from_url(exchange)
        else:
            await self._copy(exchange)

    async def abort(self, exchange: Exchange) -> None:
        """Every copy is over when it is answered, so there is never one to abort."""
        if not exchange.query.get("copyid"):
            raise StorageError(StorageCode.MISSING_QUERY, detail={"QueryParameterName": "copyid"})
        if exchange.headers.get("x-ms-copy-action", "").lower() != "abort":
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-copy-action"})
        await exchange.run(self._storage.blobs.properties, exchange.ref)
        raise StorageError(StorageCode.NO_PENDING_COPY)

    async def _copy(self, exchange: Exchange) -> None:
        headers = exchange.headers
        wanted = blob_properties(exchange, standard=False)
        at_once = headers.get("x-ms-requires-sync", "").lower() == "true"
        takes_tags = headers.get("x-ms-copy-source-tag-option", "").upper() == "COPY"
        if takes_tags and wanted.tags:
            raise StorageError(
                StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-copy-source-tag-option"}
            )
        if takes_tags:
            await source_of(exchange, any_of="t")
        checks = source_checks(headers)
        wishes = CopyWishes(
            url=without_signature(headers["x-ms-copy-source"]),
            metadata=metadata_of(headers) or None,
            tags=wanted.tags,
            takes_tags=takes_tags,
            tier=wanted.tier,
            seals=_flag(headers.get("x-ms-seal-blob")),
            blob_type=BLOCK_BLOB if at_once else "",
            checks=checks,
        )
        conditions = create_conditions(exchange)

        def make(original: Original, _: Span) -> tuple[Item, dict[str, str]]:
            item, upload = self._copies.copy(exchange.ref, original, wishes, conditions)
            return item, sum_headers(checks, upload)

        item, sums = await self._target(exchange, _ANY_SIZE, make)
        told = copy_headers(item.copy)
        answer = {name: told[name] for name in ("x-ms-copy-id", "x-ms-copy-status")}
        await exchange.reply(202, written_headers(item) | answer | sums)

    async def _put_from_url(self, exchange: Exchange) -> None:
        headers = exchange.headers
        if headers["x-ms-blob-type"] != BLOCK_BLOB:
            raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-blob-type"})
        wanted = blob_properties(exchange, standard=False)
        takes_properties = headers.get("x-ms-copy-source-blob-properties", "true").lower() != "false"
        takes_tags = headers.get("x-ms-copy-source-tag-option", "").upper() == "COPY"
        tags = {} if takes_tags else tags_of(exchange)
        if takes_tags:
            await source_of(exchange, any_of="t")
        checks = source_checks(headers)
        conditions = create_conditions(exchange)

        def make(original: Original, _: Span) -> tuple[Item, dict[str, str]]:
            content = _filled(wanted.content, original.content) if takes_properties else wanted.content
            described = replace(wanted, content=content, tags=original.tags if takes_tags else tags)
            item, upload = self._copies.put(exchange.ref, original, described, checks, conditions)
            return item, sum_headers(checks, upload) or _md5(item)

        item, sums = await self._target(exchange, _PUT_FROM_URL_BYTES, make)
        await exchange.reply(201, written_headers(item) | sums)

    async def _target(self, exchange: Exchange, limit: int, make: Maker) -> tuple[Item, dict[str, str]]:
        if exchange.headers.get("content-length", "0") not in ("0", ""):
            raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": "Content-Length"})
        return await self._reader.read(exchange, limit, make)


def _flag(text: str | None) -> bool | None:
    return None if text is None else text.lower() == "true"


def _md5(item: Item) -> dict[str, str]:
    return {"Content-MD5": item.md5} if item.md5 else {}


def _filled(own: ContentHeaders, source: ContentHeaders) -> ContentHeaders:
    """What the request sets, and the source's where it sets nothing."""
    names = (each.name for each in fields(own))
    return ContentHeaders(**{name: getattr(own, name) or getattr(source, name) for name in names})
